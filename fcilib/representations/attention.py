"""Transformer layers: full, causal, sparse (a window and a few global tokens), or linear."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from fcilib.layers.attention import (
    GLOBAL_TOKENS,
    WINDOW,
    LinearSelfAttention,
    SelfAttention,
    SparseAttention,
)
from fcilib.representations.base import BlockSpec
from fcilib.specs.size import Size


class Attention(BlockSpec):
    """Pre-norm Transformer blocks (paper, sections 4.1, 4.3 and 4.7)."""

    kind: Literal["attention"] = "attention"
    mask: Literal["full", "causal", "sparse"] = "full"
    heads: int = Field(4, ge=1)
    window: int = Field(WINDOW, ge=2, multiple_of=2)
    """Sparse: a token sees the tokens at most `window / 2` away."""
    global_tokens: int = Field(GLOBAL_TOKENS, ge=0)
    """Sparse: random positions that see, and are seen by, every token."""

    def mixers(self, size: Size) -> tuple[nn.Module, ...]:
        if self.mask == "sparse":
            return (SparseAttention(size, self.heads, self.window, self.global_tokens),)
        return (SelfAttention(size.width, self.heads, causal=self.mask == "causal"),)


class LinearAttention(BlockSpec):
    """Transformer blocks with linear attention, both directions (paper, section 4.3)."""

    kind: Literal["linear-attention"] = "linear-attention"
    heads: int = Field(4, ge=1)

    def mixers(self, size: Size) -> tuple[nn.Module, ...]:
        return (LinearSelfAttention(size.width, self.heads),)
