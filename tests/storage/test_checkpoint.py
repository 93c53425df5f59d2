"""A run on disk between two epochs: what goes on from it is what would have gone on without it."""

import pytest
import torch
from torch import nn

from fcilib.layers.optimizer import one_cycle
from fcilib.storage.checkpoint import load_checkpoint, save_checkpoint
from fcilib.storage.tensors import TensorsError


def begun(seed):
    """A model with parameters and buffers, its optimizer and its schedule."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    return (model, *one_cycle(model.parameters(), 1e-2, 10))


def steps(parts, number, first=0):
    model, optimizer, scheduler = parts
    for step in range(first, first + number):
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        scheduler.step()


def weights(parts):
    return {name: tensor.clone() for name, tensor in parts[0].state_dict().items()}


def test_training_goes_on_as_if_it_had_never_stopped(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    whole, stopped, other = begun(0), begun(0), begun(1)
    steps(whole, 7)
    steps(stopped, 4)
    notes = {"curve": [{"loss": 0.25}], "seconds": 1.5}
    save_checkpoint(path, *stopped, notes)
    assert load_checkpoint(path, *other) == notes
    assert other[2].last_epoch == 4
    assert other[1].param_groups[0]["lr"] == stopped[1].param_groups[0]["lr"]
    steps(other, 3, first=4)
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(other)[name], tensor), name


def test_a_byte_that_is_off_is_refused_and_changes_nothing(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    stopped, other = begun(0), begun(1)
    steps(stopped, 2)
    save_checkpoint(path, *stopped, {})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    before = weights(other)
    with pytest.raises(TensorsError, match=r"Delete the file to begin its training again\.$"):
        load_checkpoint(path, *other)
    for name, tensor in weights(other).items():
        assert torch.equal(before[name], tensor), name
    assert not other[1].state
