"""Comparison within a cluster of tokens, as in the Routing Transformer (ours)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from fcilib.routers.investigator import dots
from fcilib.routers.router import RouterModule, RouterSpec
from fcilib.specs.size import Size


class KMeans(RouterSpec):
    """Online spherical k-means (Roy et al., 2021): only tokens of the query's cluster compete.

    A token's key is a projection of its vector, which is its query as well. Each mean takes the
    L / `clusters` keys nearest to it, rounded up, so that all clusters are of one size; the query
    asks those of its own nearest mean. In training the means follow the keys that are nearest to
    them, by a moving average. All other tokens get minus infinity.
    """

    kind: Literal["k-means"] = "k-means"
    clusters: int = Field(8, ge=1)
    memory: float = Field(0.99, ge=0, le=1)
    """Share of a mean that a training step keeps."""

    def build(self, size: Size) -> RouterModule:
        return ClusterScores(size.width, self)


class ClusterScores(RouterModule):
    """Scores `(B, L)`, minus infinity outside the query's cluster."""

    def __init__(self, width: int, spec: KMeans) -> None:
        super().__init__()
        self.memory = spec.memory
        self.key = nn.Linear(width, width, bias=False)
        self.means = nn.Buffer(F.normalize(torch.randn(spec.clusters, width), dim=1))

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        keys = self.key(x)
        rows = torch.arange(len(x))
        likeness = self.likeness(keys.detach())
        nearest = likeness[rows, query].argmax(dim=1)
        members = math.ceil(x.shape[1] / len(self.means))
        of_mean = likeness[rows, :, nearest]  # (B, L)
        chosen = of_mean.topk(members, dim=1).indices
        scores = dots(keys, keys[rows, query]) * x.shape[2] ** -0.5
        nothing = torch.full_like(scores, float("-inf"))
        return nothing.scatter(1, chosen, scores.gather(1, chosen))

    def likeness(self, keys: torch.Tensor) -> torch.Tensor:
        """Cosines of keys `(B, L, d)` with every mean, `(B, L, clusters)`."""
        return F.normalize(keys, dim=2) @ self.means.to(keys.dtype).T

    @torch.no_grad()
    def observe(
        self, x: torch.Tensor, query: torch.Tensor, scores: torch.Tensor, evidence: torch.Tensor
    ) -> None:
        """Move each mean towards the direction of the keys that are nearest to it."""
        keys = self.key(x)
        nearest = F.one_hot(self.likeness(keys).argmax(dim=2), len(self.means)).flatten(0, 1)
        sums = nearest.to(keys.dtype).T @ F.normalize(keys, dim=2).flatten(0, 1)
        some = nearest.any(dim=0).unsqueeze(1)
        fresh = torch.where(some, F.normalize(sums, dim=1), self.means)
        self.means.lerp_(fresh.to(self.means.dtype), 1 - self.memory)
