"""What every task owes a model, whichever it is."""

import pytest
import torch

from fcilib.specs.kinds import kinds
from fcilib.tasks import Ladder, Task
from fcilib.tasks.batch import generator

SPLITS = ("train", "test")
EVERY = [Ladder(rung="hop"), *(c() for c in kinds(Task).values() if c is not Ladder)]


@pytest.mark.parametrize("task", EVERY, ids=lambda task: task.kind)
def test_a_draw_is_whole_and_the_seed_decides_it(task):
    batch = task.draw(5, 3)
    again, other, held_out = task.draw(5, 3), task.draw(5, 4), task.draw(5, 3, "test")
    assert batch.tokens.shape == (5, task.length)
    assert batch.tokens.dtype == torch.int64
    assert batch.tokens.min() >= 0
    assert batch.tokens.max() < task.vocabulary
    for positions in (batch.query, batch.evidence):
        assert positions.shape == (5,)
        assert positions.min() >= 0
        assert positions.max() < task.length
    assert batch.label.min() >= 0
    assert batch.label.max() < task.classes
    assert torch.equal(batch.tokens, again.tokens)
    assert not torch.equal(batch.tokens, other.tokens)
    assert not torch.equal(batch.tokens, held_out.tokens)
    with pytest.raises(ValueError, match="seed: -1"):
        task.draw(1, -1)
    with pytest.raises(ValueError, match="split: 'valid' is neither"):
        task.draw(1, 0, "valid")


@pytest.mark.parametrize("task", EVERY, ids=lambda task: task.kind)
def test_a_part_of_a_batch_is_the_same_examples(task):
    batch = task.draw(6, 0)
    for index in (slice(2, 4), torch.tensor([4, 1]), torch.tensor([True, False] * 3)):
        part = batch[index]
        assert len(part) == len(batch.label[index])
        assert torch.equal(part.tokens, batch.tokens[index])
        assert torch.equal(part.query, batch.query[index])
        assert torch.equal(part.evidence, batch.evidence[index])
        assert torch.equal(part.label, batch.label[index])
        assert (part.lookalikes is None) == (batch.lookalikes is None)
        if batch.lookalikes is not None:
            assert torch.equal(part.lookalikes, batch.lookalikes[index])
    assert batch.to(torch.device("meta")).tokens.device.type == "meta"


@pytest.mark.parametrize("task", EVERY, ids=lambda task: task.kind)
def test_a_batch_takes_on_the_examples_of_another_in_place(task):
    batch, other = task.draw(6, 0), task.draw(6, 1)
    tokens = batch.tokens
    batch.copy_(other)
    assert batch.tokens is tokens
    for name in ("tokens", "query", "evidence", "label", "lookalikes"):
        ours, theirs = getattr(batch, name), getattr(other, name)
        assert ours is theirs is None or torch.equal(ours, theirs)


def test_streams_have_torch_seeds_of_their_own():
    seeds = [generator(seed, split).initial_seed() for seed in (0, 1) for split in SPLITS]
    assert seeds == [0, 1, 2, 3]
