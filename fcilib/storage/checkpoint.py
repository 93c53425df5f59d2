"""A training run on disk between two epochs: tensors, the rest as their notes, and a checksum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from fcilib.storage.files import write_atomic
from fcilib.storage.tensors import seal_tensors, unseal_tensors

REMEDY = "Delete the file to begin its training again."


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    notes: dict[str, Any],
) -> None:
    """Write everything that the next epoch depends on, in one file, atomically."""
    tensors = {f"model.{name}": t for name, t in model.state_dict().items()}
    state = optimizer.state_dict()
    for index, entries in state["state"].items():
        tensors |= {f"optimizer.{index}.{name}": t for name, t in entries.items()}
    rest = {
        "groups": state["param_groups"],
        "scheduler": scheduler.state_dict(),
        "notes": notes,
    }
    write_atomic(path, seal_tensors(tensors, rest))


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> dict[str, Any]:
    """Put back what `save_checkpoint` wrote; gives the notes.

    Raises TensorsError, and changes nothing, where a byte of the file is off.
    """
    tensors, rest = unseal_tensors(path, REMEDY)
    model.load_state_dict(
        {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    )
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, entry = name.split(".")
            state.setdefault(int(index), {})[entry] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": rest["groups"]})
    scheduler.load_state_dict(rest["scheduler"])
    return rest["notes"]
