"""Comparison within a bucket of a hash that keeps likeness, as in the Reformer (ours)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from fcilib.routers.investigator import dots
from fcilib.routers.router import RouterModule, RouterSpec
from fcilib.specs.size import Size


class LSH(RouterSpec):
    """Locality-sensitive hashing (Kitaev et al., 2020): only tokens of the query's bucket compete.

    A token's key is a projection of its vector, which is its query as well. In each of `hashes`
    rounds the keys are rotated at random, and the axis that a key lies nearest to, either way, is
    its bucket. Tokens that share a bucket with the query in any round are scored, as there, by the
    query's product with their key at length one; all others get minus infinity. The Reformer draws
    its rotations anew for every batch; here they are drawn once, when the module is built.
    """

    kind: Literal["lsh"] = "lsh"
    hashes: int = Field(4, ge=1)
    buckets: int = Field(8, ge=2, multiple_of=2)

    def build(self, size: Size) -> RouterModule:
        return BucketScores(size.width, self)


class BucketScores(RouterModule):
    """Scores `(B, L)`, minus infinity where no bucket is shared."""

    def __init__(self, width: int, spec: LSH) -> None:
        super().__init__()
        self.key = nn.Linear(width, width, bias=False)
        self.rotations = nn.Buffer(torch.randn(width, spec.hashes, spec.buckets // 2))

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        keys = self.key(x)
        rows = torch.arange(len(x))
        buckets = self.hash(keys.detach())
        shared = (buckets == buckets[rows, query].unsqueeze(1)).any(dim=2)
        scores = dots(F.normalize(keys, dim=2), keys[rows, query]) * x.shape[2] ** -0.5
        return scores.masked_fill(~shared, float("-inf"))

    def hash(self, keys: torch.Tensor) -> torch.Tensor:
        """The bucket of every key in every round: `(B, L, d)` to `(B, L, hashes)` int64."""
        rotated = torch.einsum("bld,dhr->blhr", keys, self.rotations.to(keys.dtype))
        return torch.cat([rotated, -rotated], dim=3).argmax(dim=3)
