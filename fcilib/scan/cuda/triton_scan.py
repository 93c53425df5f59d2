"""The Triton back end: its scan, launched forward and backward (see triton_scan_kernels.py).

README.md of the folder above describes the launches, and has a table of what they hold.
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
SEGMENT = 64  # steps between the states kept from forward to backward: N / 64 floats per entry of u
CHUNK = 8  # steps differentiated at a time: 2 N / 8 floats per entry of u during the backward pass
# The most that the chunks may hold at a time; above, the backward pass goes slab by slab.
SLAB_BYTES = 2**28
# Channels per program of a walk and steps read at a time: one channel per thread, or four threads
# per channel, which then has less to do while the next steps come and looks further ahead.
WIDE, NARROW = (32, 4), (8, 8)
ENOUGH_PROGRAMS = 1024  # two warps for each scheduler of a large card
# A sequence is cut into spans that are walked at once, each of them twice, where whole sequences
# would give fewer than FEW narrow programs, one warp for each scheduler, and are at least LONG: in
# a shorter walk the launches that are added take as long as what is saved. A span is as long as
# leaves AIM wide programs, a few for each place that a card has, so that few idle at the end.
FEW, LONG, AIM = 512, 1024, 4096
JOIN = (8, 128)  # spans read at a time and channels per program
# The most rows that torch adds up at a time: from 1,024 on that took some 130 MB more on an H100.
ADDED = 512
GRADIENT_BLOCK = 64  # two channels per thread, as many as the registers take


def selective_scan(inputs: ScanInputs, want_last: bool) -> tuple[Tensor, Tensor | None]:
    """`(B, L, d)`, and the last state, `(B, d, N)`, or None if it is not wanted."""
    return _Scan.apply(*inputs, want_last)


class _Scan(torch.autograd.Function):
    """Keeps its inputs, one state per segment, and one sum of step sizes per span if it was cut."""

    @staticmethod
    def forward(
        ctx, u, delta, A, B, C, D, z, delta_bias, initial, use_softplus, reverse, want_last
    ):  # fmt: skip
        batch, length, width = u.shape
        A = A.t().contiguous()  # as the kernels read it, here and on the way back
        states, segments = len(A), triton.cdiv(length, SEGMENT)
        span, how = _span(batch, length, width), (use_softplus, reverse)
        y = empty(u.shape, u, u.dtype)
        last = empty((batch, states, width), u) if want_last else None
        start = None if initial is None else initial.transpose(1, 2).contiguous()
        totals = kept = None
        if span < length:
            spans = triton.cdiv(length, span)
            ends = empty((batch, spans, states, width), u)
            totals = empty((batch, spans, width), u)
            alone = (u, delta, A, B, None, None, None, delta_bias)
            _walk(alone, span, *how, ends=ends, totals=totals)
            start = _joined(ends, totals, A, start, backward=False)
        if any(ctx.needs_input_grad):
            kept = empty((batch, segments, states, width), u)
        inputs = (u, delta, A, B, C, D, z, delta_bias)
        _walk(inputs, span, *how, y=y, last=last, start=start, kept=kept)
        if kept is not None:
            ctx.save_for_backward(*inputs, kept, totals)
            ctx.span, ctx.how = span, how
            ctx.initial_dtype = None if initial is None else initial.dtype
            ctx.set_materialize_grads(False)
        return y, None if last is None else last.transpose(1, 2).contiguous()

    @staticmethod
    @first_derivative
    def backward(ctx, dy, dlast):
        *inputs, kept, totals = ctx.saved_tensors
        u, delta, A, B, C, D, z, delta_bias = inputs
        (batch, length, width), states = u.shape, len(A)
        if dy is None:
            dy = u.new_zeros(()).expand(u.shape)
        slabs = _slabs(batch, length, width, states, SEGMENT if totals is None else ctx.span)
        received = None if dlast is None else dlast.transpose(1, 2).contiguous()
        dstart = None
        if len(slabs) > 1 or ctx.initial_dtype is not None:
            dstart = empty((batch, states, width), u)
        du, ddelta = empty(u.shape, u, u.dtype), empty(u.shape, u, delta.dtype)
        dz = None if z is None else empty(u.shape, u, z.dtype)
        dmaps = empty((2, batch, states, length), u)  # of B and of C
        weights = (None, None, None)  # gradients of A, D and delta_bias
        for first, after in slabs:
            steps = slice(length - after, length - first) if ctx.how[1] else slice(first, after)

            def of_slab(tensor, steps=steps):
                return None if tensor is None else tensor[:, steps]

            parts = _gradients(
                (of_slab(u), of_slab(delta), A, of_slab(B), of_slab(C), D, of_slab(z), delta_bias),
                _part(kept, first, after, SEGMENT), _part(totals, first, after, ctx.span),
                of_slab(dy), received, (of_slab(du), of_slab(ddelta), of_slab(dz)),
                dmaps[..., steps], dstart, ctx.span, *ctx.how,
            )  # fmt: skip
            weights = [b if a is None else a + b for a, b in zip(weights, parts, strict=True)]
            received = dstart  # which the next slab reads before it writes
        dA, dD, dbias = weights
        dB, dC = dmaps.transpose(2, 3)
        return (
            du,
            ddelta,
            dA.t().to(A.dtype),
            dB.to(B.dtype),
            dC.to(C.dtype),
            None if D is None else dD.to(D.dtype),
            dz,
            None if delta_bias is None else dbias.to(delta_bias.dtype),
            None if ctx.initial_dtype is None else dstart.transpose(1, 2).to(ctx.initial_dtype),
            None,
            None,
            None,
        )


def _span(batch: int, length: int, width: int) -> int:
    """Steps that one program walks: all, or whole segments."""
    if batch * triton.cdiv(width, NARROW[0]) >= FEW or length < LONG:
        return length
    segments = triton.cdiv(length, SEGMENT)
    wanted = triton.cdiv(AIM, batch * triton.cdiv(width, WIDE[0]))
    return SEGMENT * triton.cdiv(segments, min(segments, wanted))


def _slabs(batch: int, length: int, width: int, states: int, unit: int) -> list[tuple[int, int]]:
    """The first step of each slab and the one after it, in the order of the backward pass.

    A slab is all sequences and channels over some steps, a multiple of `unit`: as many as fit.
    """
    blocks = triton.cdiv(width, GRADIENT_BLOCK)
    floats = 2 * batch * ((states + 1) * width + CHUNK * blocks * states)  # of a chunk
    fit = max(SLAB_BYTES // (4 * floats) * CHUNK // unit, 1)
    units = triton.cdiv(length, unit)
    steps = unit * triton.cdiv(units, triton.cdiv(units, fit))
    return [(first, min(first + steps, length)) for first in reversed(range(0, length, steps))]


def _part(tensor: Tensor | None, first: int, after: int, every: int) -> Tensor | None:
    """What has one place for `every` steps, from the first step to the one before `after`."""
    if tensor is None:
        return None
    return tensor[:, first // every : triton.cdiv(after, every)].contiguous()


def _walk(
    inputs, span, use_softplus: bool, reverse: bool, *,
    y=None, last=None, ends=None, totals=None, start=None, kept=None,
) -> None:  # fmt: skip
    """Launch `scan_states_kernel`.

    Without `y` the states alone are wanted, before each chunk instead of each segment.
    """
    u, delta, A, B, C, D, z, delta_bias = inputs
    batch, length, width = u.shape
    states, spans = len(A), triton.cdiv(length, span)
    block, steps = _walk_tile(batch * spans, width, states)
    blocks = triton.cdiv(width, block)
    with on_device_of(u):
        scan_states_kernel[(batch * spans * blocks,)](
            *rows(u, reverse), *rows(delta, reverse), A, *rows(B, reverse),
            *rows(C, reverse), *strided(D, 1), *rows(z, reverse), *strided(delta_bias, 1),
            *rows(y, reverse), last, ends, totals, start, kept,
            length, width, blocks, spans, triton.cdiv(span, steps),
            0 if kept is None else kept.shape[1],
            N=states, SOFTPLUS=use_softplus, EVERY=(CHUNK if y is None else SEGMENT) // steps,
            STEPS=steps, BLOCK=block, STATES=triton.next_power_of_2(states), num_warps=1,
        )  # fmt: skip


def _joined(ends: Tensor, totals: Tensor, A: Tensor, start: Tensor | None, backward: bool):
    """Launch `scan_join_kernel`: what each span begins with, in the memory of `ends`."""
    batch, spans, states, width = ends.shape
    steps, block = JOIN
    blocks = triton.cdiv(width, block)
    with on_device_of(ends):
        scan_join_kernel[(batch * states * blocks,)](
            ends, totals, A, start, width, blocks, spans,
            N=states, TURN=-1 if backward else 1, STEPS=steps, BLOCK=block, num_warps=1,
        )  # fmt: skip
    return ends


def _carry(inputs, totals, dy, received, span, use_softplus: bool, reverse: bool) -> Tensor:
    """What enters each chunk from those after it, as `_parts` of `(N, d)`."""
    u, delta, A, _, C, _, z, delta_bias = inputs
    batch, length, width = u.shape
    states, chunks, spans = len(A), triton.cdiv(length, CHUNK), triton.cdiv(length, span)
    block, steps = _walk_tile(batch * spans, width, states)
    blocks = triton.cdiv(width, block)

    def walk(start, ends, carry):
        with on_device_of(u):
            scan_carry_kernel[(batch * spans * blocks,)](
                *rows(delta, reverse), A, *rows(C, reverse), *rows(z, reverse),
                *strided(delta_bias, 1), *rows(dy, reverse), start, ends, carry,
                length, width, blocks, spans, triton.cdiv(span, CHUNK), chunks,
                N=states, SOFTPLUS=use_softplus, EVERY=CHUNK // steps, STEPS=steps, BLOCK=block,
                STATES=triton.next_power_of_2(states), num_warps=1,
            )  # fmt: skip

    if totals is not None:
        ends = empty((batch, spans, states, width), u)
        walk(None, ends, None)
        received = _joined(ends, totals, A, received, backward=True)
    carry = _parts(batch * chunks, (states, width), u)
    walk(received, None, carry)
    return carry


def _gradients(
    inputs, kept, totals, dy, received, rows_out, dmaps, dstart, span,
    use_softplus: bool, reverse: bool,
) -> tuple:  # fmt: skip
    """All gradients of one slab, from the states before its segments and from what it receives.

    Those of u, delta and z go to `rows_out`, those of B and C to `dmaps`, `(2, B, N, L)`, that of
    the state before the slab to `dstart`, `(B, N, d)`, if given. Returned are the slab's parts of
    those of A, `(N, d)`, D and delta_bias, the latter None where there is none.
    """
    u, delta, A, B, C, D, z, delta_bias = inputs
    batch, length, width = u.shape
    states, chunks = len(A), triton.cdiv(length, CHUNK)
    blocks = triton.cdiv(width, GRADIENT_BLOCK)
    before = empty((batch, chunks, states, width), u)
    rewalked = (u, delta, A, B, None, None, None, delta_bias)
    _walk(rewalked, SEGMENT, use_softplus, reverse, start=kept, kept=before)
    carry = _carry(inputs, totals, dy, received, span, use_softplus, reverse)
    du, ddelta, dz = rows_out
    parts = empty((2, batch, blocks, states, length), u)
    dD, dbias = (
        None if weight is None else _parts(batch * chunks, (width,), u)
        for weight in (D, delta_bias)
    )
    with on_device_of(u):
        scan_gradient_kernel[(batch * chunks * blocks,)](
            *rows(u, reverse), *rows(delta, reverse), A,
            *(along(tensor.transpose(1, 2).contiguous(), reverse) for tensor in (B, C)),
            *strided(D, 1), *rows(z, reverse), *strided(delta_bias, 1),
            *rows(dy, reverse), *(rows(tensor, reverse)[0] for tensor in (u, delta, z, dy)),
            before, carry,
            *rows(du, reverse), *rows(ddelta, reverse), *rows(dz, reverse),
            *(along(part, reverse) for part in parts), dD, dbias, dstart,
            length, width, blocks, chunks,
            N=states, TURN=-1 if reverse else 1, SOFTPLUS=use_softplus, STEPS=CHUNK,
            BLOCK=GRADIENT_BLOCK, num_warps=1,
        )  # fmt: skip
    torch.sum(parts, 2, out=dmaps)
    return (
        _total(carry),  # where the kernel has left its parts of the gradient of A
        _total(dD),
        _total(dbias),
    )


def _parts(rows: int, cell: tuple[int, ...], like: Tensor) -> Tensor:
    """Memory for what so many programs leave to be added, and zeros up to whole groups."""
    groups = triton.cdiv(rows, ADDED)
    parts = empty((groups * triton.cdiv(rows, groups), *cell), like)
    if len(parts) > rows:
        parts[rows:] = 0.0
    return parts


def _total(parts: Tensor | None) -> Tensor | None:
    """The sum over the first axis, within groups first."""
    if parts is None:
        return None
    groups = triton.cdiv(len(parts), ADDED)
    return parts.unflatten(0, (groups, -1)).sum(1).sum(0) if groups > 1 else parts.sum(0)


def _walk_tile(sequences: int, width: int, states: int) -> tuple[int, int]:
    """Wide, unless that leaves most of a card without work or the state outgrows the registers."""
    enough = sequences * triton.cdiv(width, WIDE[0]) >= ENOUGH_PROGRAMS
    return WIDE if enough and states <= 16 else NARROW
