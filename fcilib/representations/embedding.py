"""No preprocessing: what a token is, and where it stands."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from fcilib.representations.blocks import Block, RepresentationSpec, TokenEmbedding
from fcilib.spec import Size


class Embedding(RepresentationSpec):
    """Raw embeddings (paper, section 4.1); with `positions="none"` its "content-only" condition.

    `layers` adds blocks without any mixing: depth and parameters, but no context. That control is
    ours, not the paper's.
    """

    kind: Literal["embedding"] = "embedding"
    layers: int = Field(0, ge=0)

    def build(self, size: Size) -> nn.Module:
        blocks = [Block(size.width, mix=None) for _ in range(self.layers)]
        return nn.Sequential(TokenEmbedding(size, self.positions), *blocks)
