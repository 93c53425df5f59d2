"""Mixing through a few learned hubs: O(M n)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fcilib.layers.attention import CrossAttention
from fcilib.layers.blocks import Block
from fcilib.representations.base import StackSpec
from fcilib.specs.size import Size


class Perceiver(StackSpec):
    """M learned inducing points read all tokens, and the tokens read them (paper, section 4.6)."""

    kind: Literal["perceiver"] = "perceiver"
    hubs: int = Field(16, ge=1)
    """M."""
    heads: int = Field(4, ge=1)

    def layer(self, size: Size) -> nn.Module:
        return Block(size.width, HubAttention(size.width, self.hubs, self.heads))


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
