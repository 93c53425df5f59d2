"""Attention with one of its three steps taken away (paper, section 4.4)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fcilib.layers.attention import SelfAttention
from fcilib.layers.blocks import Block
from fcilib.representations.base import StackSpec
from fcilib.specs.size import Size


class AblatedAttention(StackSpec):
    """A Transformer layer that compares, normalises and aggregates, less one of the three.

    `without`:

    - `"comparison"`: weights are a softmax over what each key says by itself, the same for every
      query; no query meets a key.
    - `"normalisation"`: keys are compared in vain, for weights are uniform, 1 / L.
    - `"aggregation"`: weights are computed in vain; what is written is a token's own value.
    - `"nothing"`: full attention, as `Attention`.

    The paper numbers the steps and says that the third is the one that counts; how each would be
    removed is ours. `residual=False` leaves the router only what attention writes.
    """

    kind: Literal["ablated-attention"] = "ablated-attention"
    without: Literal["nothing", "comparison", "normalisation", "aggregation"] = "nothing"
    residual: bool = True
    heads: int = Field(4, ge=1)

    def layer(self, size: Size) -> nn.Module:
        mixer = {
            "nothing": SelfAttention,
            "comparison": KeyOnlyAttention,
            "normalisation": UniformAttention,
            "aggregation": OwnValueAttention,
        }[self.without]
        return Block(size.width, mixer(size.width, self.heads), self.residual)


class KeyOnlyAttention(SelfAttention):
    """softmax(K u) V with a learned u per head in every query's place, O(n)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.asking = nn.Parameter(torch.randn(heads, 1, width // heads))

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        weights = (self.asking @ k.transpose(-1, -2) / k.shape[-1] ** 0.5).softmax(dim=-1)
        return (weights @ v).expand_as(q)


class UniformAttention(SelfAttention):
    """The mean of all values."""

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return v.mean(dim=2, keepdim=True).expand_as(q)


class OwnValueAttention(SelfAttention):
    """Each token's own value."""

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return v
