"""Fresh sequences in every epoch: what is drawn, and that a run that stopped draws the same."""

from __future__ import annotations

import pytest

from fcilib.representations import Embedding
from fcilib.routers import Investigator
from fcilib.study.profiles import PROFILES
from fcilib.tasks import Ladder
from fcilib.training.experiment import Experiment, Lesson, Training
from fcilib.training.loop import evaluate, train

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


def climbing(lesson: int = 0, rung: str = "hop", **training) -> Experiment:
    """A training on a rung; the first `lesson` epochs are of the rung `alias`."""
    sizes = {"length": 32, "vocabulary": 16}
    first = Lesson(task=Ladder(rung="alias", **sizes), epochs=lesson) if lesson else None
    return experiment(data="fresh", **training).model_copy(
        update={"task": Ladder(rung=rung, **sizes), "lesson": first}
    )


def test_a_lesson_is_the_first_epochs_on_another_task():
    """Its losses are those of a training on that task, until the lesson ends."""
    taught, plain, alias = (
        [epoch["loss"] for epoch in train(run).curve]
        for run in (climbing(2), climbing(), climbing(rung="alias"))
    )
    assert taught[:2] == alias[:2]
    assert taught[2] != alias[2]
    assert taught[0] != plain[0]


def test_what_is_measured_is_the_task_and_not_the_lesson():
    taught, alias = (train(run) for run in (climbing(3), climbing(rung="alias")))
    assert taught.curve[-1]["loss"] == alias.curve[-1]["loss"]
    held_out = climbing().task.draw(SMOKE.training.held_out, 0, "test")
    again = evaluate(alias.model, held_out, climbing().training)
    assert taught.metrics == again


def test_a_lesson_that_does_not_fit_is_refused():
    task, raw = Ladder(rung="hop", length=32, vocabulary=16), Embedding()
    longer = Lesson(task=Ladder(rung="alias", length=40, vocabulary=16), epochs=1)
    fits = Lesson(task=Ladder(rung="alias", length=32, vocabulary=16), epochs=1)
    parts = {"task": task, "representation": raw, "router": Investigator()}
    for lesson, data, name in ((longer, "fresh", "length"), (fits, "fixed", "fresh")):
        with pytest.raises(ValueError, match=f"lesson.*{name}"):
            Experiment(**parts, lesson=lesson, training=Training(data=data))
    assert "lesson" not in Experiment(**parts).canonical()
