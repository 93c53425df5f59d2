"""Mixing through a few learned hubs: O(M n)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from fcilib.representations.blocks import Block, RepresentationSpec, TokenEmbedding
from fcilib.specs.spec import Size


class Perceiver(RepresentationSpec):
    """M learned inducing points read all tokens, and the tokens read them (paper, section 4.6)."""

    kind: Literal["perceiver"] = "perceiver"
    hubs: int = Field(16, ge=1)
    """M."""
    layers: int = Field(1, ge=0)
    heads: int = Field(4, ge=1)

    def build(self, size: Size) -> nn.Module:
        blocks = [
            Block(size.width, HubAttention(size.width, self.hubs, self.heads))
            for _ in range(self.layers)
        ]
        return nn.Sequential(TokenEmbedding(size, self), *blocks)


class HubAttention(nn.Module):
    """Induced set attention (Lee et al., 2019): `(B, L, d)` to `(B, L, d)` through M hubs."""

    def __init__(self, width: int, hubs: int, heads: int) -> None:
        super().__init__()
        self.hubs = nn.Parameter(torch.randn(1, hubs, width))
        self.norm = nn.LayerNorm(width)
        self.gather = CrossAttention(width, heads)
        self.broadcast = CrossAttention(width, heads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hubs = self.hubs.expand(len(x), -1, -1)
        hubs = hubs + self.gather(hubs, x)
        return self.broadcast(x, self.norm(hubs))


class CrossAttention(nn.Module):
    """Multi-head attention of `x (B, n, d)` to `context (B, m, d)`; mask `(B, m)` bool or none."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads: {heads} does not divide the width {width}")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        q = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.key_value(context).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if mask is not None:
            mask = mask[:, None, None, :]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(y.transpose(1, 2).flatten(2))
