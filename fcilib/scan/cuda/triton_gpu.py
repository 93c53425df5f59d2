"""The GPU back end: fused forward and backward passes as Triton kernels (see triton_kernels.py).

State of the evidence: forward and backward, of the scan and of the convolution, have been run in
Triton's interpreter against the float64 reference, and compiled for sm_80 and sm_90 without
register spills. They have not run on a GPU: speed is unknown, and `tests/scan/test_gpu.py` is the
check to run first where there is one.

The scan is four launches. Forward: one walk through the sequence, which keeps one state per
`SEGMENT` steps. Backward: all segments are walked again, at the same time, to keep the state
before every chunk; a walk from the end keeps the gradient that enters every chunk; then all chunks
are differentiated at the same time. What programs share (gradients of A, D, B, C, the bias) each
writes apart and torch adds up in its fixed order: there are no atomics, results repeat bit for bit.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from fcilib.scan.cuda import triton_kernels as kernels

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# Reasoned from registers and traffic, not measured, and functions of the shapes alone: with
# autotuning the order of additions, and so the last bits, would depend on timings.
SEGMENT = 64  # steps between the states kept from forward to backward: N / 64 floats per entry of u
CHUNK = 8  # steps differentiated at a time: 2 N / 8 floats per entry of u during the backward pass
# Channels per program of a walk and steps read at a time: one channel per thread, or four threads
# per channel, which then has less to do while the next steps come and looks further ahead.
WIDE, NARROW = (32, 4), (8, 8)
ENOUGH_PROGRAMS = 1024  # two warps for each scheduler of a large card
GRADIENT_BLOCK = 64  # two channels per thread, as many as the registers take
CONV_STEPS, CONV_BLOCK, CONV_WARPS = 32, 64, 4


def supports(tensor: Tensor) -> bool:
    """float32 and narrower on a GPU, and on the CPU if the kernels are interpreted."""
    place = tensor.device.type
    return tensor.dtype in _DTYPES and (place == "cuda" or (place == "cpu" and kernels.INTERPRETED))


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    want_last: bool,
) -> tuple[Tensor, Tensor | None]:
    """`(B, L, d)` and the last state `(B, d, N)` or None, if not wanted.

    Arguments as in `fcilib.scan.selective_scan`.
    """
    return _Scan.apply(u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse, want_last)


def causal_conv_silu(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    """`(B, L, d)`; arguments as in `fcilib.scan.causal_conv_silu`."""
    return _Conv.apply(x, weight, bias, reverse)


def empty(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Memory to be written in full; a function of its own so that tests can fill it with NaN."""
    return torch.empty(shape, dtype=dtype, device=like.device)


class _Scan(torch.autograd.Function):
    """Keeps its inputs and one state per segment."""

    @staticmethod
    def forward(ctx, u, delta, A, B, C, D, z, delta_bias, use_softplus, reverse, want_last):
        batch, length, width = u.shape
        A = A.t().contiguous()  # as the kernels read it, here and on the way back
        states = len(A)
        y = empty(u.shape, u, u.dtype)
        last = empty((batch, states, width), u) if want_last else None
        kept = None
        if any(ctx.needs_input_grad):
            kept = empty((batch, triton.cdiv(length, SEGMENT), states, width), u)
        inputs = (u, delta, A, B, C, D, z, delta_bias)
        _walk(inputs, y, last, None, kept, use_softplus, reverse)
        if kept is not None:
            ctx.save_for_backward(*inputs, kept)
            ctx.use_softplus, ctx.reverse = use_softplus, reverse
            ctx.set_materialize_grads(False)
        return y, None if last is None else last.transpose(1, 2).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, dlast):
        *inputs, kept = ctx.saved_tensors
        u, delta, A, B, C, D, _, delta_bias = inputs
        batch, length, width = u.shape
        states, chunks = len(A), triton.cdiv(length, CHUNK)
        if dy is None:
            dy = u.new_zeros(()).expand(u.shape)
        before = empty((batch, chunks, states, width), u)
        rewalked = (u, delta, A, B, None, None, None, delta_bias)
        _walk(rewalked, None, None, kept, before, ctx.use_softplus, ctx.reverse)
        if dlast is not None:
            dlast = dlast.transpose(1, 2).contiguous()
        carry = _carry(inputs, dy, dlast, ctx.use_softplus, ctx.reverse)
        du, ddelta, dz, dB, dC, dD, dbias = _gradients(
            inputs, dy, before, carry, ctx.use_softplus, ctx.reverse
        )
        dA = carry.view(-1, states, width).sum(0)  # where the kernel has left its parts
        return (
            du,
            ddelta,
            dA.t().to(A.dtype),
            dB.sum(1).transpose(1, 2).to(B.dtype),
            dC.sum(1).transpose(1, 2).to(C.dtype),
            None if D is None else dD.view(-1, width).sum(0).to(D.dtype),
            dz,
            None if delta_bias is None else dbias.view(-1, width).sum(0).to(delta_bias.dtype),
            None,
            None,
            None,
        )


def _walk(inputs, y, last, start, kept, use_softplus: bool, reverse: bool) -> None:
    """Launch `scan_states_kernel`; from `start`, with its segments at the same time, if given."""
    u, delta, A, B, C, D, z, delta_bias = inputs
    batch, length, width = u.shape
    states = len(A)
    segments = 1 if start is None else start.shape[1]
    block, steps = _walk_tile(batch * segments, width, states)
    blocks = triton.cdiv(width, block)
    with _on(u):
        kernels.scan_states_kernel[(batch * segments * blocks,)](
            *_rows(u, reverse), *_rows(delta, reverse), A, *_rows(B, reverse),
            *_rows(C, reverse), *_strided(D, 1), *_rows(z, reverse), *_strided(delta_bias, 1),
            *_rows(y, reverse), last, start, kept,
            length, width, blocks, segments, 0 if kept is None else kept.shape[1],
            N=states, SOFTPLUS=use_softplus, SEGMENT=SEGMENT // steps,
            EVERY=(SEGMENT if start is None else CHUNK) // steps, STEPS=steps, BLOCK=block,
            STATES=triton.next_power_of_2(states), num_warps=1,
        )  # fmt: skip


def _carry(inputs, dy: Tensor, dlast: Tensor | None, use_softplus: bool, reverse: bool) -> Tensor:
    """What enters each chunk from those after it, `(B, chunks, N, d)`."""
    u, delta, A, _, C, _, z, delta_bias = inputs
    batch, length, width = u.shape
    states, chunks = len(A), triton.cdiv(length, CHUNK)
    block, steps = _walk_tile(batch, width, states)
    blocks = triton.cdiv(width, block)
    carry = empty((batch, chunks, states, width), u)
    with _on(u):
        kernels.scan_carry_kernel[(batch * blocks,)](
            *_rows(delta, reverse), A, *_rows(C, reverse), *_rows(z, reverse),
            *_strided(delta_bias, 1), *_rows(dy, reverse), dlast, carry,
            length, width, blocks, chunks,
            N=states, SOFTPLUS=use_softplus, EVERY=CHUNK // steps, STEPS=steps, BLOCK=block,
            STATES=triton.next_power_of_2(states), num_warps=1,
        )  # fmt: skip
    return carry


def _gradients(inputs, dy, before, carry, use_softplus: bool, reverse: bool) -> tuple:
    """du, ddelta, dz; parts of dB and dC, `(B, blocks, N, L)`, of dD and dbias. dA: in `carry`."""
    u, delta, A, B, C, D, z, delta_bias = inputs
    batch, length, width = u.shape
    states, chunks, blocks = len(A), carry.shape[1], triton.cdiv(width, GRADIENT_BLOCK)
    du, ddelta = empty(u.shape, u, u.dtype), empty(u.shape, u, delta.dtype)
    dz = None if z is None else empty(u.shape, u, z.dtype)
    dB, dC = (empty((batch, blocks, states, length), u) for _ in range(2))
    dD = None if D is None else empty((batch, chunks, width), u)
    dbias = None if delta_bias is None else empty((batch, chunks, width), u)
    with _on(u):
        kernels.scan_gradient_kernel[(batch * chunks * blocks,)](
            *_rows(u, reverse), *_rows(delta, reverse), A,
            *(_along(tensor.transpose(1, 2).contiguous(), reverse) for tensor in (B, C)),
            *_strided(D, 1), *_rows(z, reverse), *_strided(delta_bias, 1),
            *_rows(dy, reverse), *(_rows(tensor, reverse)[0] for tensor in (u, delta, z, dy)),
            before, carry,
            *_rows(du, reverse), *_rows(ddelta, reverse), *_rows(dz, reverse),
            _along(dB, reverse), _along(dC, reverse), dD, dbias,
            length, width, blocks, chunks,
            N=states, TURN=-1 if reverse else 1, SOFTPLUS=use_softplus, STEPS=CHUNK,
            BLOCK=GRADIENT_BLOCK, num_warps=1,
        )  # fmt: skip
    return du, ddelta, dz, dB, dC, dD, dbias


class _Conv(torch.autograd.Function):
    """Keeps its inputs."""

    @staticmethod
    def forward(ctx, x, weight, bias, reverse):
        ctx.save_for_backward(x, weight, bias)
        ctx.reverse = reverse
        return _convolve(x, weight, bias, reverse, x.dtype, silu=True)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, weight, bias = ctx.saved_tensors
        batch, length, width = x.shape
        taps = weight.shape[1]
        chunks, blocks = triton.cdiv(length, CONV_STEPS), triton.cdiv(width, CONV_BLOCK)
        dout = empty(x.shape, x)
        parts = empty((batch * chunks, taps + 1, width), x)
        with _on(x):
            kernels.conv_gradient_kernel[(batch * chunks * blocks,)](
                *_rows(x, ctx.reverse), *_strided(weight, 2), *_strided(bias, 1),
                *_rows(dy, ctx.reverse), *_rows(dout, ctx.reverse), parts,
                length, width, blocks, chunks,
                TAPS=taps, STEPS=CONV_STEPS, BLOCK=CONV_BLOCK, num_warps=CONV_WARPS,
            )  # fmt: skip
        sums = parts.sum(0)
        return (
            _convolve(dout, weight, None, not ctx.reverse, x.dtype, silu=False),
            sums[:-1].t().to(weight.dtype),
            None if bias is None else sums[-1].to(bias.dtype),
            None,
        )


def _convolve(x, weight, bias, reverse: bool, dtype: torch.dtype, silu: bool) -> Tensor:
    """Launch `conv_kernel`: `(B, L, d)` in `dtype`."""
    batch, length, width = x.shape
    chunks, blocks = triton.cdiv(length, CONV_STEPS), triton.cdiv(width, CONV_BLOCK)
    y = empty(x.shape, x, dtype)
    with _on(x):
        kernels.conv_kernel[(batch * chunks * blocks,)](
            *_rows(x, reverse), *_strided(weight, 2), *_strided(bias, 1), *_rows(y, reverse),
            length, width, blocks, chunks,
            SILU=silu, TAPS=weight.shape[1], STEPS=CONV_STEPS, BLOCK=CONV_BLOCK,
            num_warps=CONV_WARPS,
        )  # fmt: skip
    return y


def _rows(tensor: Tensor | None, reverse: bool) -> tuple:
    """`(B, L, -)` from the first row taken, and its strides; in reverse the last, going back."""
    if tensor is None:
        return _strided(None, 3)
    batch, step, last = tensor.stride()
    return (tensor[:, -1:], batch, -step, last) if reverse else (tensor, batch, step, last)


def _along(tensor: Tensor, reverse: bool) -> Tensor:
    """Where the steps lie along the last axis: from the first step taken."""
    return tensor[..., -1:] if reverse else tensor


def _strided(tensor: Tensor | None, dims: int) -> tuple:
    """The tensor and its strides; None and zeros."""
    return (None, *[0] * dims) if tensor is None else (tensor, *tensor.stride())


def _walk_tile(sequences: int, width: int, states: int) -> tuple[int, int]:
    """Wide, unless that leaves most of a card without work or the state outgrows the registers."""
    enough = sequences * triton.cdiv(width, WIDE[0]) >= ENOUGH_PROGRAMS
    return WIDE if enough and states <= 16 else NARROW


def _on(tensor: Tensor):
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
