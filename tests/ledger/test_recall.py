"""Zoology's models and settings, as its configuration of figure 2 has them."""

import pytest
import torch

from fcilib.layers.blocks import FeedForward
from fcilib.ledger import recall
from fcilib.study.profiles import PROFILES
from fcilib.training.loop import train

ALL = {**recall.models(), **recall.ingredients()}
PAPER = PROFILES["paper"].recall


def test_the_sizes_at_profile_paper_are_zoologys():
    sizes = {task.length: task.pairs for task in PAPER.tasks}
    assert sizes == {64: 4, 128: 8, 256: 16, 512: 64}
    assert {task.vocabulary for task in PAPER.tasks} == {8192}
    assert PAPER.widths == recall.WIDTHS
    batches = {task.length: PAPER.train(task, 1e-3).batch for task in PAPER.tasks}
    assert batches == {64: 512, 128: 512, 256: 256, 512: 128}
    # Four rates, evenly spaced by their logarithms from 1e-4 to 1e-2.
    assert PAPER.rates == pytest.approx([10 ** (-4 + 2 * n / 3) for n in range(4)], rel=5e-3)


def test_every_published_value_is_a_share_at_a_length_that_is_trained():
    lengths = {task.length for task in PAPER.tasks}
    for label, values in recall.PUBLISHED.items():
        assert label in recall.models()
        assert values.keys() == lengths
        for row in values.values():
            assert len(row) == len(recall.WIDTHS)
            assert all(0 <= value <= 1 for value in row)
    assert recall.published("BaseConv", 256, 128) == 0.33
    assert recall.published("Mamba", 64, 64) is None
    assert recall.published("Hyena", 64, 32) is None


def test_agreement_is_the_margin_and_the_error_of_the_reading():
    assert recall.agrees(0.56, 0.52)
    assert recall.agrees(0.48, 0.52)
    assert not recall.agrees(0.565, 0.52)


def test_a_shortened_run_has_an_eighth_of_the_sequences_and_half_of_the_steps():
    run = recall.experiment(PROFILES["paper"], ALL["attention"], PAPER.tasks[0], 64, 1e-2)
    short = recall.shortened(run)
    assert run.training.steps == 12_544
    assert short.training.steps == 6256
    assert 8 * short.training.epochs == run.training.epochs
    assert short.model_copy(update={"training": run.training}) == run
    wide = recall.shortened(run.model_copy(update={"width": 128}))
    assert (short.training.precision, wide.training.precision) == ("fp32", "bf16")


@pytest.mark.parametrize("label", ALL)
def test_a_model_answers_every_question(label):
    sizes = PROFILES["smoke"]
    (task,) = sizes.recall.tasks
    run = recall.experiment(sizes, ALL[label], task, 8, 3e-3)
    outcome = train(run)
    assert 0 <= outcome.metrics["accuracy"] <= 1
    assert ("precision" in outcome.metrics) == (ALL[label].router is not None)
    layers = [m for m in outcome.model.representation.modules() if isinstance(m, FeedForward)]
    assert not layers
    batch = task.draw(3, 0)
    with torch.no_grad():
        assert outcome.model(batch.tokens, batch.query).logits.shape == (3 * task.pairs, 16)


def test_an_ingredient_is_all_that_is_added():
    found = recall.ingredients()
    for label in ("Hyena", "Mamba"):
        both = found[f"bidirectional {label}, router"]
        assert both.representation == found[f"bidirectional {label}"].representation
        assert both.representation.model_copy(update={"bidirectional": False}) == (
            recall.models()[label].representation
        )
        assert found[f"{label}, router"].router == both.router
        assert found[label].router is None
