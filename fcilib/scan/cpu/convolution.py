"""The convolution of the CPU back end; its loops are in `convolution_loops.py`.

They leave out what lies before the first step, where torch multiplies by zeros, so that infinity
and NaN would spread otherwise: where there are any, the call is done again by `reference`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fcilib.scan import reference
from fcilib.scan.backend import first_derivative
from fcilib.scan.cpu.convolution_loops import conv_backward, conv_forward
from fcilib.scan.cpu.lanes import LANES
from fcilib.scan.cpu.tensors import (
    address,
    all_finite,
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


def causal_conv_silu(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    """`(B, L, d)`; arguments as in `fcilib.scan.causal_conv_silu`."""
    return _Conv.apply(single(x), single(weight), single(bias), reverse).to(x.dtype)


class _Conv(torch.autograd.Function):
    """Everything in float32. Keeps only its inputs: the response is quickly redone."""

    @staticmethod
    def forward(ctx, x, weight, bias, reverse):
        batch, length, width = x.shape
        taps = weight.shape[1]
        x, filters, bias = dense(x), blocked(weight), dense(bias)
        tasks = batch * blocks_of(width)
        out, alarm = empty(batch, length, width), empty(tasks)
        spread_over_threads(
            conv_forward,
            tasks,
            0,
            (
                length, width, taps, rows(x, reverse), address(filters), address(bias),
                rows(out, reverse), address(alarm),
            ),
        )  # fmt: skip
        # of a sequence shorter than the filter, the loops do not read every tap
        ctx.alarm = raised(alarm) or not all_finite(weight)
        ctx.save_for_backward(x, filters, bias, weight)
        ctx.reverse = reverse
        return reference.causal_conv_silu(x, weight, bias, reverse) if ctx.alarm else out

    @staticmethod
    @first_derivative
    def backward(ctx, dout):
        x, filters, bias, weight = ctx.saved_tensors
        reverse = ctx.reverse
        if ctx.alarm:
            return _reference_gradients(x, weight, bias, reverse, dout)
        batch, length, width = x.shape
        blocks, taps, _ = filters.shape
        dout, dx = dense(dout), empty(batch, length, width)
        dweight, dbias = empty(batch, blocks, taps, LANES), empty(batch, blocks, LANES)
        alarm = empty(batch * blocks)
        spread_over_threads(
            conv_backward,
            batch * blocks,
            taps * LANES,
            (
                length, width, taps, rows(x, reverse), address(filters), address(bias),
                rows(dout, reverse), rows(dx, reverse), address(dweight), address(dbias),
                address(alarm),
            ),
        )  # fmt: skip
        if raised(alarm):
            return _reference_gradients(x, weight, bias, reverse, dout)
        dbias = None if bias is None else sum_first(dbias).view(-1)[:width]
        return dx, unblocked(sum_first(dweight), width), dbias, None


def _reference_gradients(
    x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool, dout: Tensor
) -> tuple[Tensor | None, ...]:
    """What `_Conv.backward` returns, by autograd."""

    def forward(*inputs: Tensor) -> list[Tensor]:
        return [reference.causal_conv_silu(*inputs, reverse)]

    return *gradients_by_autograd(forward, (x, weight, bias), [dout]), None
