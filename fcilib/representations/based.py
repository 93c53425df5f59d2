"""Based: attention within a window, then linear attention over everything (ours)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from fcilib.layers.attention import SparseAttention
from fcilib.layers.taylor import TaylorAttention, WindowAttention
from fcilib.representations.base import BlockSpec
from fcilib.specs.size import Size


class Based(BlockSpec):
    """Pairs of blocks, a window and a Taylor series (Arora et al., 2024).

    The published models also have layers of short convolutions alone; here the window is what is
    local. Bidirectional: the window reaches half as far to either side, and the linear attention
    sums over all positions.
    """

    kind: Literal["based"] = "based"
    bidirectional: bool = False
    heads: int = Field(4, ge=1)
    window: int = Field(16, ge=2, multiple_of=2)
    """Positions that a token sees within the window, about."""

    @property
    def depth(self) -> int:
        return 2 * self.layers

    def mixers(self, size: Size) -> tuple[nn.Module, ...]:
        near: nn.Module
        if self.bidirectional:
            near = SparseAttention(size, self.heads, self.window, global_tokens=0)
        else:
            near = WindowAttention(size.width, self.heads, self.window)
        far = TaylorAttention(size.width, self.heads, causal=not self.bidirectional)
        return near, far
