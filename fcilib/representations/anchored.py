"""Tokens that stand near the same anchors (paper, section 5, "anchor-based sponsorship")."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fcilib.representations.base import Layers, RepresentationSpec, TokenEmbedding
from fcilib.specs.size import Size


class Anchored(RepresentationSpec):
    """Each token is given the learned anchors that it resembles: x + softmax(x A^T / sqrt d) A.

    The paper names "anchor-based sponsorship" for matching by meaning and does not define it. No
    token sees another.
    """

    kind: Literal["anchored"] = "anchored"
    anchors: int = Field(16, ge=1)

    def build(self, size: Size) -> Layers:
        return Layers(TokenEmbedding(size, self), Sponsorship(size.width, self.anchors))


class Sponsorship(nn.Module):
    """`(B, L, d)` to `(B, L, d)`, with one matrix of anchors `(M, d)`."""

    def __init__(self, width: int, anchors: int) -> None:
        super().__init__()
        self.anchors = nn.Parameter(torch.randn(anchors, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        share = (x @ self.anchors.T / x.shape[-1] ** 0.5).softmax(dim=-1)
        return x + share @ self.anchors
