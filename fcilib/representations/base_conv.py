"""BaseConv: short and long convolutions by turns, each times a projection (ours).

Zoology (Arora et al., 2024) shows that gated convolutions reduce to it.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from fcilib.layers.base_conv import BaseConvLayer
from fcilib.layers.blocks import Block
from fcilib.representations.base import StackSpec
from fcilib.specs.size import Size


class BaseConv(StackSpec):
    """Pairs of blocks, without per-token networks: a convolution of three taps, then a long one."""

    kind: Literal["base-conv"] = "base-conv"

    @property
    def depth(self) -> int:
        return 2 * self.layers

    def layer(self, size: Size) -> nn.Module:
        mixers = BaseConvLayer(size, long=False), BaseConvLayer(size, long=True)
        return nn.Sequential(*(Block(size.width, mixer, feed_forward=False) for mixer in mixers))
