"""The Triton back end: its scan, launched forward and backward (see triton_scan_kernels.py).

README.md of the folder above describes the launches, and has a table of what they take.
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
    scan_join_kernel,
    scan_states_kernel,
)
from fcilib.scan.cuda.triton_shared import along, empty, on_device_of, rows, strided, supports

__all__ = ["causal_conv_silu", "selective_scan", "supports"]

# Functions of the shapes alone: with autotuning the order of additions, and so the last bits, would
# depend on timings.
SEGMENT = 128  # steps between the states kept from forward to backward: N / 128 floats per entry
CHUNK = 8  # steps differentiated at a time: 2 N / 8 floats per entry of u that is in a slab
# The backward pass goes slab by slab, so that what chunks need is held for one slab at a time:
# fewer slabs would take more memory than the official kernel in half precision, more would only add
# launches. A small one, in entries of u times N, takes 8 MB and nearly fills a large card.
SLABS, SMALL_SLAB = 16, 3 * 2**21
# Channels per program of a walk and steps read at a time: one channel per thread, or four threads
# per channel, which then has less to do while the next steps come and looks further ahead.
WIDE, NARROW = (32, 4), (8, 8)
ENOUGH_PROGRAMS = 1024  # two warps for each scheduler of a large card
# Segments that are worth it to walk at once: each of them is walked twice.
ENOUGH_SEGMENTS = 4
JOIN = (8, 128)  # segments read at a time and channels per program
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
        states, segments = len(A), triton.cdiv(length, SEGMENT)
        y = empty(u.shape, u, u.dtype)
        last = empty((batch, states, width), u) if want_last else None
        inputs = (u, delta, A, B, C, D, z, delta_bias)
        start = None if initial is None else initial.transpose(1, 2).contiguous()
        how = use_softplus, reverse
        kept = None
        if _in_segments(batch, width, segments):
            kept = empty((batch, segments, states, width), u)
            totals = empty((batch, segments, width), u)
            alone = (u, delta, A, B, None, None, None, delta_bias)
            _walk(alone, None, kept, totals, None, None, *how)
            _join(kept, totals, A, start, backward=False)
            _walk(inputs, y, last, None, kept, None, *how)
        else:
            if any(ctx.needs_input_grad):
                kept = empty((batch, segments, states, width), u)
            _walk(inputs, y, last, None, None if start is None else start[:, None], kept, *how)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(*inputs, kept)
            ctx.use_softplus, ctx.reverse = use_softplus, reverse
            ctx.initial_dtype = None if initial is None else initial.dtype
            ctx.set_materialize_grads(False)
        return y, None if last is None else last.transpose(1, 2).contiguous()

    @staticmethod
    @first_derivative
    def backward(ctx, dy, dlast):
        *inputs, kept = ctx.saved_tensors
        u, delta, A, B, C, D, z, delta_bias = inputs
        batch, length, width = u.shape
        states = len(A)
        if dy is None:
            dy = u.new_zeros(()).expand(u.shape)
        received = None if dlast is None else dlast.transpose(1, 2).contiguous()
        du, ddelta = empty(u.shape, u, u.dtype), empty(u.shape, u, delta.dtype)
        dz = None if z is None else empty(u.shape, u, z.dtype)
        dB, dC = empty(B.shape, u, B.dtype), empty(C.shape, u, C.dtype)
        dstart = empty((batch, states, width), u)
        dA, dD, dbias = 0.0, 0.0, 0.0
        for sequences, segments in _slabs(batch, length, width * states):
            first, after = segments.start * SEGMENT, min(segments.stop * SEGMENT, length)
            steps = slice(length - after, length - first) if ctx.reverse else slice(first, after)

            def part(rows, sequences=sequences, steps=steps):
                return None if rows is None else rows[sequences, steps]

            slab = (part(u), part(delta), A, part(B), part(C), D, part(z), delta_bias)
            # what the slab after this one sends, which has been differentiated before
            ahead = received if after == length else dstart
            ahead = None if ahead is None else ahead[sequences]
            parts = _slab_gradients(
                slab, kept[sequences, segments].contiguous(), part(dy), ahead,
                (part(du), part(ddelta), part(dz)), dstart[sequences],
                ctx.use_softplus, ctx.reverse,
            )  # fmt: skip
            part(dB).copy_(parts[0])
            part(dC).copy_(parts[1])
            dA, dD, dbias = (a + b for a, b in zip((dA, dD, dbias), parts[2:], strict=True))
        return (
            du,
            ddelta,
            dA.t().to(A.dtype),
            dB,
            dC,
            None if D is None else dD.to(D.dtype),
            dz,
            None if delta_bias is None else dbias.to(delta_bias.dtype),
            None if ctx.initial_dtype is None else dstart.transpose(1, 2).to(ctx.initial_dtype),
            None,
            None,
            None,
        )


def _slabs(batch: int, length: int, cells: int) -> list[tuple[slice, slice]]:
    """Sequences and segments of each slab, in the order of the backward pass.

    All sequences over a part of the steps, if there are steps enough, else some sequences as well.
    """
    segments = triton.cdiv(length, SEGMENT)
    slabs = min(SLABS, triton.cdiv(batch * length * cells, SMALL_SLAB))
    long = triton.cdiv(segments, min(slabs, segments))  # segments in a slab
    many = triton.cdiv(batch, triton.cdiv(slabs, triton.cdiv(segments, long)))  # sequences
    return [
        (
            slice(sequence, min(sequence + many, batch)),
            slice(segment, min(segment + long, segments)),
        )
        for sequence in range(0, batch, many)
        for segment in reversed(range(0, segments, long))
    ]


def _in_segments(batch: int, width: int, segments: int) -> bool:
    """Whether segments are walked at the same time: if whole sequences leave a card empty."""
    narrow = batch * triton.cdiv(width, NARROW[0])
    return narrow < ENOUGH_PROGRAMS and segments >= ENOUGH_SEGMENTS


def _slab_gradients(
    inputs, kept, dy, dlast, rows_out, dstart, use_softplus: bool, reverse: bool
) -> tuple:
    """One slab: du, ddelta and dz to `rows_out`, what it sends back to `dstart`.

    Gives dB and dC, `(B, L, N)`, and the slab's parts of dA, `(N, d)`, dD and dbias; 0 for what is
    not given.
    """
    u, delta, A, B, _, D, _, delta_bias = inputs
    batch, length, width = u.shape
    before = empty((batch, triton.cdiv(length, CHUNK), len(A), width), u)
    rewalked = (u, delta, A, B, None, None, None, delta_bias)
    _walk(rewalked, None, None, None, kept, before, use_softplus, reverse)
    carry = _carry(inputs, dy, dlast, use_softplus, reverse)
    dB, dC, dD, dbias = _gradients(
        inputs, dy, before, carry, rows_out, dstart, use_softplus, reverse
    )
    dA = carry.view(-1, len(A), width).sum(0)  # where the kernel has left its parts
    return (
        dB.sum(1).transpose(1, 2),
        dC.sum(1).transpose(1, 2),
        dA,
        0.0 if D is None else dD.view(-1, width).sum(0),
        0.0 if delta_bias is None else dbias.view(-1, width).sum(0),
    )


def _walk(inputs, y, last, totals, start, kept, use_softplus: bool, reverse: bool) -> None:
    """Launch `scan_states_kernel`; the segments of `totals` or `start` at the same time, if given.

    Without `y` the states alone are wanted, before each chunk instead of each segment.
    """
    u, delta, A, B, C, D, z, delta_bias = inputs
    batch, length, width = u.shape
    states = len(A)
    cut = start if totals is None else totals
    segments = 1 if cut is None else cut.shape[1]
    block, steps = _walk_tile(batch * segments, width, states)
    blocks = triton.cdiv(width, block)
    with on_device_of(u):
        scan_states_kernel[(batch * segments * blocks,)](
            *rows(u, reverse), *rows(delta, reverse), A, *rows(B, reverse),
            *rows(C, reverse), *strided(D, 1), *rows(z, reverse), *strided(delta_bias, 1),
            *rows(y, reverse), last, totals, start, kept,
            length, width, blocks, segments, 0 if kept is None else kept.shape[1],
            N=states, SOFTPLUS=use_softplus, SEGMENT=SEGMENT // steps,
            EVERY=(CHUNK if y is None else SEGMENT) // steps, STEPS=steps, BLOCK=block,
            STATES=triton.next_power_of_2(states), num_warps=1,
        )  # fmt: skip


def _join(parts: Tensor, totals: Tensor, A: Tensor, start: Tensor | None, backward: bool) -> None:
    """Launch `scan_join_kernel`."""
    batch, segments, states, width = parts.shape
    steps, block = JOIN
    blocks = triton.cdiv(width, block)
    with on_device_of(parts):
        scan_join_kernel[(batch * states * blocks,)](
            parts, totals, A, start, 0, width, blocks, segments,
            N=states, BACKWARD=backward, STEPS=steps, BLOCK=block, num_warps=1,
        )  # fmt: skip


def _carry(inputs, dy: Tensor, dlast: Tensor | None, use_softplus: bool, reverse: bool) -> Tensor:
    """What enters each chunk from those after it, `(B, chunks, N, d)`."""
    u, delta, A, _, C, _, z, delta_bias = inputs
    batch, length, width = u.shape
    states, chunks, cut = len(A), triton.cdiv(length, CHUNK), triton.cdiv(length, SEGMENT)

    def launch(segments, start, ends, totals, carry):
        block, steps = _walk_tile(batch * segments, width, states)
        blocks = triton.cdiv(width, block)
        with on_device_of(u):
            scan_carry_kernel[(batch * segments * blocks,)](
                *rows(delta, reverse), A, *rows(C, reverse), *rows(z, reverse),
                *strided(delta_bias, 1), *rows(dy, reverse), start, ends, totals, carry,
                length, width, blocks, segments, chunks,
                N=states, SOFTPLUS=use_softplus, SEGMENT=SEGMENT // CHUNK, EVERY=CHUNK // steps,
                STEPS=steps, BLOCK=block, STATES=triton.next_power_of_2(states), num_warps=1,
            )  # fmt: skip

    carry = empty((batch, chunks, states, width), u)
    if not _in_segments(batch, width, cut):
        launch(1, dlast, None, None, carry)
        return carry
    ends, totals = empty((batch, cut, states, width), u), empty((batch, cut, width), u)
    launch(cut, None, ends, totals, None)
    _join(ends, totals, A, dlast, backward=True)
    launch(cut, ends, None, None, carry)
    return carry


def _gradients(
    inputs, dy, before, carry, rows_out, dstart, use_softplus: bool, reverse: bool
) -> tuple:
    """Parts of dB and dC, `(B, blocks, N, L)`, of dD and dbias; those of dA are left in `carry`.

    du, ddelta and dz go to `rows_out`, the gradient of the first state to `dstart`, `(B, N, d)`.
    """
    u, delta, A, B, C, D, z, delta_bias = inputs
    batch, length, width = u.shape
    states, chunks, blocks = len(A), carry.shape[1], triton.cdiv(width, GRADIENT_BLOCK)
    du, ddelta, dz = rows_out
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
    return dB, dC, dD, dbias


def _walk_tile(sequences: int, width: int, states: int) -> tuple[int, int]:
    """Wide, unless that leaves most of a card without work or the state outgrows the registers."""
    enough = sequences * triton.cdiv(width, WIDE[0]) >= ENOUGH_PROGRAMS
    return WIDE if enough and states <= 16 else NARROW
