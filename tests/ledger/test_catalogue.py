"""Trainings that the catalogue makes of its conditions."""

import pytest

from fcilib.ledger.catalogue import conditions, small_control, watched
from fcilib.study.profiles import PROFILES

SMOKE = PROFILES["smoke"]


def test_a_watched_training_has_as_many_steps_and_is_measured_more_often():
    for sizes in PROFILES.values():
        run = watched(sizes, "raw", 3e-4)
        plain, cut = sizes.training, run.training
        assert cut.epochs >= 25
        assert cut.learning_rate == 3e-4
        assert cut.sequences * cut.epochs >= plain.sequences * plain.epochs
        assert cut.sequences * cut.epochs < 1.1 * plain.sequences * plain.epochs + 100
        assert (cut.data == "fresh") == (cut.sequences < plain.sequences)
        assert run.router.candidates == "all"
    assert watched(PROFILES["paper"], "raw").training == PROFILES["paper"].training


def test_what_is_no_training_is_not_watched():
    with pytest.raises(TypeError, match="bm25"):
        watched(SMOKE, "bm25")


def test_the_small_control_differs_between_near_and_far_alone():
    for sizes in PROFILES.values():
        near, far = (small_control(sizes)[where] for where in ("near", "far"))
        assert near.task.near
        assert not far.task.near
        assert near.model_copy(update={"task": far.task}) == far
        batch = far.task.draw(200, 0)
        assert (batch.evidence - batch.query).min() >= far.task.length // 2
        assert near.router is None
        assert near.representation.layers == 4
        assert near.training.data == "fresh"
    quick = small_control(PROFILES["quick"])["far"].task
    assert (quick.length, quick.vocabulary, quick.min_distance) == (48, 16, 24)


def test_a_condition_that_the_catalogue_lacks_is_named():
    with pytest.raises(KeyError, match=r"top-p: not in the catalogue, fcilib/ledger/catalogue\.py"):
        conditions(SMOKE, "raw", "top-p")
