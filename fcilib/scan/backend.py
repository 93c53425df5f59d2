"""What `selective_scan` and `causal_conv_silu` hand to a back end, and what every back end is."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.utils._python_dispatch import _get_current_dispatch_mode


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
    initial_state: Tensor | None
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


def in_memory(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor lie at its address, for kernels to read and write.

    They do not while operations are recorded (`make_fx`, `torch.export`, `torch.jit.trace`) or
    transformed (`torch.func`), nor in fake tensors and other wrappers.
    """
    return (
        not transformed()
        and _get_current_dispatch_mode() is None
        and not torch.jit.is_tracing()
        and type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__
        and tensor.data_ptr() != 0
    )


def recorded() -> bool:
    """Whether operations are recorded into a graph, which is run again without its autograd."""
    return get_proxy_mode() is not None or torch.compiler.is_exporting() or torch.jit.is_tracing()


def transformed() -> bool:
    """Whether a transform of `torch.func`, or forward differentiation, is at work."""
    return (
        torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0
    )


def first_derivative(backward: Callable) -> Callable:
    """A backward pass that autograd cannot record: it refuses where it would have to."""

    @wraps(backward)
    def wrapped(ctx, *cotangents):
        batched = any(isinstance(c, Tensor) and is_legacy_batchedtensor(c) for c in cotangents)
        if torch.is_grad_enabled() or transformed() or batched:
            raise NotImplementedError(
                "this back end has first derivatives alone, one cotangent at a time: "
                "use backend='reference' for create_graph, batched gradients and torch.func"
            )
        return backward(ctx, *cotangents)

    return wrapped
