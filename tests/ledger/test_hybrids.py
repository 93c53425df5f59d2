"""Today's methods: each is listed once, predicted by the paper's two ingredients, and runnable."""

import re

import pytest

from fcilib.ledger import hybrids
from fcilib.specs.size import Size
from fcilib.study.profiles import PROFILES

SMOKE = PROFILES["smoke"]
METHODS = [*hybrids.representations(SMOKE), *hybrids.routers()]


def test_there_are_eight_families_and_six_routers_each_under_a_name_of_its_own():
    labels = [m.label for m in METHODS]
    assert len(set(labels)) == len(labels)
    shown = hybrids.representations(SMOKE)
    families = {m.label.removeprefix("bidirectional ") for m in shown}
    assert len(families) == 8
    assert len(shown) == 16
    assert {m.router.kind for m in hybrids.routers()} >= {
        "lsh", "k-means", "block", "expert-choice", "hubs", "product-key",
    }  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.label)
def test_the_query_is_no_candidate_and_the_experiments_of_a_method_differ(method):
    assert method.router.candidates == "others"
    runs = [
        hybrids.on_evidence(SMOKE, method),
        hybrids.on_recall(SMOKE, method),
        hybrids.on_ladder(SMOKE, method, "left"),
        hybrids.on_ladder(SMOKE, method, "right"),
    ]
    assert len({run.identity for run in runs}) == 4
    assert {run.task.length for run in runs[1:]} == {SMOKE.ladder.length}
    size = Size(SMOKE.ladder.vocabulary, SMOKE.ladder.length, SMOKE.width)
    assert method.representation.build(size) is not None


def test_one_direction_is_predicted_to_fail_and_both_to_route():
    for method in hybrids.representations(SMOKE):
        if method.label == "Based":
            assert method.predicted == "open"
        else:
            both = method.representation.bidirectional
            assert method.predicted == ("routes" if both else "fails")


def test_raw_embeddings_are_predicted_to_fail_whatever_the_router():
    raw = [m for m in hybrids.routers() if m.representation.kind == "embedding"]
    assert len(raw) == len(hybrids.routers()) // 2
    assert {m.predicted for m in raw} == {"fails"}


def test_every_reason_names_a_section_of_the_paper():
    for method in METHODS:
        assert re.match(r"[1-6](\.[1-7])?: ", method.why)


@pytest.mark.parametrize(
    ("precision", "expected"),
    [(1.0, "routes"), (0.8, "routes"), (0.79, "in between"), (0.35, "fails"), (0.0, "fails")],
)
def test_an_outcome_is_on_either_side_of_the_papers_own_gap(precision, expected):
    assert hybrids.outcome(precision) == expected
