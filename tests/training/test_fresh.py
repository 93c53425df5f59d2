"""Fresh sequences in every epoch: what is drawn, and that a run that stopped draws the same."""

from __future__ import annotations

import pytest

from fcilib.representations import Embedding
from fcilib.routers import Investigator
from fcilib.study.profiles import PROFILES
from fcilib.training.experiment import Experiment, Training
from fcilib.training.loop import train

SMOKE = PROFILES["smoke"]


def experiment(**training) -> Experiment:
    changed = Training.model_validate({**dict(SMOKE.training), "epochs": 3, **training})
    return Experiment(
        task=SMOKE.evidence,
        width=SMOKE.width,
        representation=Embedding(),
        router=Investigator(),
        training=changed,
    )


def test_the_first_epoch_is_that_of_fixed_data_and_later_ones_are_not():
    fixed, fresh = train(experiment()).curve, train(experiment(data="fresh")).curve
    assert fresh[0] == fixed[0]
    assert fresh[1]["loss"] != fixed[1]["loss"]


def test_what_was_learned_by_heart_does_not_come_back():
    """With four sequences the loss on fixed data falls to nothing; on fresh data it can't."""
    few = {"sequences": 4, "batch": 4, "epochs": 150, "learning_rate": 1e-2}
    fixed, fresh = (train(experiment(data=kind, **few)).curve for kind in ("fixed", "fresh"))
    assert fixed[-1]["loss"] < 0.2
    assert fresh[-1]["loss"] > 1


@pytest.mark.parametrize("targets", ["true", "shuffled"])
def test_a_stopped_run_draws_the_same_again(tmp_path, targets):
    run, file = experiment(data="fresh", targets=targets), tmp_path / "checkpoint.safetensors"
    whole = train(run)

    class Stop(Exception):
        pass

    def stop(done, total, precision):
        if done > total // 2:
            raise Stop

    with pytest.raises(Stop):
        train(run, file, stop)
    assert train(run, file).curve == whole.curve


def test_old_descriptions_keep_their_identity():
    assert "data" not in experiment().canonical()
    assert "fresh" in experiment(data="fresh").canonical()
