"""The Triton back end: its scan, launched forward and backward (see triton_scan_kernels.py).

README.md of the folder above describes the four launches.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from fcilib.scan.backend import ScanInputs, first_derivative
from fcilib.scan.cuda.triton_convolution import causal_conv_silu
from fcilib.scan.cuda.triton_scan_kernels import (
    scan_carry_kernel,
    scan_gradient_kernel,
    scan_states_kernel,
)
from fcilib.scan.cuda.triton_shared import along, empty, on_device_of, rows, strided, supports

__all__ = ["causal_conv_silu", "selective_scan", "supports"]

# Functions of the shapes alone: with autotuning the order of additions, and so the last bits, would
# depend on timings.
SEGMENT = 64  # steps between the states kept from forward to backward: N / 64 floats per entry of u
CHUNK = 8  # steps differentiated at a time: 2 N / 8 floats per entry of u during the backward pass
# Channels per program of a walk and steps read at a time: one channel per thread, or four threads
# per channel, which then has less to do while the next steps come and looks further ahead.
WIDE, NARROW = (32, 4), (8, 8)
ENOUGH_PROGRAMS = 1024  # two warps for each scheduler of a large card
GRADIENT_BLOCK = 64  # two channels per thread, as many as the registers take


def selective_scan(inputs: ScanInputs, want_last: bool) -> tuple[Tensor, Tensor | None]:
    """`(B, L, d)`, and the last state, `(B, d, N)`, or None if it is not wanted."""
    return _Scan.apply(*inputs, want_last)


class _Scan(torch.autograd.Function):
    """Keeps its inputs and one state per segment."""

    @staticmethod
    def forward(
        ctx, u, delta, A, B, C, D, z, delta_bias, initial, use_softplus, reverse, want_last
    ):  # fmt: skip
        batch, length, width = u.shape
        A = A.t().contiguous()  # as the kernels read it, here and on the way back
        states = len(A)
        y = empty(u.shape, u, u.dtype)
        last = empty((batch, states, width), u) if want_last else None
        kept = None
        if any(ctx.needs_input_grad):
            kept = empty((batch, triton.cdiv(length, SEGMENT), states, width), u)
        inputs = (u, delta, A, B, C, D, z, delta_bias)
        start = None if initial is None else initial.transpose(1, 2).contiguous()[:, None]
        _walk(inputs, y, last, start, kept, use_softplus, reverse)
        if kept is not None:
            ctx.save_for_backward(*inputs, kept)
            ctx.use_softplus, ctx.reverse = use_softplus, reverse
            ctx.initial_dtype = None if initial is None else initial.dtype
            ctx.set_materialize_grads(False)
        return y, None if last is None else last.transpose(1, 2).contiguous()

    @staticmethod
    @first_derivative
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
        dstart = None if ctx.initial_dtype is None else empty((batch, states, width), u)
        du, ddelta, dz, dB, dC, dD, dbias = _gradients(
            inputs, dy, before, carry, dstart, ctx.use_softplus, ctx.reverse
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
            None if dstart is None else dstart.transpose(1, 2).to(ctx.initial_dtype),
            None,
            None,
            None,
        )


def _walk(inputs, y, last, start, kept, use_softplus: bool, reverse: bool) -> None:
    """Launch `scan_states_kernel`; from `start`, with its segments at the same time, if given.

    Without `y` the states alone are wanted, before each chunk instead of each segment.
    """
    u, delta, A, B, C, D, z, delta_bias = inputs
    batch, length, width = u.shape
    states = len(A)
    segments = 1 if start is None else start.shape[1]
    block, steps = _walk_tile(batch * segments, width, states)
    blocks = triton.cdiv(width, block)
    with on_device_of(u):
        scan_states_kernel[(batch * segments * blocks,)](
            *rows(u, reverse), *rows(delta, reverse), A, *rows(B, reverse),
            *rows(C, reverse), *strided(D, 1), *rows(z, reverse), *strided(delta_bias, 1),
            *rows(y, reverse), last, start, kept,
            length, width, blocks, segments, 0 if kept is None else kept.shape[1],
            N=states, SOFTPLUS=use_softplus, SEGMENT=SEGMENT // steps,
            EVERY=(CHUNK if y is None else SEGMENT) // steps, STEPS=steps, BLOCK=block,
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
    with on_device_of(u):
        scan_carry_kernel[(batch * blocks,)](
            *rows(delta, reverse), A, *rows(C, reverse), *rows(z, reverse),
            *strided(delta_bias, 1), *rows(dy, reverse), dlast, carry,
            length, width, blocks, chunks,
            N=states, SOFTPLUS=use_softplus, EVERY=CHUNK // steps, STEPS=steps, BLOCK=block,
            STATES=triton.next_power_of_2(states), num_warps=1,
        )  # fmt: skip
    return carry


def _gradients(inputs, dy, before, carry, dstart, use_softplus: bool, reverse: bool) -> tuple:
    """du, ddelta, dz; parts of dB and dC, `(B, blocks, N, L)`, of dD and dbias. dA: in `carry`.

    The gradient of the initial state goes to `dstart`, `(B, N, d)`, if given.
    """
    u, delta, A, B, C, D, z, delta_bias = inputs
    batch, length, width = u.shape
    states, chunks, blocks = len(A), carry.shape[1], triton.cdiv(width, GRADIENT_BLOCK)
    du, ddelta = empty(u.shape, u, u.dtype), empty(u.shape, u, delta.dtype)
    dz = None if z is None else empty(u.shape, u, z.dtype)
    dB, dC = (empty((batch, blocks, states, length), u) for _ in range(2))
    dD = None if D is None else empty((batch, chunks, width), u)
    dbias = None if delta_bias is None else empty((batch, chunks, width), u)
    with on_device_of(u):
        scan_gradient_kernel[(batch * chunks * blocks,)](
            *rows(u, reverse), *rows(delta, reverse), A,
            *(along(tensor.transpose(1, 2).contiguous(), reverse) for tensor in (B, C)),
            *strided(D, 1), *rows(z, reverse), *strided(delta_bias, 1),
            *rows(dy, reverse), *(rows(tensor, reverse)[0] for tensor in (u, delta, z, dy)),
            before, carry,
            *rows(du, reverse), *rows(ddelta, reverse), *rows(dz, reverse),
            along(dB, reverse), along(dC, reverse), dD, dbias, dstart,
            length, width, blocks, chunks,
            N=states, TURN=-1 if reverse else 1, SOFTPLUS=use_softplus, STEPS=CHUNK,
            BLOCK=GRADIENT_BLOCK, num_warps=1,
        )  # fmt: skip
    return du, ddelta, dz, dB, dC, dD, dbias


def _walk_tile(sequences: int, width: int, states: int) -> tuple[int, int]:
    """Wide, unless that leaves most of a card without work or the state outgrows the registers."""
    enough = sequences * triton.cdiv(width, WIDE[0]) >= ENOUGH_PROGRAMS
    return WIDE if enough and states <= 16 else NARROW
