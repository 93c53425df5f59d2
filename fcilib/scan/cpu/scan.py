"""The CPU back end: fused forward and backward passes, compiled by numba (see README.md).

The loops are exact for finite numbers alone, and raise an alarm where they meet others; the call is
then done again by `plain_torch`, which treats infinity and NaN as the reference does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fcilib.scan import plain_torch
from fcilib.scan.backend import ScanInputs, first_derivative, in_memory
from fcilib.scan.cpu.convolution import causal_conv_silu
from fcilib.scan.cpu.lanes import LANES, LARGEST, LOG2_E
from fcilib.scan.cpu.scan_loops import (
    BACKWARD_FLOATS,
    FORWARD_FLOATS,
    STEPS,
    scan_backward,
    scan_forward,
)
from fcilib.scan.cpu.tensors import (
    address,
    blocked,
    blocks_of,
    dense,
    empty,
    gradients_by_autograd,
    raised,
    rows,
    single,
    sum_first,
    unblocked,
)
from fcilib.scan.cpu.threads import spread_over_threads

__all__ = ["causal_conv_silu", "selective_scan", "supports"]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_LARGEST_EXPONENT = 87.0
"""The loops' exponential saturates a little above; exp(88.7) is the largest float32."""


def supports(tensor: Tensor) -> bool:
    """float32 and narrower on the CPU; all arithmetic is float32."""
    return tensor.device.type == "cpu" and tensor.dtype in _DTYPES and in_memory(tensor)


def selective_scan(inputs: ScanInputs, want_last: bool) -> tuple[Tensor, Tensor | None]:
    """`(B, L, d)`, and the last state, `(B, d, N)`, or None if it is not wanted."""
    *tensors, delta_softplus, reverse = inputs
    if _explodes(inputs):
        return plain_torch.selective_scan(inputs, want_last)
    out, last = _Scan.apply(*map(single, tensors), delta_softplus, reverse, want_last)
    return out.to(inputs.u.dtype), last


@torch.no_grad()
def _explodes(inputs: ScanInputs) -> bool:
    """Whether some exp(delta A) may lie beyond the range of the loops' exponential.

    Or below it, where an entry of A is so large that the rest counts.
    """
    _, delta, A, *_, delta_bias, _, use_softplus, _ = inputs
    if delta.numel() == 0 or A.numel() == 0:
        return False
    smallest, largest = A.aminmax()
    if bool(torch.maximum(-smallest, largest) > LARGEST):
        return True
    if use_softplus and bool(largest <= 0):
        return False
    steps = torch.stack(delta.aminmax()).float()
    if delta_bias is not None:
        steps = steps + torch.stack(delta_bias.aminmax()).float()
    steps = torch.nn.functional.softplus(steps) if use_softplus else steps
    exponents = steps[:, None] * torch.stack((smallest, largest)).float()
    return bool(exponents.amax() > _LARGEST_EXPONENT)


class _Scan(torch.autograd.Function):
    """Everything in float32. Keeps its inputs and one state per chunk."""

    @staticmethod
    def forward(
        ctx, u, delta, A, B, C, D, z, delta_bias, initial, use_softplus, reverse, want_last
    ):  # fmt: skip
        batch, length, width = u.shape
        states = A.shape[1]
        given = ScanInputs(u, delta, A, B, C, D, z, delta_bias, initial, use_softplus, reverse)
        A = blocked(A * LOG2_E)
        u, delta, B, C, D, z, delta_bias = map(dense, (u, delta, B, C, D, z, delta_bias))
        blocks = blocks_of(width)
        tasks, chunks = batch * blocks, -(-length // STEPS)
        differentiate = any(ctx.needs_input_grad)
        places = chunks + 1 if differentiate else 1
        kept = empty(tasks, places, states, LANES)
        kept[:, 0] = 0.0 if initial is None else blocked(initial).flatten(0, 1)
        kept_task = kept.stride(0)
        kept_chunk = kept.stride(1) if differentiate else 0
        out, alarm = empty(batch, length, width), empty(tasks)
        common = (
            length, width, states, use_softplus,
            rows(u, reverse), rows(delta, reverse), A.data_ptr(), rows(B, reverse),
            rows(C, reverse), address(D), rows(z, reverse), address(delta_bias),
        )  # fmt: skip
        spread_over_threads(
            scan_forward,
            tasks,
            FORWARD_FLOATS,
            (*common, rows(out, reverse), kept.data_ptr(), kept_chunk, kept_task, address(alarm)),
        )
        ctx.alarm = raised(alarm)
        if differentiate:
            rates = given.A  # as they came: from those of the loops they do not come back exactly
            ctx.save_for_backward(u, delta, A, B, C, D, z, delta_bias, kept, rates, initial)
            ctx.use_softplus, ctx.reverse = use_softplus, reverse
            ctx.set_materialize_grads(False)
        if ctx.alarm:
            return plain_torch.selective_scan(given, want_last)
        if not want_last:
            return out, None
        return out, unblocked(kept[:, -1].view(batch, blocks, states, LANES), width)

    @staticmethod
    @first_derivative
    def backward(ctx, dout, dlast):
        u, delta, A, B, C, D, z, delta_bias, kept, rates, initial = ctx.saved_tensors
        reverse = ctx.reverse
        given = ScanInputs(
            u, delta, rates, B, C, D, z, delta_bias, initial, ctx.use_softplus, reverse
        )
        if ctx.alarm:
            return _plain_gradients(given, dout, dlast)
        batch, length, width = u.shape
        blocks, states, _ = A.shape
        tasks = batch * blocks
        dout = dense(dout)
        # Written over; a copy even where blocks of one state lie in memory as their rows do.
        carry = torch.zeros(tasks, states, LANES) if dlast is None else blocked(dlast).clone()
        du, ddelta = empty(batch, length, width), empty(batch, length, width)
        dz = None if z is None else empty(batch, length, width)
        dB, dC = (empty(blocks, batch, length, states) for _ in range(2))
        dA = torch.zeros(tasks, states, LANES)
        dD, dbias, alarm = empty(tasks, LANES), empty(tasks, LANES), empty(tasks)
        spread_over_threads(
            scan_backward,
            tasks,
            BACKWARD_FLOATS,
            (
                length, width, states, ctx.use_softplus,
                rows(u, reverse), rows(delta, reverse), A.data_ptr(), rows(B, reverse),
                rows(C, reverse), address(D), rows(z, reverse), address(delta_bias),
                kept.data_ptr(), kept.stride(1), kept.stride(0), rows(dout, reverse),
                address(carry), rows(du, reverse), rows(ddelta, reverse), rows(dz, reverse),
                (*rows(dB[0], reverse), dB.stride(0)), (*rows(dC[0], reverse), dC.stride(0)),
                dA.data_ptr(), dD.data_ptr(), dbias.data_ptr(), address(alarm),
            ),
        )  # fmt: skip
        if raised(alarm):
            return _plain_gradients(given, dout, dlast)
        dinitial = None
        if initial is not None:
            dinitial = unblocked(carry.view(batch, blocks, states, LANES), width)
        return (
            du,
            ddelta,
            unblocked(sum_first(dA.view(batch, blocks, states, LANES)), width),
            sum_first(dB),
            sum_first(dC),
            None if D is None else sum_first(dD.view(batch, -1))[:width],
            dz,
            None if delta_bias is None else sum_first(dbias.view(batch, -1))[:width],
            dinitial,
            None,
            None,
            None,
        )


def _plain_gradients(
    inputs: ScanInputs, dout: Tensor | None, dlast: Tensor | None
) -> tuple[Tensor | None, ...]:
    """What `_Scan.backward` returns, by `plain_torch`, from its forward pass on."""
    *tensors, use_softplus, reverse = inputs

    def forward(*leaves: Tensor) -> tuple[Tensor, Tensor | None]:
        return plain_torch.selective_scan(ScanInputs._make([*leaves, use_softplus, reverse]), True)

    return *gradients_by_autograd(forward, tensors, [dout, dlast]), None, None, None
