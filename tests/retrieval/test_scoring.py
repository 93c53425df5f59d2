"""How good a choice of segments is, against counting by hand."""

import itertools

import numpy as np
import pytest

from fcilib.retrieval.scoring import METRICS, chance, score, variance
from fcilib.retrieval.segments import Segments


def with_gold(n, homes):
    """n segments, of which those in `homes` hold the supporting sentences."""
    return Segments(("w",) * n, tuple(homes))


@pytest.mark.parametrize(
    ("homes", "picked", "expected"),
    [
        ((1, 3), [1, 3], (1, 1, 1)),
        ((1, 3), [0, 3], (1, 0, 0.5)),
        ((1, 3), [0, 2], (0, 0, 0)),
        ((1, 1), [1, 2], (1, 1, 1)),
        ((0, 1, 1, 3), [1, 2], (1, 0, 1 / 3)),
        ((1, 3), [3, 3], (1, 0, 0.5)),
        ((1, 3), [], (0, 0, 0)),
    ],
)
def test_score_by_hand(homes, picked, expected):
    assert score(picked, with_gold(4, homes)) == dict(zip(METRICS, expected, strict=True))


@pytest.mark.parametrize(
    ("n", "gold", "pick"),
    [
        *[(1, 1, 1), (4, 1, 2), (5, 2, 2), (5, 3, 2), (6, 2, 3), (6, 4, 3), (7, 3, 0), (8, 8, 2)],
        *[(3, 2, 5), (16, 2, 2), (16, 4, 2), (2, 2, 1)],
    ],
)
def test_chance_is_the_mean_of_the_score_over_all_picks(n, gold, pick):
    segments = with_gold(n, range(gold))
    ways = itertools.combinations(range(n), min(pick, n))
    scores = [score(way, segments) for way in ways]
    for metric in METRICS:
        values = np.array([s[metric] for s in scores])
        assert chance(segments, pick)[metric] == pytest.approx(values.mean())
        assert variance(segments, pick)[metric] == pytest.approx(values.var())


def test_the_papers_chance_is_that_of_one_gold_segment():
    """12.5% is the chance to find one segment; two or more are what questions have."""
    one = chance(with_gold(16, (3,)), 2)
    assert one == pytest.approx(dict.fromkeys(METRICS, 0.125))
    two = chance(with_gold(16, (3, 9)), 2)
    assert two == pytest.approx({"any_hit": 29 / 120, "all_hit": 1 / 120, "segment_recall": 1 / 8})


def test_bad_arguments_are_named():
    segments = with_gold(4, (1,))
    for picked in ([4], [-1], [0, 7]):
        with pytest.raises(ValueError, match=r"picked: .* not all among 4 segments"):
            score(picked, segments)
    with pytest.raises(TypeError):
        score([0.5], segments)
    with pytest.raises(ValueError, match="pick: -1"):
        chance(segments, -1)
