"""The three numbers every module is built from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """The three numbers every module is built from."""

    vocabulary: int
    """Number of token ids, the marker included."""
    length: int
    """L, tokens in a sequence."""
    width: int
    """d, the dimension of a token's vector."""
