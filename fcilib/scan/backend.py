"""What `selective_scan` and `causal_conv_silu` hand to a back end, and what every back end is."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class ScanInputs(NamedTuple):
    """The arguments of `fcilib.scan.selective_scan`, checked; their meaning is described there."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    delta_softplus: bool
    reverse: bool


class Backend(Protocol):
    """A module with these three functions."""

    def supports(self, tensor: Tensor) -> bool:
        """Whether the back end takes tensors of this dtype on this device."""

    def selective_scan(self, inputs: ScanInputs, want_last: bool) -> tuple[Tensor, Tensor | None]:
        """`(B, L, d)`, and the last state, `(B, d, N)`, which may be None if it is not wanted."""

    def causal_conv_silu(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool
    ) -> Tensor:
        """`(B, L, d)`; arguments as in `fcilib.scan.causal_conv_silu`."""
