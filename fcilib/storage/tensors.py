"""Tensors on disk with a checksum of their own, exact to the byte, as `sealed` has it for records.

The files are safetensors, with one entry of metadata: `notes`, JSON, the checksum among them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save


class TensorsError(ValueError):
    """A file of tensors that can't be trusted; the message names it and says what to do."""


def seal_tensors(
    tensors: Mapping[str, torch.Tensor], notes: Mapping[str, Any] | None = None
) -> bytes:
    """The one content a file of these tensors and notes (plain JSON values) may have."""
    notes = dict(notes or {})
    checksum = hashlib.sha256(_bytes(tensors, notes)).hexdigest()
    return _bytes(tensors, {**notes, "checksum": checksum})


def unseal_tensors(path: Path, remedy: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors and notes that `seal_tensors` wrote.

    Args:
        path: the file.
        remedy: what to do about one that can't be trusted, as a sentence.

    Raises:
        TensorsError: any byte of it is off, or it has no checksum.
    """
    try:
        stored = path.read_bytes()
        tensors, notes = load(stored), _notes(stored)
        notes.pop("checksum")
        intact = stored == seal_tensors(tensors, notes)
    except Exception as error:  # whatever reading arbitrary bytes may raise
        raise TensorsError(f"{path}: is no sealed file of tensors ({error!r}). {remedy}") from error
    if not intact:
        raise TensorsError(f"{path}: its content does not match its checksum. {remedy}")
    return tensors, notes


def _bytes(tensors: Mapping[str, torch.Tensor], notes: Mapping[str, Any]) -> bytes:
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    # One entry alone: safetensors writes several in any order.
    return save(whole, metadata={"notes": json.dumps(notes, sort_keys=True)})


def _notes(stored: bytes) -> dict[str, Any]:
    """Of a safetensors file: eight bytes with the length of its head, which is JSON."""
    head = json.loads(stored[8 : 8 + int.from_bytes(stored[:8], "little")])
    return json.loads(head["__metadata__"]["notes"])
