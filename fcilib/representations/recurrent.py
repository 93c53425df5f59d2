"""Today's linear-time recurrences in a Transformer's block, one direction or both (ours).

The paper names them as not compared (section 5, limitations). Each mixer stands in the place of
attention in the block that all other representations share.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from fcilib.layers.delta import DeltaLayer
from fcilib.layers.directions import Directions
from fcilib.layers.gated_linear import GatedLinearLayer, Hgrn2Layer
from fcilib.layers.hyena import HyenaLayer
from fcilib.layers.mamba2 import Mamba2Block
from fcilib.layers.rwkv4 import Rwkv4Layer
from fcilib.layers.rwkv7 import Rwkv7Layer
from fcilib.representations.base import BlockSpec
from fcilib.specs.size import Size


class CausalMixer(BlockSpec):
    """A stack of blocks around a causal mixer, in one direction or both.

    Bidirectional: another mixer, with weights of its own, reads from right to left; the two
    outputs are summed.
    """

    bidirectional: bool = False

    @property
    def depth(self) -> int:
        return self.layers * (2 if self.bidirectional else 1)

    def causal(self, size: Size) -> nn.Module:
        """A causal module from `(B, L, d)` to `(B, L, d)`, freshly initialised."""
        raise NotImplementedError

    def mixers(self, size: Size) -> tuple[nn.Module, ...]:
        return (Directions(lambda: self.causal(size), self.bidirectional),)


class Mamba2(CausalMixer):
    """State space duality (Dao and Gu, 2024)."""

    kind: Literal["mamba-2"] = "mamba-2"
    heads: int = Field(4, ge=1)
    state: int = Field(32, ge=1)
    """N, the size of keys and queries."""

    def causal(self, size: Size) -> nn.Module:
        return Mamba2Block(size.width, self.heads, self.state)


class GatedLinearAttention(CausalMixer):
    """Linear attention with a decay per key channel (Yang et al., 2024)."""

    kind: Literal["gated-linear-attention"] = "gated-linear-attention"
    heads: int = Field(4, ge=1)

    def causal(self, size: Size) -> nn.Module:
        return GatedLinearLayer(size.width, self.heads)


class Hgrn2(CausalMixer):
    """Gated linear attention whose keys are what was forgotten (Qin et al., 2024)."""

    kind: Literal["hgrn2"] = "hgrn2"
    heads: int = Field(4, ge=1)

    def causal(self, size: Size) -> nn.Module:
        return Hgrn2Layer(size.width, self.heads)


class DeltaNet(CausalMixer):
    """The delta rule: a write replaces what its key held (Yang et al., 2024)."""

    kind: Literal["delta-net"] = "delta-net"
    heads: int = Field(4, ge=1)
    gated: bool = False
    """With a decay and an output gate: Gated DeltaNet (Yang et al., 2025)."""

    def causal(self, size: Size) -> nn.Module:
        return DeltaLayer(size.width, self.heads, self.gated)


class Rwkv7(CausalMixer):
    """RWKV-7's time mixing (Peng et al., 2025)."""

    kind: Literal["rwkv-7"] = "rwkv-7"
    heads: int = Field(4, ge=1)

    def causal(self, size: Size) -> nn.Module:
        return Rwkv7Layer(size.width, self.heads)


class Rwkv4(CausalMixer):
    """RWKV-4's time mixing (Peng et al., 2023)."""

    kind: Literal["rwkv-4"] = "rwkv-4"

    def causal(self, size: Size) -> nn.Module:
        return Rwkv4Layer(size.width)


class Hyena(CausalMixer):
    """Gates around a long convolution, without any comparison (Poli et al., 2023)."""

    kind: Literal["hyena"] = "hyena"

    def causal(self, size: Size) -> nn.Module:
        return HyenaLayer(size)
