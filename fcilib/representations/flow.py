"""Flow: the paper's recurrent backbone, a stack of Mamba blocks."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fcilib.layers.mamba import MambaBlock
from fcilib.representations.base import StackSpec
from fcilib.specs.size import Size


class Flow(StackSpec):
    """Mamba blocks with residuals, one direction or both (paper, section 3.2).

    Bidirectional: in each layer one block reads left to right and another, with weights of its
    own, right to left; their outputs are summed.
    """

    kind: Literal["flow"] = "flow"
    layers: int = Field(2, ge=0)
    bidirectional: bool = False
    state: int = Field(16, ge=1)
    """N, the size of a channel's state."""
    conv: int = Field(4, ge=1)
    """Taps of the depthwise causal convolution."""
    expand: int = Field(2, ge=1)
    """The scan runs over `expand * d` channels."""
    scan: bool = True
    """False: the convolution and its gate alone, without the recurrence. A control of ours, as is
    `conv=1`, which leaves the scan alone: a convolution of one tap sees no other token."""

    @property
    def depth(self) -> int:
        return self.layers * (2 if self.bidirectional else 1)

    def layer(self, size: Size) -> nn.Module:
        return FlowLayer(size.width, self)


class FlowLayer(nn.Module):
    """x + forward(norm(x)), and + backward(norm(x)) where both directions are read."""

    def __init__(self, width: int, spec: Flow) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.scans = nn.ModuleList(
            MambaBlock(width, spec.state, spec.conv, spec.expand, reverse=reverse, scan=spec.scan)
            for reverse in ([False, True] if spec.bidirectional else [False])
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm(x)
        first, *others = (scan(normed) for scan in self.scans)
        return x + sum(others, first)
