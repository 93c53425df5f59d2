"""Transformer layers: full, causal, or sparse (a window and a few global tokens)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from fcilib.layers.attention import GLOBAL_TOKENS, WINDOW, SelfAttention, SparseAttention
from fcilib.layers.blocks import Block
from fcilib.representations.base import (
    Layers,
    RepresentationModule,
    RepresentationSpec,
    TokenEmbedding,
)
from fcilib.specs.size import Size


class Attention(RepresentationSpec):
    """Pre-norm Transformer blocks (paper, sections 4.1, 4.3 and 4.7)."""

    kind: Literal["attention"] = "attention"
    layers: int = Field(1, ge=0)
    mask: Literal["full", "causal", "sparse"] = "full"
    heads: int = Field(4, ge=1)
    window: int = Field(WINDOW, ge=2, multiple_of=2)
    """Sparse: a token sees the tokens at most `window / 2` away."""
    global_tokens: int = Field(GLOBAL_TOKENS, ge=0)
    """Sparse: random positions that see, and are seen by, every token."""

    def build(self, size: Size) -> RepresentationModule:
        blocks = [Block(size.width, self._mixer(size)) for _ in range(self.layers)]
        return Layers(TokenEmbedding(size, self), *blocks)

    def _mixer(self, size: Size) -> nn.Module:
        if self.mask == "sparse":
            return SparseAttention(size, self.heads, self.window, self.global_tokens)
        return SelfAttention(size.width, self.heads, causal=self.mask == "causal")
