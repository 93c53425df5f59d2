"""Hidden states on disk: computed once, in pieces, each with its checksum."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fcilib.files import write_atomic
from fcilib.spec import short_hash

PIECE = 250
"""Sequences in a file: what a run that is killed loses at most."""


REMEDY = "Delete the file to compute it again."


class FeaturesError(ValueError):
    """Hidden states on disk that can't be trusted."""


def cache_folder() -> Path:
    """`$FCI_CACHE`, or `~/.cache/fcilib`. It holds nothing that can't be computed again."""
    return Path(os.environ.get("FCI_CACHE") or Path.home() / ".cache" / "fcilib")


def cached(
    description: dict,
    tokens: torch.Tensor,
    compute: Callable[[torch.Tensor], torch.Tensor],
    folder: Path | None = None,
) -> torch.Tensor:
    """`compute(tokens)`, from disk as far as it lies there.

    A run that is killed goes on from its last finished piece; two processes that want the same
    states do not compute them twice.

    Args:
        description: plain JSON values that say what `compute` does, for the name of the files.
        tokens: `(B, L)` int64.
        compute: from `(b, L)` to `(b, …)`; row by row, so that pieces may be computed apart.
        folder: where the files lie; `cache_folder() / "states"` if left out.

    Raises:
        FeaturesError: a file is damaged; it is named, and neither used nor deleted.
    """
    content = hashlib.sha256(tokens.contiguous().numpy().tobytes()).hexdigest()
    name = short_hash(json.dumps([description, content, list(tokens.shape)], sort_keys=True))
    place = (folder or cache_folder() / "states") / name
    place.mkdir(parents=True, exist_ok=True)
    found = []
    with FileLock(place / "lock"):
        for number, piece in enumerate(tokens.split(PIECE)):
            path = place / f"{number:05d}.safetensors"
            if not path.exists():
                states = compute(piece).contiguous()
                seal = {"sha256": _checksum(states)}
                write_atomic(path, save({"states": states}, metadata=seal))
            found.append(_read(path, len(piece)))
    return torch.cat(found)


def _read(path: Path, rows: int) -> torch.Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            states = file.get_tensor("states")
            intact = (file.metadata() or {}).get("sha256") == _checksum(states)
    except (SafetensorError, OSError) as error:
        raise FeaturesError(f"{path}: is no file of states ({error}). {REMEDY}") from error
    if not intact or len(states) != rows:
        raise FeaturesError(f"{path}: its content does not match its checksum. {REMEDY}")
    return states


def _checksum(states: torch.Tensor) -> str:
    return hashlib.sha256(states.contiguous().view(torch.uint8).numpy()).hexdigest()
