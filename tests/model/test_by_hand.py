"""Weights set by hand: the architectures hold a solution, on either set of candidates."""

from __future__ import annotations

import pytest
import torch

from fcilib.model.by_hand import neighbour_by_hand, rank_one_by_hand
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


@pytest.mark.parametrize(("rung", "step"), [("left", -1), ("right", 1)])
def test_attention_that_copies_its_neighbour_climbs_two_rungs(rung, step):
    task = Ladder(length=32, vocabulary=16, rung=rung)
    batch = task.draw(200, 0, "test")
    measured = evaluate(neighbour_by_hand(task, step), batch, Training())
    assert measured["precision"] == 1.0
