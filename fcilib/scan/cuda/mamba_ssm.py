"""The CUDA kernels of state-spaces/mamba and Dao-AILab/causal-conv1d, through their own functions.

Theirs are `(B, d, L)` and `(B, N, L)`, run forward only and want the last axis dense: every call
copies its inputs once into that layout, and `reverse` flips them on the way in and out.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from fcilib.scan import reference
from fcilib.scan.backend import ScanInputs, first_derivative, in_memory

__all__ = ["causal_conv_silu", "selective_scan", "supports"]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# What their kernels are compiled for.
MAX_STATES = 256
TAPS = (2, 3, 4)


def supports(tensor: Tensor) -> bool:
    """float32 and narrower on a CUDA device."""
    return tensor.is_cuda and tensor.dtype in _DTYPES and in_memory(tensor)


def selective_scan(inputs: ScanInputs, want_last: bool) -> tuple[Tensor, Tensor | None]:
    """`(B, L, d)`, and the last state, `(B, d, N)`, or None if it is not wanted.

    Rows of different dtypes all go in as float32, because the kernel takes one dtype.

    Raises:
        ValueError: more than `MAX_STATES` states.
        NotImplementedError: on the way back, a gradient through the last state, which their
            backward pass leaves out.
    """
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    u, delta, A, B, C, D, z, delta_bias, _, delta_softplus, reverse = inputs
    if A.shape[1] > MAX_STATES:
        raise ValueError(
            f"A must have at most {MAX_STATES} states for backend 'mamba_ssm', got {A.shape[1]}"
        )
    rows = [tensor for tensor in (u, delta, B, C, z) if tensor is not None]
    dtype = u.dtype if all(tensor.dtype == u.dtype for tensor in rows) else torch.float32
    u_, delta, B, C, z = (_to_theirs(t, dtype, reverse) for t in (u, delta, B, C, z))  # type: ignore
    A, D, delta_bias = (t if t is None else _dense(t.float()) for t in (A, D, delta_bias))  # type: ignore
    result = selective_scan_fn(
        u_,
        delta,
        A,
        B,
        C,
        D=D,
        z=z,
        delta_bias=delta_bias,
        delta_softplus=delta_softplus,
        return_last_state=want_last,
    )
    y, last = result if want_last else (result, None)
    y = _to_ours(_FirstDerivative.apply(y), reverse).to(u.dtype)
    return y, last if last is None else _EndOfGraph.apply(last)


def causal_conv_silu(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    """`(B, L, d)`; arguments as in `fcilib.scan.causal_conv_silu`.

    The reference's convolution where causal-conv1d is not installed or not made for that many taps.
    """
    if weight.shape[1] not in TAPS or find_spec("causal_conv1d") is None:
        return reference.causal_conv_silu(x, weight, bias, reverse)
    from causal_conv1d import causal_conv1d_fn

    y = causal_conv1d_fn(
        _to_theirs(x, x.dtype, reverse),
        _dense(weight.float()),  # of whatever dtype x is; the bias must follow the weight
        bias=None if bias is None else _dense(bias.float()),
        activation="silu",
    )
    return _to_ours(_FirstDerivative.apply(y), reverse)


class _FirstDerivative(torch.autograd.Function):
    """The identity, but no second derivative is left out in silence."""

    @staticmethod
    def forward(ctx, y):
        return y.view_as(y)

    @staticmethod
    @first_derivative
    def backward(ctx, dy):
        return dy


class _EndOfGraph(torch.autograd.Function):
    """The identity, but no gradient passes in silence."""

    @staticmethod
    def forward(ctx, state):
        return state.view_as(state)

    @staticmethod
    @first_derivative
    def backward(ctx, dstate):
        raise NotImplementedError(
            "backend 'mamba_ssm' has no gradient through the last state; use 'triton' or 'torch'"
        )


def _to_theirs(rows: Tensor | None, dtype: torch.dtype, reverse: bool) -> Tensor | None:
    """`(B, L, d)` to a dense `(B, d, L)` in the order in which the steps are taken."""
    if rows is None:
        return None
    rows = rows.to(dtype).transpose(1, 2)
    return _dense(rows.flip(2) if reverse else rows)


def _to_ours(rows: Tensor, reverse: bool) -> Tensor:
    """Back to `(B, L, d)`."""
    return (rows.flip(2) if reverse else rows).transpose(1, 2)


def _dense(tensor: Tensor) -> Tensor:
    """Contiguous, and the last stride 1 even where an axis of length 1 would excuse another."""
    tensor = tensor.contiguous()
    if tensor.stride(-1) == 1:
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)
