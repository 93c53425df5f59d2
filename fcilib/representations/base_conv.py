"""BaseConv: short and long convolutions by turns, each times a projection (ours).

Zoology (Arora et al., 2024) shows that gated convolutions reduce to it.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from fcilib.layers.base_conv import BaseConvLayer
from fcilib.representations.base import BlockSpec
from fcilib.specs.size import Size


class BaseConv(BlockSpec):
    """Pairs of blocks: a convolution of three taps, then a long one.

    As published they have no per-token networks.
    """

    kind: Literal["base-conv"] = "base-conv"
    feed_forward: bool = False

    @property
    def depth(self) -> int:
        return 2 * self.layers

    def mixers(self, size: Size) -> tuple[nn.Module, ...]:
        return BaseConvLayer(size, long=False), BaseConvLayer(size, long=True)
