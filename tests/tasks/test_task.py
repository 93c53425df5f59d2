"""What every task owes a model, whichever it is."""

import pytest
import torch

from fcilib.specs.kinds import kinds
from fcilib.tasks import Ladder, Task

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
