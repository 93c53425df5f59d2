"""The convolution of the Triton back end: its launches and its kernels.

Tensors of rows are passed as in `triton_scan_kernels.py`.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from fcilib.scan.backend import first_derivative
from fcilib.scan.cuda.triton_shared import (
    SIZES,
    empty,
    load,
    on_device_of,
    rows,
    sigmoid,
    strided,
)

STEPS, BLOCK, WARPS = 32, 64, 4


def causal_conv_silu(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    """`(B, L, d)`; arguments as in `fcilib.scan.causal_conv_silu`."""
    return _Conv.apply(x, weight, bias, reverse)


class _Conv(torch.autograd.Function):
    """Keeps its inputs."""

    @staticmethod
    def forward(ctx, x, weight, bias, reverse):
        ctx.save_for_backward(x, weight, bias)
        ctx.reverse = reverse
        return _launch(x, weight, bias, reverse, x.dtype, silu=True)

    @staticmethod
    @first_derivative
    def backward(ctx, dy):
        x, weight, bias = ctx.saved_tensors
        batch, length, width = x.shape
        taps = weight.shape[1]
        chunks, blocks = triton.cdiv(length, STEPS), triton.cdiv(width, BLOCK)
        dout = empty(x.shape, x)
        parts = empty((batch * chunks, taps + 1, width), x)
        with on_device_of(x):
            conv_gradient_kernel[(batch * chunks * blocks,)](
                *rows(x, ctx.reverse), *strided(weight, 2), *strided(bias, 1),
                *rows(dy, ctx.reverse), *rows(dout, ctx.reverse), parts,
                length, width, blocks, chunks,
                TAPS=taps, STEPS=STEPS, BLOCK=BLOCK, num_warps=WARPS,
            )  # fmt: skip
        sums = parts.sum(0)
        return (
            _launch(dout, weight, None, not ctx.reverse, x.dtype, silu=False),
            sums[:-1].t().to(weight.dtype),
            None if bias is None else sums[-1].to(bias.dtype),
            None,
        )


def _launch(x, weight, bias, reverse: bool, dtype: torch.dtype, silu: bool) -> Tensor:
    """Launch `conv_kernel`: `(B, L, d)` in `dtype`."""
    batch, length, width = x.shape
    chunks, blocks = triton.cdiv(length, STEPS), triton.cdiv(width, BLOCK)
    y = empty(x.shape, x, dtype)
    with on_device_of(x):
        conv_kernel[(batch * chunks * blocks,)](
            *rows(x, reverse), *strided(weight, 2), *strided(bias, 1), *rows(y, reverse),
            length, width, blocks, chunks,
            SILU=silu, TAPS=weight.shape[1], STEPS=STEPS, BLOCK=BLOCK,
            num_warps=WARPS,
        )  # fmt: skip
    return y


@triton.jit
def _tile(x, x_t, x_d, t, d, length, width):
    """Steps `t`, channels `d` of one sequence; zeros outside of it."""
    inside = (t[:, None] >= 0) & (t[:, None] < length) & (d[None, :] < width)
    return load(x + t[:, None] * x_t + d[None, :] * x_d, inside)


@triton.jit
def _convolve(
    x, x_t, x_d, weight, w_d, w_k, bias, bias_d, t, d, length, width, TAPS: tl.constexpr,
    STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum of the taps, and the bias if given, as a tile (STEPS, BLOCK)."""
    out = tl.zeros((STEPS, BLOCK), tl.float32)
    if bias is not None:
        out += load(bias + d * bias_d, d < width)[None, :]
    for k in tl.static_range(TAPS):
        tap = load(weight + d * w_d + k * w_k, d < width)
        out += tap[None, :] * _tile(x, x_t, x_d, t - (TAPS - 1 - k), d, length, width)
    return out


@triton.jit(do_not_specialize=SIZES)
def conv_kernel(
    x, x_b, x_t, x_d, weight, w_d, w_k, bias, bias_d, y, y_b, y_t, y_d,
    length, width, blocks, chunks,
    SILU: tl.constexpr, TAPS: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One tile of STEPS steps and BLOCK channels. Without SILU: the convolution alone."""
    program = tl.program_id(0).to(tl.int64)
    batch = program // blocks // chunks
    t = program // blocks % chunks * STEPS + tl.arange(0, STEPS)
    d = program % blocks * BLOCK + tl.arange(0, BLOCK)
    x += batch * x_b
    out = _convolve(
        x, x_t, x_d, weight, w_d, w_k, bias, bias_d, t, d, length, width, TAPS, STEPS, BLOCK
    )
    if SILU:
        out *= sigmoid(out)
    at = y + batch * y_b + t[:, None] * y_t + d[None, :] * y_d
    tl.store(at, out, mask=(t[:, None] < length) & (d[None, :] < width))


@triton.jit(do_not_specialize=SIZES)
def conv_gradient_kernel(
    x, x_b, x_t, x_d, weight, w_d, w_k, bias, bias_d, dy, dy_b, dy_t, dy_d,
    dout, dout_b, dout_t, dout_d, parts, length, width, blocks, chunks,
    TAPS: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Back through the SiLU, to `dout`, and one tile's part of the gradients of weight and bias.

    `parts` is `(B, chunks, TAPS + 1, d)`, the bias last. The gradient of x is then `conv_kernel` of
    `dout` in the other direction: tap k took x to y over K - 1 - k steps, and takes dy back.
    """
    program = tl.program_id(0).to(tl.int64)
    block = program % blocks
    chunk = program // blocks % chunks
    batch = program // blocks // chunks
    t = chunk * STEPS + tl.arange(0, STEPS)
    d = block * BLOCK + tl.arange(0, BLOCK)
    x += batch * x_b
    out = _convolve(
        x, x_t, x_d, weight, w_d, w_k, bias, bias_d, t, d, length, width, TAPS, STEPS, BLOCK
    )
    opening = sigmoid(out)
    slope = opening * (1.0 + out * (1.0 - opening))
    # zeros outside, so that nothing beyond the tensor adds to the sums below
    grad = slope * _tile(dy + batch * dy_b, dy_t, dy_d, t, d, length, width)
    at = dout + batch * dout_b + t[:, None] * dout_t + d[None, :] * dout_d
    tl.store(at, grad, mask=(t[:, None] < length) & (d[None, :] < width))
    parts += (batch * chunks + chunk) * (TAPS + 1) * width + d
    for k in tl.static_range(TAPS):
        seen = _tile(x, x_t, x_d, t - (TAPS - 1 - k), d, length, width)
        tl.store(parts + k * width, tl.sum(grad * seen, axis=0), mask=d < width)
    tl.store(parts + TAPS * width, tl.sum(grad, axis=0), mask=d < width)
