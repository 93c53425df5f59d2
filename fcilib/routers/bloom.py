"""A Bloom filter for each segment: does it hold the query's token? (paper, section 4.3)"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from fcilib.routers.router import RouterModule, SegmentSpec
from fcilib.routers.segment import cut
from fcilib.specs.size import Size


class BloomIndex(SegmentSpec):
    """One filter of `bits` bits and `hashes` hash functions per segment (Bloom, 1970).

    A filter never denies a token that it holds, and affirms one that it does not hold with a
    probability of about (1 - exp(-hashes n / bits))^hashes, n being the tokens in it. Segments that
    say yes score 1, the others 0; several that do so share the credit. The paper gives neither
    number.
    """

    kind: Literal["bloom"] = "bloom"
    bits: int = Field(256, ge=1)
    hashes: int = Field(4, ge=1)
    salt: int = Field(0, ge=0, lt=2**32)
    """Chooses the hash functions."""

    def build(self, size: Size) -> RouterModule:
        return BloomScores(size.vocabulary, self)

    def false_positive_rate(self, held: int) -> float:
        """The chance of a wrong yes from a filter that holds that many distinct tokens."""
        return (1 - math.exp(-self.hashes * held / self.bits)) ** self.hashes


class BloomScores(RouterModule):
    """Filters `(B, n, bits)`, filled from the tokens and asked for the query's; no parameters."""

    reads_tokens = True

    def __init__(self, vocabulary: int, spec: BloomIndex) -> None:
        super().__init__()
        self.spec = spec
        table = torch.from_numpy(_hashes(vocabulary, spec))  # (V, hashes): a token's bits
        self.table = nn.Buffer(table, persistent=False)

    def forward(self, tokens: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        parts, held = cut(tokens, query, self.spec.segment, self.spec.candidates)
        asked = tokens[torch.arange(len(tokens)), query]
        found = self.holds(self.fill(parts, held), asked[:, None]).float()
        return found.masked_fill(~held.any(dim=2), float("-inf"))

    def fill(self, parts: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
        """Filters `(…, bits)` bool that hold the tokens `parts (…, n)` where `held (…, n)`."""
        where = self.table[parts].masked_fill(~held.unsqueeze(-1), self.spec.bits).flatten(-2)
        filters = torch.zeros(*parts.shape[:-1], self.spec.bits + 1, dtype=torch.bool)
        return filters.to(where.device).scatter(-1, where, True)[..., :-1]

    def holds(self, filters: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        """Which filters `(…, bits)` say that they hold `token`, of a shape that goes with `(…)`."""
        where = self.table[token.expand(filters.shape[:-1])]
        return filters.gather(-1, where).all(dim=-1)


def _hashes(vocabulary: int, spec: BloomIndex) -> np.ndarray:
    """`(V, hashes)` int64 in [0, bits): SplitMix64's finaliser over token, function and salt."""
    token, function = np.ogrid[:vocabulary, : spec.hashes]
    with np.errstate(over="ignore"):
        z = (token * spec.hashes + function).astype(np.uint64)
        z = (z + np.uint64(spec.salt) * np.uint64(2**32) + np.uint64(1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z % np.uint64(spec.bits)).astype(np.int64)
