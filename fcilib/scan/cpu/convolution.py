"""The convolution of the CPU back end; its loops are in `convolution_loops.py`."""

from __future__ import annotations

import torch
from torch import Tensor

from fcilib.scan.backend import first_derivative
from fcilib.scan.cpu.convolution_loops import conv_backward, conv_forward
from fcilib.scan.cpu.lanes import LANES
from fcilib.scan.cpu.tensors import (
    address,
    blocked,
    blocks_of,
    dense,
    empty,
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
        out = empty(batch, length, width)
        spread_over_threads(
            conv_forward,
            batch * blocks_of(width),
            0,
            (
                length, width, taps, rows(x, reverse), address(filters), address(bias),
                rows(out, reverse),
            ),
        )  # fmt: skip
        ctx.save_for_backward(x, filters, bias)
        ctx.reverse = reverse
        return out

    @staticmethod
    @first_derivative
    def backward(ctx, dout):
        x, filters, bias = ctx.saved_tensors
        reverse = ctx.reverse
        batch, length, width = x.shape
        blocks, taps, _ = filters.shape
        dout, dx = dense(dout), empty(batch, length, width)
        dweight, dbias = empty(batch, blocks, taps, LANES), empty(batch, blocks, LANES)
        spread_over_threads(
            conv_backward,
            batch * blocks,
            taps * LANES,
            (
                length, width, taps, rows(x, reverse), address(filters), address(bias),
                rows(dout, reverse), rows(dx, reverse), address(dweight), address(dbias),
            ),
        )  # fmt: skip
        dbias = None if bias is None else sum_first(dbias).view(-1)[:width]
        return dx, unblocked(sum_first(dweight), width), dbias, None
