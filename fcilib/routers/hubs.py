"""Fingerprints against a few learned hubs, as in HubRouter (ours)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fcilib.layers.attention import CrossAttention
from fcilib.routers.router import RouterModule, RouterSpec
from fcilib.specs.size import Size


class HubRouter(RouterSpec):
    """M hubs read all tokens, tokens are measured against the hubs, and fingerprints are compared.

    After Basu, 2026 (arXiv:2604.22442): encode, decode, score. A token's fingerprint are its M
    products with what the hubs have read, and the score of a pair is a bilinear form of their two
    fingerprints: a product of rank M, whose directions depend on the sequence. That paper describes
    its score head in words; the form is ours. O(M n) for one query.
    """

    kind: Literal["hubs"] = "hubs"
    hubs: int = Field(8, ge=1)
    """M."""
    heads: int = Field(4, ge=1)
    """Of the attention by which hubs read."""

    def build(self, size: Size) -> RouterModule:
        return HubScores(size.width, self)


class HubScores(RouterModule):
    """Scores `(B, L)` from fingerprints `(B, L, M)`."""

    def __init__(self, width: int, spec: HubRouter) -> None:
        super().__init__()
        self.hubs = nn.Parameter(torch.randn(spec.hubs, width))
        self.encode = CrossAttention(width, spec.heads)
        self.norm = nn.LayerNorm(width)
        self.key = nn.Linear(width, width, bias=False)
        self.score = nn.Parameter(torch.eye(spec.hubs))

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        prints = self.fingerprints(x)
        asking = prints[torch.arange(len(x)), query] @ self.score
        return (prints @ asking.unsqueeze(2)).squeeze(2)

    def matrix(self, x: torch.Tensor) -> torch.Tensor:
        """All scores, `(B, L, L)`: for probes, on a few sequences."""
        prints = self.fingerprints(x)
        return prints @ self.score @ prints.mT

    def fingerprints(self, x: torch.Tensor) -> torch.Tensor:
        """Each token's products with every hub, `(B, L, M)`."""
        hubs = self.hubs.expand(len(x), -1, -1)
        read = self.norm(hubs + self.encode(hubs, x))
        return self.key(x) @ read.mT / x.shape[2] ** 0.5
