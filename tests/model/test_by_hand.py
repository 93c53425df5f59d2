"""Weights set by hand: the architectures hold a solution, on either set of candidates."""

from __future__ import annotations

import pytest
import torch

from fcilib.model.by_hand import (
    convolution_by_hand,
    meaning_by_hand,
    neighbour_by_hand,
    rank_one_by_hand,
    token_by_hand,
)
from fcilib.study.profiles import PROFILES
from fcilib.tasks import Evidence, Ladder
from fcilib.training.experiment import Training
from fcilib.training.loop import evaluate

WIDE = 64


@pytest.mark.parametrize("candidates", ["all", "others"])
@pytest.mark.parametrize("sizes", ["quick", "paper"])
@pytest.mark.parametrize("seed", [0, 1])
def test_one_scan_and_one_number_per_token_pick_the_evidence(sizes, candidates, seed):
    profile = PROFILES[sizes]
    model = rank_one_by_hand(profile.evidence, max(profile.width, WIDE), candidates)
    held_out = profile.evidence.draw(300, seed, "test")
    measured = evaluate(model, held_out, Training())
    assert measured["precision"] == 1.0
    assert measured["precision_tie_lost"] == 1.0


def test_the_state_holds_nothing_before_the_query():
    task = PROFILES["quick"].evidence
    model = rank_one_by_hand(task, WIDE)
    batch = task.draw(50, 0)
    prints = model.router.fingerprint(model.represent(batch.tokens)).squeeze(2)
    before = torch.arange(task.length) < batch.query[:, None] - 1
    assert prints[before].abs().max() < 1e-4


@pytest.mark.parametrize(
    ("task", "width", "name"),
    [
        (Evidence(order="either"), 128, "task"),
        (Evidence(class_size=3), 128, "task"),
        (Evidence(), 36, "width"),
        (Evidence(), 129, "width"),
    ],
)
def test_what_it_cannot_do_is_refused(task, width, name):
    with pytest.raises(ValueError, match=name):
        rank_one_by_hand(task, width)


CLIMBERS = {
    "token": token_by_hand,
    "left, attention": lambda task: neighbour_by_hand(task, -1),
    "right, attention": lambda task: neighbour_by_hand(task, 1),
    "left, convolution": lambda task: convolution_by_hand(task, -1),
    "right, convolution": lambda task: convolution_by_hand(task, 1),
    "hop": meaning_by_hand,
}


@pytest.mark.parametrize("profile", ["quick", "paper"])
@pytest.mark.parametrize("name", CLIMBERS)
def test_every_rung_is_within_reach_of_weights_set_by_hand(name, profile):
    task = PROFILES[profile].ladder.model_copy(update={"rung": name.partition(",")[0]})
    measured = evaluate(CLIMBERS[name](task), task.draw(200, 0, "test"), Training())
    assert measured["precision"] == measured["precision_tie_lost"] == 1.0


@pytest.mark.parametrize("name", CLIMBERS)
def test_weights_for_one_rung_do_not_climb_another(name):
    """What is copied is what that rung needs: on the others the same weights are near chance."""
    own = name.partition(",")[0]
    for rung in {"left", "right", "hop"} - {own}:
        task = Ladder(length=32, vocabulary=16, rung=rung)
        model = CLIMBERS[name](task.model_copy(update={"rung": own}))
        measured = evaluate(model, task.draw(400, 0, "test"), Training())
        assert measured["precision"] < 0.5


def test_another_step_is_refused():
    with pytest.raises(ValueError, match="step"):
        convolution_by_hand(Ladder(rung="left"), 2)
