"""The Council: attention restricted to what the router picked (paper, section 3.2)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fcilib.layers.attention import CrossAttention
from fcilib.layers.blocks import FeedForward
from fcilib.specs.size import Size
from fcilib.specs.spec import Spec


class Council(Spec):
    """Multi-head attention of the query over the picked positions, then a feed-forward network."""

    heads: int = Field(4, ge=1)
    slots: Literal["none", "learned"] = "none"
    """Whether a picked token is told its rank among the picks, by a learned vector."""

    def build(self, size: Size, picks: int) -> nn.Module:
        """`picks`: how many positions a router hands over, neighbours included."""
        return CouncilLayer(size.width, self.heads, picks if self.slots == "learned" else 0)


class CouncilLayer(nn.Module):
    """Only the query's row of the output is ever read, so only that row is computed."""

    def __init__(self, width: int, heads: int, slots: int) -> None:
        super().__init__()
        self.attention = CrossAttention(width, heads)
        self.slots = nn.Parameter(torch.zeros(slots, width)) if slots else None
        self.norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width)

    def forward(self, x: torch.Tensor, query: torch.Tensor, picks: torch.Tensor) -> torch.Tensor:
        """The query's vector after it has read the picked ones.

        Args:
            x: `(B, L, d)`, normalised.
            query: `(B,)`, q.
            picks: `(B, P)` positions; an entry that repeats an earlier one is read once.

        Returns:
            `(B, d)`.
        """
        asking = x[torch.arange(len(x)), query].unsqueeze(1)
        picked = x.gather(1, picks.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
        if self.slots is not None:
            picked = picked + self.slots
        same = picks.unsqueeze(2) == picks.unsqueeze(1)
        first = ~same.tril(-1).any(dim=2)
        y = asking + self.attention(asking, picked, mask=first)
        return (y + self.feed_forward(self.norm(y))).squeeze(1)
