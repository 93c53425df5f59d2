"""How good the best segments are, against counting by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcilib.retrieval.scoring import METRICS, chance, score, variance
from fcilib.retrieval.segments import Segments


def with_gold(n, gold):
    """n segments, of which some are gold."""
    return Segments(("w",) * n, frozenset(gold))


def of_picks(picked, gold):
    """The metrics of one choice of segments."""
    hits = len(set(picked) & set(gold))
    return (float(hits > 0), float(hits == len(gold)), hits / len(gold))


@pytest.mark.parametrize(
    ("scores", "gold", "pick", "expected"),
    [
        ([0, 9, 0, 8], {1, 3}, 2, (1, 1, 1)),
        ([7, 0, 0, 8], {1, 3}, 2, (1, 0, 1 / 2)),
        ([7, 0, 8, 0], {1, 3}, 2, (0, 0, 0)),
        ([0, 9, 8, 0], {1}, 2, (1, 1, 1)),
        ([-3, -1, -2, -4], {1, 2}, 1, (1, 0, 1 / 2)),
        ([5, 5, 0, 0], {1}, 1, (1 / 2, 1 / 2, 1 / 2)),
        ([5, 5, 0, 0], {1}, 2, (1, 1, 1)),
        ([9, 5, 5, 5], {0, 3}, 2, (1, 1 / 3, 2 / 3)),
        ([9, 5, 5, 5], {1, 3}, 2, (2 / 3, 0, 1 / 3)),
        ([9, 5, 5 * (1 + 1e-12), 0], {2}, 2, (1 / 2, 1 / 2, 1 / 2)),  # apart by rounding alone
        ([0, 0, 0], {2}, 5, (1, 1, 1)),
    ],
)
def test_score_by_hand(scores, gold, pick, expected):
    found = score(np.array(scores), with_gold(len(scores), gold), pick)
    assert found == pytest.approx(dict(zip(METRICS, expected, strict=True)), abs=1e-15)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.lists(st.integers(-2, 2), min_size=1, max_size=6), st.integers(1, 7))
def test_ties_share_their_credit_over_all_orders_that_they_could_stand_in(data, scores, pick):
    gold = data.draw(st.sets(st.integers(0, len(scores) - 1), min_size=1))
    ways = [
        of_picks(sorted(order, key=lambda i: -scores[i])[:pick], gold)
        for order in itertools.permutations(range(len(scores)))
    ]
    expected = np.mean(ways, axis=0)
    found = score(np.array(scores), with_gold(len(scores), gold), pick)
    np.testing.assert_allclose([found[name] for name in METRICS], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("n", "gold", "pick"),
    [
        *[(1, 1, 1), (4, 1, 2), (5, 2, 2), (5, 3, 2), (6, 2, 3), (6, 4, 3), (8, 8, 2), (3, 2, 5)],
        *[(16, 2, 2), (16, 4, 2), (2, 2, 1)],
    ],
)
def test_chance_is_the_mean_over_all_picks_and_what_equal_scores_give(n, gold, pick):
    segments = with_gold(n, range(gold))
    ways = itertools.combinations(range(n), min(pick, n))
    scores = np.array([of_picks(way, range(gold)) for way in ways])
    for metric, mean, var in zip(METRICS, scores.mean(axis=0), scores.var(axis=0), strict=True):
        assert chance(segments, pick)[metric] == pytest.approx(mean)
        assert variance(segments, pick)[metric] == pytest.approx(var)
        assert score(np.zeros(n), segments, pick)[metric] == pytest.approx(mean)


def test_the_papers_chance_is_that_of_one_gold_segment():
    """12.5% is the chance to find one segment; two or more are what questions have."""
    one = chance(with_gold(16, (3,)), 2)
    assert one == pytest.approx(dict.fromkeys(METRICS, 0.125))
    two = chance(with_gold(16, (3, 9)), 2)
    assert two == pytest.approx({"any_hit": 29 / 120, "all_hit": 1 / 120, "segment_recall": 1 / 8})


@pytest.mark.parametrize(
    "scores", [[1, 2, 3], [1, 2, 3, 4, 5], [[1, 2, 3, 4]], [1, float("nan"), 0, 0], [np.inf] * 4]
)
def test_scores_that_rank_nothing_are_refused(scores):
    with pytest.raises(ValueError, match="scores: are not 4 finite numbers"):
        score(np.array(scores), with_gold(4, (1,)), 2)


def test_bad_numbers_of_picks_are_named():
    segments = with_gold(4, (1,))
    with pytest.raises(ValueError, match="pick: 0 segments; pick one or more"):
        score(np.zeros(4), segments, 0)
    with pytest.raises(ValueError, match="pick: -1"):
        chance(segments, -1)
