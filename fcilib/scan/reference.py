"""The ground truth: one step after another in plain PyTorch, differentiated by autograd."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fcilib.scan.backend import ScanInputs


def supports(tensor: Tensor) -> bool:
    """Any dtype on any device."""
    return True


def without_autocast(function: Callable) -> Callable:
    """Switch autocast off, which would narrow the products inside."""

    @wraps(function)
    def wrapped(first: Tensor | ScanInputs, *others):
        tensor = first if isinstance(first, Tensor) else first.u
        with torch.autocast(tensor.device.type, enabled=False):
            return function(first, *others)

    return wrapped


@without_autocast
def selective_scan(inputs: ScanInputs, want_last: bool) -> tuple[Tensor, Tensor | None]:
    """`(B, L, d)`, and the last state, `(B, d, N)`, or None if it is not wanted."""
    *tensors, delta_softplus, reverse = inputs
    u, delta, A, B, C, D, z, delta_bias, h = widened(*tensors)
    if delta_bias is not None:
        delta = delta + delta_bias
    if delta_softplus:
        delta = F.softplus(delta)
    # `unbind` once: slicing `[:, t]` inside the loop would make the backward pass quadratic in L,
    # because the gradient of every slice is a tensor as long as the sequence.
    steps = list(zip(delta.unbind(1), (delta * u).unbind(1), B.unbind(1), C.unbind(1), strict=True))
    if h is None:
        h = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])  # (B, d, N)
    ys = []
    for delta_t, input_t, B_t, C_t in reversed(steps) if reverse else steps:
        h = torch.exp(delta_t[:, :, None] * A) * h + input_t[:, :, None] * B_t[:, None, :]
        ys.append((h @ C_t[:, :, None])[:, :, 0])  # (B, d)
    y = torch.stack(ys[::-1] if reverse else ys, dim=1)
    if D is not None:
        y = y + D * u
    if z is not None:
        y = y * F.silu(z)
    return y.to(inputs.u.dtype), h if want_last else None


@without_autocast
def causal_conv_silu(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    """`(B, L, d)`; arguments as in `fcilib.scan.causal_conv_silu`."""
    dtype = x.dtype
    taps = weight.shape[1]
    x, weight, bias = widened(x, weight, bias)
    if reverse:  # the same filter, mirrored, over what comes after
        weight = weight.flip(1)
    padded = F.pad(x.transpose(1, 2), (0, taps - 1) if reverse else (taps - 1, 0))
    y = F.conv1d(padded, weight[:, None, :], bias, groups=x.shape[2])
    return F.silu(y).transpose(1, 2).to(dtype)


def widened(*tensors: Tensor | None) -> list[Any]:
    """All in float64 if one of them is, else in float32: half-precision states drift."""
    double = any(tensor is not None and tensor.dtype == torch.float64 for tensor in tensors)
    dtype = torch.float64 if double else torch.float32
    return [tensor if tensor is None else tensor.to(dtype) for tensor in tensors]
