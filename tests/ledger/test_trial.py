"""What runs lack to be a fair trial, by their records."""

from pathlib import Path

import pytest

from fcilib.ledger.catalogue import catalogue
from fcilib.ledger.trial import VALIDATION, drift, largest_drift, shortfalls
from fcilib.publish.project import find_project
from fcilib.retrieval import find
from fcilib.study.profiles import PROFILES
from fcilib.training.records import Records

RECORDS = find_project(Path(__file__).parent).root / "records"
PAPER = catalogue(PROFILES["paper"])["raw"].under["all"]


def record(profile):
    decider = catalogue(PROFILES[profile])["raw"].under["all"]
    return Records(RECORDS / profile).find(decider)


def test_a_run_at_the_papers_sizes_lacks_nothing():
    assert shortfalls([record("paper")], PAPER) == ()


def test_a_run_at_other_sizes_says_which_and_counts_its_steps():
    sizes, steps = shortfalls([record("quick")], PAPER)
    assert "length 512 (here 128)" in sizes
    assert "width 128 (here 64)" in sizes
    assert steps == "10,000 training steps (here 1,250)"


def test_a_short_run_lacks_steps_alone():
    short = PAPER.training.model_copy(update={"epochs": 10})
    run = record("paper").model_copy(
        update={"experiment": PAPER.model_copy(update={"training": short})}
    )
    assert shortfalls([run], PAPER) == ("10,000 training steps (here 2,500)",)


RISING = [epoch / 40 for epoch in range(40)]


@pytest.mark.parametrize("curve", [RISING, RISING[::-1]])
def test_a_curve_that_still_rises_or_falls_is_not_at_rest(curve):
    run = record("paper")
    moving = run.model_copy(update={"curve": {**run.curve, "precision": curve}})
    assert largest_drift([moving], "precision") == pytest.approx(0.1)
    assert largest_drift([moving], "place") == 0
    for derived in ("largest_rise", "largest_fall", "best_precision"):  # read off that curve
        assert largest_drift([moving], derived) == pytest.approx(0.1)


def test_of_several_seeds_the_one_that_moves_most_counts():
    """Neither a fall nor rest of another seed hides it."""
    run = record("paper")
    curves = (RISING, [1 - 2 * x for x in RISING], [0.5] * 40)
    runs = [run.model_copy(update={"curve": {**run.curve, "precision": c}}) for c in curves]
    assert largest_drift(runs, "precision") == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("curve", "moved"),
    [([], 0.0), ([0.3], 0.0), ([0.3, 0.5], 0.2), ([0.5, 0.3], 0.2), ([0.0] * 18 + [1, 1], 1.0)],
)
def test_the_drift_is_from_tenth_to_tenth_in_either_direction(curve, moved):
    assert drift(curve) == pytest.approx(moved)


def test_a_retrieval_lacks_the_questions_that_it_was_not_asked():
    decider = catalogue(PROFILES["quick"])["bm25"].under["words"]
    run = find(decider, RECORDS / "quick" / "retrievals")
    (lack,) = shortfalls([run], decider)
    assert lack == f"7,405 questions (here {run.validation:,})"
    whole = run.model_copy(update={"validation": VALIDATION})
    assert shortfalls([whole], decider) == ()
    assert largest_drift([whole], "any_hit") == 0
