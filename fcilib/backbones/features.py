"""Hidden states on disk: computed once, in pieces, each with its checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import torch

from fcilib.specs.identity import short_hash
from fcilib.storage.files import write_atomic
from fcilib.storage.making import find_or_make
from fcilib.storage.places import cache_folder
from fcilib.storage.tensors import TensorsError, seal_tensors, unseal_tensors

PIECE = 250
"""Sequences in a file: what a run that is killed loses at most."""

FORM = 2
"""Of the files; part of their name, so that those of an earlier one are never read."""

REMEDY = "Delete the file to compute it again."


def cached(
    description: dict,
    tokens: torch.Tensor,
    compute: Callable[[torch.Tensor], torch.Tensor],
    folder: Path | None = None,
) -> torch.Tensor:
    """`compute(tokens)`, from disk as far as it lies there.

    A run that is killed goes on from its last finished piece; two processes that want the same
    states do not compute them twice. Where all of it lies there nothing is written.

    Args:
        description: plain JSON values that say what `compute` does, for the name of the files.
        tokens: `(B, L)` int64.
        compute: from `(b, L)` to `(b, …)`; row by row, so that pieces may be computed apart.
        folder: where the files lie; `cache_folder() / "states"` if left out.

    Raises:
        TensorsError: a file is damaged; it is named, and neither used nor deleted.
        StoreError: the folder can't be written.
    """
    content = hashlib.sha256(tokens.contiguous().numpy().tobytes()).hexdigest()
    whole = [FORM, description, content, list(tokens.shape)]
    place = (folder or cache_folder() / "states") / short_hash(json.dumps(whole, sort_keys=True))
    pieces = {place / f"{n:05d}.safetensors": p for n, p in enumerate(tokens.split(PIECE))}

    def make() -> torch.Tensor:
        for path, piece in pieces.items():
            if not path.exists():
                write_atomic(path, seal_tensors({"states": compute(piece)}))
        return _read(pieces)

    def find() -> torch.Tensor | None:
        return _read(pieces) if all(path.exists() for path in pieces) else None

    return find_or_make(find, make, place / "lock", *pieces)


def _read(pieces: dict[Path, torch.Tensor]) -> torch.Tensor:
    """The states of all sequences, from the files of their pieces."""
    states = []
    for path, piece in pieces.items():
        part = unseal_tensors(path, REMEDY)[0].get("states")
        if part is None or len(part) != len(piece):
            raise TensorsError(f"{path}: holds the states of other sequences. {REMEDY}")
        states.append(part)
    return torch.cat(states)
