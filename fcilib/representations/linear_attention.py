"""Attention without the softmax, in O(n)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fcilib.layers.attention import LinearSelfAttention
from fcilib.layers.blocks import Block
from fcilib.representations.base import (
    Layers,
    RepresentationModule,
    RepresentationSpec,
    TokenEmbedding,
)
from fcilib.specs.size import Size


class LinearAttention(RepresentationSpec):
    """Transformer blocks with linear attention, both directions (paper, section 4.3)."""

    kind: Literal["linear-attention"] = "linear-attention"
    layers: int = Field(1, ge=0)
    heads: int = Field(4, ge=1)

    def build(self, size: Size) -> RepresentationModule:
        blocks = [
            Block(size.width, LinearSelfAttention(size.width, self.heads))
            for _ in range(self.layers)
        ]
        return Layers(TokenEmbedding(size, self), *blocks)
