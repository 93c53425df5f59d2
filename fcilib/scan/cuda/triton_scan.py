"""The Triton back end: its scan, launched forward and backward (see triton_scan_kernels.py).

README.md of the folder above describes the launches, and has a table of what they hold.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from torch.nn.functional import pad

from fcilib.scan.backend import ScanInputs, first_derivative
from fcilib.scan.cuda.triton_convolution import causal_conv_silu
from fcilib.scan.cuda.triton_scan_kernels import (
    scan_carry_kernel,
    scan_gradient_kernel,
    scan_join_kernel,
    scan_states_kernel,
)
from fcilib.scan.cuda.triton_shared import empty, on_device_of, rows, strided, supports

__all__ = ["causal_conv_silu", "selective_scan", "supports"]

# Functions of the shapes alone: with autotuning the order of additions, and so the last bits, would
# depend on timings.
SEGMENT = 128  # steps between the states kept from forward to backward, N / 128 floats per entry
CHUNK = 8  # steps that one thread differentiates, of two channels: as many as the registers take
# So many programs make gradients, or fewer, so that each has the channels of PART bytes of a row.
# Each writes its part of those of B and C: in all N / 32 times what u takes, at most.
GRADIENT_PROGRAMS, PART = 2048, 256
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
        span, how = _span(batch, length, width), (use_softplus, reverse)
        y = empty(u.shape, u, u.dtype)
        last = empty((batch, states, width), u) if want_last else None
        start = None if initial is None else initial.transpose(1, 2).contiguous()
        kept = None
        if span < length:
            spans = triton.cdiv(length, span)
            ends = empty((batch, spans, states, width), u)
            totals = empty((batch, spans, width), u)
            alone = (u, delta, A, B, None, None, None, delta_bias)
            _walk(alone, span, *how, ends=ends, totals=totals)
            _join(ends, totals, A, start)
            start = ends
        if any(ctx.needs_input_grad):
            kept = empty((batch, segments, states, width), u)
        inputs = (u, delta, A, B, C, D, z, delta_bias)
        _walk(inputs, span, *how, y=y, last=last, start=start, kept=kept)
        if kept is not None:
            ctx.save_for_backward(*inputs, kept)
            ctx.how = how
            ctx.initial_dtype = None if initial is None else initial.dtype
            ctx.set_materialize_grads(False)
        return y, None if last is None else last.transpose(1, 2).contiguous()

    @staticmethod
    @first_derivative
    def backward(ctx, dy, dlast):
        *inputs, kept = ctx.saved_tensors
        A, B, C, D, delta_bias = (inputs[k] for k in (2, 3, 4, 5, 7))
        batch, _, states, width = kept.shape
        if dy is None:
            dy = inputs[0].new_zeros(()).expand(inputs[0].shape)
        received = None if dlast is None else dlast.transpose(1, 2).contiguous()
        dstart = None if ctx.initial_dtype is None else empty((batch, states, width), kept)
        carry = _carry(inputs, dy, received, dstart, *ctx.how)
        du, ddelta, dz, dB, dC, dD, dbias = _gradients(inputs, kept, carry, dy, *ctx.how)
        dA = _total(carry)  # where the kernel has left its parts
        return (
            du,
            ddelta,
            dA.t().to(A.dtype),
            dB.to(B.dtype),
            dC.to(C.dtype),
            None if D is None else _total(dD).to(D.dtype),
            dz,
            None if delta_bias is None else _total(dbias).to(delta_bias.dtype),
            None if dstart is None else dstart.transpose(1, 2).to(ctx.initial_dtype),
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


def _walk(
    inputs, span, use_softplus: bool, reverse: bool, *,
    y=None, last=None, ends=None, totals=None, start=None, kept=None,
) -> None:  # fmt: skip
    """Launch `scan_states_kernel`."""
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
            N=states, SOFTPLUS=use_softplus, EVERY=SEGMENT // steps, STEPS=steps, BLOCK=block,
            STATES=triton.next_power_of_2(states), num_warps=1,
        )  # fmt: skip


def _join(ends: Tensor, totals: Tensor, A: Tensor, start, result=None, backward=False) -> None:
    """Launch `scan_join_kernel`."""
    batch, spans, states, width = ends.shape
    steps, block = JOIN
    blocks = triton.cdiv(width, block)
    with on_device_of(ends):
        scan_join_kernel[(batch * states * blocks,)](
            ends, totals, A, start, result, width, blocks, spans,
            N=states, TURN=-1 if backward else 1, STEPS=steps, BLOCK=block, num_warps=1,
        )  # fmt: skip


def _carry(inputs, dy, received, dstart, use_softplus: bool, reverse: bool) -> Tensor:
    """What each segment receives from those after it, as `_parts` of `(N, d)`.

    The last one receives `received`, `(B, N, d)`, or nothing. What the first one sends goes to
    `dstart`, `(B, N, d)`, if given.
    """
    u, delta, A, _, C, _, z, delta_bias = inputs
    (batch, length, width), states = u.shape, len(A)
    segments = triton.cdiv(length, SEGMENT)
    carry = _parts(batch * segments, (states, width), u)
    totals = empty((batch, segments, width), u)
    # The first segment to send anything. Where it is the second, the join reads memory of the first
    # that nobody has written, and makes nothing of it.
    first = 1 if dstart is None else 0
    if first < segments:
        block, steps = _walk_tile(batch * (segments - first), width, states)
        blocks = triton.cdiv(width, block)
        with on_device_of(u):
            scan_carry_kernel[(batch * (segments - first) * blocks,)](
                *rows(delta, reverse), A, *rows(C, reverse), *rows(z, reverse),
                *strided(delta_bias, 1), *rows(dy, reverse), carry, totals,
                length, width, blocks, segments, first, SEGMENT // steps,
                N=states, SOFTPLUS=use_softplus, STEPS=steps, BLOCK=block,
                STATES=triton.next_power_of_2(states), num_warps=1,
            )  # fmt: skip
    ends = carry[: batch * segments].view(batch, segments, states, width)
    _join(ends, totals, A, received, dstart, backward=True)
    return carry


def _gradients(inputs, kept, carry, dy, use_softplus: bool, reverse: bool) -> tuple:
    """Launch `scan_gradient_kernel`.

    Returned are the gradients of u, delta, z, B and C, the latter in float32, and parts of those of
    D and delta_bias; None for what there is none of.
    """
    u, delta, A, B, C, D, z, delta_bias = inputs
    (batch, length, width), states, segments = u.shape, len(A), kept.shape[1]
    chunks = min(SEGMENT // CHUNK, triton.next_power_of_2(triton.cdiv(length, CHUNK)))
    lanes = 32 // chunks  # to which they fall, with two channels each
    blocks = triton.cdiv(width, 2 * lanes)
    groups = min(
        triton.cdiv(GRADIENT_PROGRAMS, batch * segments),
        triton.cdiv(width * u.element_size(), PART),
        blocks,
    )
    share = triton.cdiv(blocks, groups)  # of a group; the last one may have fewer
    groups = triton.cdiv(blocks, share)
    du, ddelta = empty(u.shape, u, u.dtype), empty(u.shape, u, delta.dtype)
    dz = None if z is None else empty(u.shape, u, z.dtype)
    parts = empty((batch, segments, groups, states, chunks * CHUNK, 2), u)
    dD, dbias = (
        None if weight is None else _parts(batch * segments, (width,), u)
        for weight in (D, delta_bias)
    )
    with on_device_of(u):
        scan_gradient_kernel[(batch * segments * groups,)](
            *rows(u, reverse), *rows(delta, reverse), A,
            *(_arranged(maps, segments, chunks, reverse) for maps in (B, C)),
            *strided(D, 1), *rows(z, reverse), *strided(delta_bias, 1),
            *rows(dy, reverse), *(rows(tensor, reverse)[0] for tensor in (u, delta, z, dy)),
            kept, carry,
            *rows(du, reverse), *rows(ddelta, reverse), *rows(dz, reverse),
            parts, dD, dbias,
            length, width, blocks, share, groups, segments,
            N=states, SOFTPLUS=use_softplus, STEPS=CHUNK,
            ROUNDS=chunks.bit_length() - 1, LANES=lanes, num_warps=1,
        )  # fmt: skip
    dmaps = parts.sum(2)
    del parts  # before there are more copies
    dmaps = dmaps.permute(4, 0, 1, 3, 2).flatten(2, 3)[:, :, :length]
    return du, ddelta, dz, *(dmaps.flip(2) if reverse else dmaps), dD, dbias


def _arranged(maps: Tensor, segments: int, chunks: int, reverse: bool) -> Tensor:
    """B or C, `(B, L, N)`, as `(B, segments, N, CHUNK, chunks)`, with zeros past the end."""
    if reverse:
        maps = maps.flip(1)
    whole = pad(maps, (0, 0, 0, segments * chunks * CHUNK - maps.shape[1]))
    return whole.unflatten(1, (segments, chunks, CHUNK)).permute(0, 1, 4, 3, 2).contiguous()


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
