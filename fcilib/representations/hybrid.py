"""Recurrent and attention layers in one stack, as hybrid models have them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from fcilib.layers.attention import SelfAttention
from fcilib.layers.blocks import Block
from fcilib.representations.base import Layers, RepresentationSpec, TokenEmbedding
from fcilib.representations.flow import Flow, FlowLayer
from fcilib.specs.size import Size

Layer = Literal["flow", "bidirectional-flow", "attention", "causal-attention"]


class Hybrid(RepresentationSpec):
    """Any order of Flow's layers and Transformer blocks, as in Jamba or Griffin (paper, section 2).

    The paper speaks about such models throughout and tests none.
    """

    kind: Literal["hybrid"] = "hybrid"
    layers: tuple[Layer, ...] = Field(min_length=1)
    """From the embeddings up."""
    heads: int = Field(4, ge=1)

    @property
    def depth(self) -> int:
        return len(self.layers)

    def build(self, size: Size) -> Layers:
        layers = (self._layer(layer, size.width) for layer in self.layers)
        return Layers(TokenEmbedding(size, self), *layers)

    def _layer(self, layer: Layer, width: int) -> nn.Module:
        if layer.endswith("flow"):
            return FlowLayer(width, Flow(bidirectional=layer == "bidirectional-flow"))
        return Block(width, SelfAttention(width, self.heads, causal=layer == "causal-attention"))
