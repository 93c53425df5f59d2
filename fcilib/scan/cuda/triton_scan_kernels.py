"""The scan as Triton kernels. README.md of the folder above has the mathematics and its symbols.

A row is what lies at one batch entry and one step: `(d,)` of u, delta, z, y, `(N,)` of B and C.
Each tensor of rows comes as an address and the strides of batch, step and last axis. To run in
reverse the caller passes the address of the last row and a negative step stride; the kernels do not
know. Optional tensors are None, which Triton makes a constant: what they need is not compiled in.
Times past the end and channels past the width are masked: they load as zeros, so their step is made
zero too, and with it the decay is 1 and the input 0: they leave states and gradients as they are.
All arithmetic is float32, whatever is loaded and stored.

A and all states are `(N, d)` and contiguous, not `(d, N)`: the order in which they are read and
written decides which thread holds what, and channels must lie along the threads for the rows.

Rows of a chunk are tuples, one vector per step, in loops unrolled by the compiler: Triton has no
arrays that can be indexed, and a tuple costs nothing.
"""

# ruff: noqa: RUF005 - tuples grow by `+`: Triton has no starred expressions

from __future__ import annotations

import triton
import triton.language as tl

from fcilib.scan.cuda.triton_shared import SIZES, load, sigmoid

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)

# Told that the width is a multiple of 16, the compiler gives threads several channels, for wide
# access to states; every step of a walk then pays for it in exchanges between threads.
_WALK_SIZES = [*SIZES, "width"]
# Told that channels lie side by side, it gives them to the lanes of a warp, which are for chunks.
_GRADIENT_SIZES = [*SIZES, "u_d", "delta_d", "z_d", "dy_d", "du_d", "ddelta_d", "dz_d"]


@triton.jit
def _softplus(x):
    """log(1 + exp(x)), accurate relative to itself even where it is tiny.

    The logarithm is 2 artanh(s) with s = e / (2 + e) <= 1/3, as a series: log(1 + e) would lose
    all digits of a small e, and step sizes are small.
    """
    e = tl.exp(-tl.abs(x))
    s = e / (2.0 + e)
    q = s * s
    series = 1.0 / 13.0 + q * (1.0 / 15.0)
    series = 1.0 / 11.0 + q * series
    series = 1.0 / 9.0 + q * series
    series = 1.0 / 7.0 + q * series
    series = 1.0 / 5.0 + q * series
    series = 1.0 / 3.0 + q * series
    # NaN: `maximum` may drop it, the series keeps it
    return tl.maximum(x, 0.0) + 2.0 * (s + s * q * series)


@triton.jit
def _tile(block, width, N: tl.constexpr, BLOCK: tl.constexpr, STATES: tl.constexpr):
    """States and channels of a block, which of them are real, and where their cells lie."""
    n = tl.arange(0, STATES)
    d = block * BLOCK + tl.arange(0, BLOCK)
    here, real = d < width, n < N
    both = real[:, None] & here[None, :]
    return n, d, here, real, both, n[:, None] * width.to(tl.int64) + d[None, :]


@triton.jit
def _offset(bias, bias_d, d, here):
    """The bias of the step sizes; 0 without one."""
    offset = 0.0
    if bias is not None:
        offset = load(bias + d * bias_d, here)
    return offset


@triton.jit
def _rows(at, stride, left, mask, STEPS: tl.constexpr):
    """STEPS rows as a tuple, from the one `at` points to; zeros where fewer are left.

    Addresses are a chain of additions: multiples of a stride would be held in registers.
    """
    rows = ()
    for k in tl.static_range(STEPS):
        rows = rows + (load(at, mask & (k < left)),)
        at += stride
    return rows


@triton.jit
def _zeros(LANES: tl.constexpr, CHUNKS: tl.constexpr, STEPS: tl.constexpr):
    """A tuple of STEPS tiles."""
    rows = ()
    for _ in tl.static_range(STEPS):
        rows = rows + (tl.zeros((2, LANES, CHUNKS), tl.float32),)
    return rows


@triton.jit
def _step_sizes(deltas, bias, left, SOFTPLUS: tl.constexpr, STEPS: tl.constexpr):
    """Δ of each row; 0 past the end, where softplus would not be 0."""
    steps = ()
    for k in tl.static_range(STEPS):
        step = deltas[k] + bias
        if SOFTPLUS:
            step = _softplus(step)
        steps = steps + (tl.where(k < left, step, 0.0),)
    return steps


@triton.jit(do_not_specialize=_WALK_SIZES)
def scan_states_kernel(
    u, u_b, u_t, u_d, delta, delta_b, delta_t, delta_d, A, B, B_b, B_t, B_n,
    C, C_b, C_t, C_n, D, D_d, z, z_b, z_t, z_d, bias, bias_d,
    y, y_b, y_t, y_d, last, ends, totals, start, kept,
    length, width, blocks, spans, span, places, N: tl.constexpr,
    SOFTPLUS: tl.constexpr, EVERY: tl.constexpr,
    STEPS: tl.constexpr, BLOCK: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Walk forward through the steps; a program is a span of one sequence and BLOCK channels.

    Steps are read STEPS at a time; a span is `span` readings, of which the last one of a sequence
    may have fewer. A program begins with the state in `start`, `(B, spans, N, d)`, or else with
    zeros. The state before every EVERY-th reading goes to `kept`, `(B, places, N, d)`; outputs and
    the last state, `(B, N, d)`, go to `y` and `last`. The state after each span goes to `ends`,
    `(B, spans, N, d)`, and the sum of its step sizes to `totals`, `(B, spans, d)`.

    The tile of the state is (STATES, BLOCK), channels along the lanes of a single warp, so that
    the sum over n stays within a thread (BLOCK 32) or a few neighbours (BLOCK 8) and there is no
    barrier. The rows of the next reading are requested before this one is computed.
    """
    program = tl.program_id(0).to(tl.int64)
    block = program % blocks
    place = program // blocks % spans
    batch = program // blocks // spans
    n, d, here, real, both, cell = _tile(block, width, N, BLOCK, STATES)
    rate = load(A + cell, both) * LOG2E
    offset = _offset(bias, bias_d, d, here)
    if D is not None:
        skip = load(D + d * D_d, here)
    t = place * span * STEPS
    u += batch * u_b + t * u_t + d * u_d
    delta += batch * delta_b + t * delta_t + d * delta_d
    B += batch * B_b + t * B_t + n * B_n
    if y is not None:
        C += batch * C_b + t * C_t + n * C_n
        y += batch * y_b + t * y_t + d * y_d
    if z is not None:
        z += batch * z_b + t * z_t + d * z_d

    h = tl.zeros((STATES, BLOCK), tl.float32)
    if start is not None:
        h = load(start + (batch * spans + place) * N * width + cell, both)
    if totals is not None:
        total = tl.zeros((BLOCK,), tl.float32)
    readings = tl.minimum(tl.cdiv(length, STEPS) - place * span, span)
    left = length - t
    # One address and the offsets in `cell`, not a tile of addresses: they would take the registers.
    if kept is not None:
        kept += (batch * places + place * span // EVERY) * N * width
    us = _rows(u, u_t, left, here, STEPS)
    deltas = _rows(delta, delta_t, left, here, STEPS)
    if z is not None:
        zs = _rows(z, z_t, left, here, STEPS)
    for reading in range(readings):
        if kept is not None:
            if reading % EVERY == 0:
                tl.store(kept + cell, h, mask=both)
                kept += N * width
        u += STEPS * u_t
        next_us = _rows(u, u_t, left - STEPS, here, STEPS)
        delta += STEPS * delta_t
        next_deltas = _rows(delta, delta_t, left - STEPS, here, STEPS)
        if z is not None:
            z += STEPS * z_t
            next_zs = _rows(z, z_t, left - STEPS, here, STEPS)
        steps = _step_sizes(deltas, offset, left, SOFTPLUS, STEPS)
        outs = ()
        for k in tl.static_range(STEPS):
            if totals is not None:
                total += steps[k]
            row_B = load(B, real & (k < left))
            B += B_t
            h = tl.exp2(steps[k][None, :] * rate) * h + row_B[:, None] * (steps[k] * us[k])[None, :]
            if y is not None:
                row_C = load(C, real & (k < left))
                C += C_t
                outs = outs + (tl.sum(row_C[:, None] * h, axis=0),)
        # Stores apart from the loads above: a load may not move ahead of a store.
        if y is not None:
            for k in tl.static_range(STEPS):
                out = outs[k]
                if D is not None:
                    out += skip * us[k]
                if z is not None:
                    out *= zs[k] * sigmoid(zs[k])
                tl.store(y, out, mask=here & (k < left))
                y += y_t
        us, deltas = next_us, next_deltas
        if z is not None:
            zs = next_zs
        left -= STEPS
    if last is not None:
        tl.store(last + batch * N * width + cell, h, mask=both & (left <= 0))
    if ends is not None:
        tl.store(ends + (batch * spans + place) * N * width + cell, h, mask=both)
    if totals is not None:
        tl.store(totals + (batch * spans + place) * width + d, total, mask=here)


@triton.jit(do_not_specialize=SIZES)
def scan_join_kernel(
    ends, totals, A, start, result, width, blocks, spans,
    N: tl.constexpr, TURN: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """From what each span adds to what each begins with, in place: `ends`, `(B, spans, N, d)`.

    The first span, or the last if TURN is -1 and not 1, begins with `start`, `(B, N, d)`, or zeros;
    the others follow in this order. A span multiplies what it begins with by exp of A times its
    `totals`, `(B, spans, d)`. What comes after all of them goes to `result`, `(B, N, d)`, if given.
    On the way back the spans are the segments.

    A program is one sequence, one n and BLOCK channels; STEPS spans are read at a time, since no
    read waits for another.
    """
    program = tl.program_id(0).to(tl.int64)
    d = program % blocks * BLOCK + tl.arange(0, BLOCK)
    n = program // blocks % N
    batch = program // blocks // N
    here = d < width
    rate = load(A + n * width + d, here) * LOG2E
    q = tl.zeros((BLOCK,), tl.float32)
    if start is not None:
        q = load(start + (batch * N + n) * width + d, here)
    place = batch * spans
    if TURN == -1:
        place += spans - 1
    ends += (place * N + n) * width + d
    totals += place * width + d
    size = TURN * tl.cast(width, tl.int64)
    for reading in range(tl.cdiv(spans, STEPS)):
        left = spans - reading * STEPS
        decays, added = (), ()
        for k in tl.static_range(STEPS):
            inside = here & (k < left)
            decays = decays + (tl.exp2(load(totals + k * size, inside) * rate),)
            added = added + (load(ends + k * N * size, inside),)
        for k in tl.static_range(STEPS):
            tl.store(ends + k * N * size, q, mask=here & (k < left))
            # Nothing stays nothing, even times a decay that has become infinite.
            q = tl.where(q == 0.0, added[k], decays[k] * q + added[k])
        totals += STEPS * size
        ends += STEPS * N * size
    if result is not None:
        tl.store(result + (batch * N + n) * width + d, q, mask=here)


@triton.jit(do_not_specialize=_WALK_SIZES)
def scan_carry_kernel(
    delta, delta_b, delta_t, delta_d, A, C, C_b, C_t, C_n, z, z_b, z_t, z_d,
    bias, bias_d, dy, dy_b, dy_t, dy_d, carry, totals,
    length, width, blocks, segments, first, span, N: tl.constexpr,
    SOFTPLUS: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Walk backward through each segment from the one numbered `first`, as if nothing came after.

    The carry of a step is a_t h̄_t, which the step before adds to its own C s̄. What a segment of
    `span` readings sends to the segment before it goes to `carry`, `(B, segments, N, d)`, the sum
    of its step sizes to `totals`, `(B, segments, d)`. Tiles and readings as in
    `scan_states_kernel`; a program is one segment of one sequence and BLOCK channels.
    """
    program = tl.program_id(0).to(tl.int64)
    block = program % blocks
    place = program // blocks % (segments - first) + first
    batch = program // blocks // (segments - first)
    readings = tl.minimum(tl.cdiv(length, STEPS) - place * span, span)
    n, d, here, real, both, cell = _tile(block, width, N, BLOCK, STATES)
    rate = load(A + cell, both) * LOG2E
    offset = _offset(bias, bias_d, d, here)
    t = (place * span + readings - 1) * STEPS
    delta += batch * delta_b + t * delta_t + d * delta_d
    dy += batch * dy_b + t * dy_t + d * dy_d
    C += batch * C_b + (t + STEPS - 1) * C_t + n * C_n
    if z is not None:
        z += batch * z_b + t * z_t + d * z_d

    q = tl.zeros((STATES, BLOCK), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    left = length - t
    deltas = _rows(delta, delta_t, left, here, STEPS)
    dys = _rows(dy, dy_t, left, here, STEPS)
    if z is not None:
        zs = _rows(z, z_t, left, here, STEPS)
    for reading in range(readings):
        # Before the first step there may be no memory: nothing is requested there.
        ahead = tl.where(reading + 1 < readings, left + STEPS, 0)
        delta -= STEPS * delta_t
        next_deltas = _rows(delta, delta_t, ahead, here, STEPS)
        dy -= STEPS * dy_t
        next_dys = _rows(dy, dy_t, ahead, here, STEPS)
        if z is not None:
            z -= STEPS * z_t
            next_zs = _rows(z, z_t, ahead, here, STEPS)
        steps = _step_sizes(deltas, offset, left, SOFTPLUS, STEPS)
        for k in tl.static_range(STEPS - 1, -1, -1):
            total += steps[k]
            row_C = load(C, real & (k < left))
            C -= C_t
            ds = dys[k]
            if z is not None:
                ds *= zs[k] * sigmoid(zs[k])
            q = tl.exp2(steps[k][None, :] * rate) * (q + row_C[:, None] * ds[None, :])
        deltas, dys = next_deltas, next_dys
        if z is not None:
            zs = next_zs
        left += STEPS
    tl.store(carry + (batch * segments + place) * N * width + cell, q, mask=both)
    tl.store(totals + (batch * segments + place) * width + d, total, mask=here)


@triton.jit
def _from(x, c, BY: tl.constexpr, CHUNKS: tl.constexpr, edge):
    """At each chunk c what `x` is at chunk c + BY, or `edge` where there is no such chunk."""
    source = c + BY
    inside = (source >= 0) & (source < CHUNKS)
    return tl.where(inside, tl.gather(x, tl.where(inside, source, c), 2), edge)


@triton.jit
def _windows(total, c, CHUNKS: tl.constexpr, ROUNDS: tl.constexpr):
    """A tuple: sums of `total` over the last chunk before each, the last 2, the last 4, and on."""
    window = _from(total, c, -1, CHUNKS, 0.0)
    windows = (window,)
    for r in tl.static_range(ROUNDS - 1):
        window += _from(window, c, -(1 << r), CHUNKS, 0.0)
        windows = windows + (window,)
    return windows


@triton.jit
def _lined_up(rows):
    """A tuple of 8 matrices as one tensor, in which their numbers lie along a last axis."""
    # Each `join` adds an axis of length 2; the one that is added last counts by ones.
    even = tl.join(tl.join(rows[0], rows[4]), tl.join(rows[2], rows[6]))
    odd = tl.join(tl.join(rows[1], rows[5]), tl.join(rows[3], rows[7]))
    return tl.reshape(tl.join(even, odd), (even.shape[0], even.shape[1], 8))


@triton.jit
def _at(tensor, batch, tensor_b, t, tensor_t, d, tensor_d):
    """Addresses of the entries of rows, for steps and channels."""
    return tensor + batch * tensor_b + t * tensor_t + d.to(tl.int64) * tensor_d


@triton.jit(do_not_specialize=_GRADIENT_SIZES)
def scan_gradient_kernel(
    u, u_b, u_t, u_d, delta, delta_b, delta_t, delta_d, A, B, C, D, D_d, z, z_b, z_t, z_d,
    bias, bias_d, dy, dy_b, dy_t, dy_d, u_again, delta_again, z_again, dy_again, kept, carry,
    du, du_b, du_t, du_d, ddelta, ddelta_b, ddelta_t, ddelta_d, dz, dz_b, dz_t, dz_d,
    dmaps, dD, dbias, length, width, blocks, share, groups, segments, N: tl.constexpr,
    SOFTPLUS: tl.constexpr, STEPS: tl.constexpr, ROUNDS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """All gradients of one segment of one sequence and `share` blocks of channels, one by one.

    `kept` and `carry` hold the state before and the gradient from after each segment,
    `(B, segments, N, d)`. B and C are `(B, segments, N, STEPS, chunks)`: what the threads of a warp
    read at a time lies side by side. Sums over more than this program are written as its part: dA
    over `carry`, whose cell this program alone reads; dD and dbias, `(B, segments, d)`; dB and dC
    to `dmaps`, `(B, segments, groups, N, chunks, STEPS, 2)`, where each block adds to those before.

    A segment is `chunks` = 2^ROUNDS chunks of STEPS steps, and rows are tuples of STEPS tiles
    (2, LANES, chunks), one for the first step of all chunks, one for the second, and so on. The
    chunks lie along the lanes of the one warp, with 2 channels in each thread, which walks through
    one chunk and need not wait for another. n is an ordinary loop. For each n

    1. chunks are walked from a state of zero. In as many rounds as there are doublings, what lies
       1, 2, 4, ... chunks back comes over from another lane and is added, times the decay over all
       chunks between, which is 2^(rate Σ Δ): then all know the state that they begin with;
    2. they are walked again from there, for the outputs and the sums of C's gradient;
    3. the carry goes the same way twice, from the last step to the first.
    """
    CHUNKS: tl.constexpr = 1 << ROUNDS
    group = tl.program_id(0) % groups
    begin = tl.program_id(0) // groups * blocks + group * share
    c = tl.arange(0, CHUNKS)[None, None, :] + tl.zeros((2, LANES, CHUNKS), tl.int32)
    lane = tl.arange(0, LANES)[None, :, None] * 2 + tl.arange(0, 2)[:, None, None]
    cells = tl.reshape(tl.arange(0, CHUNKS * STEPS * 2), (CHUNKS, STEPS, 2))
    # All is made of the number of the block: held from one block to the next, it would not fit into
    # the registers.
    for number in range(begin, begin + tl.minimum(share, blocks - group * share)):
        row = (number // blocks).to(tl.int64)
        segment, batch = row % segments, row // segments
        t = segment * (CHUNKS * STEPS) + c * STEPS
        left = length - t
        d = number % blocks * (2 * LANES) + lane
        here = d < width
        offset = _offset(bias, bias_d, d, here)
        us = _rows(_at(u, batch, u_b, t, u_t, d, u_d), u_t, left, here, STEPS)
        deltas = _rows(
            _at(delta, batch, delta_b, t, delta_t, d, delta_d), delta_t, left, here, STEPS
        )
        steps = _step_sizes(deltas, offset, left, SOFTPLUS, STEPS)
        xs = ()
        total = tl.zeros((2, LANES, CHUNKS), tl.float32)
        for k in tl.static_range(STEPS):
            xs = xs + (steps[k] * us[k],)
            total += steps[k]
        windows = _windows(total, c, CHUNKS, ROUNDS)
        dss = _rows(_at(dy, batch, dy_b, t, dy_t, d, dy_d), dy_t, left, here, STEPS)
        if z is not None:
            zs = _rows(_at(z, batch, z_b, t, z_t, d, z_d), z_t, left, here, STEPS)
            gated = ()
            for k in tl.static_range(STEPS):
                gated = gated + (dss[k] * zs[k] * sigmoid(zs[k]),)
            dss = gated

        sums = _zeros(LANES, CHUNKS, STEPS)  # Σ_n C h
        dxs = _zeros(LANES, CHUNKS, STEPS)  # v = Σ_n h̄ B
        dlogs = _zeros(LANES, CHUNKS, STEPS)  # Σ_n e rate
        at_A = A + d
        at_kept = kept + row * N * width + d
        at_carry = carry + row * N * width + d
        at_B = B + row * (N * STEPS * CHUNKS) + tl.arange(0, CHUNKS)[None, None, :]
        at_C = C + row * (N * STEPS * CHUNKS) + tl.arange(0, CHUNKS)[None, None, :]
        at_dmaps = dmaps + (row * groups + group) * (N * CHUNKS * STEPS * 2) + cells
        for _ in range(N):
            rate = load(at_A, here) * LOG2E
            first = load(at_kept, here)
            Bs, Cs = (), ()
            for k in tl.static_range(STEPS):
                Bs = Bs + (tl.load(at_B + k * CHUNKS).to(tl.float32),)
                Cs = Cs + (tl.load(at_C + k * CHUNKS).to(tl.float32),)
            decays = ()
            h = tl.zeros((2, LANES, CHUNKS), tl.float32)
            for k in tl.static_range(STEPS):
                decays = decays + (tl.exp2(steps[k] * rate),)
                h = decays[k] * h + xs[k] * Bs[k]
            h = _from(h, c, -1, CHUNKS, first)
            for r in tl.static_range(ROUNDS):
                h += _from(h, c, -(1 << r), CHUNKS, 0.0) * tl.exp2(windows[r] * rate)
            hs, new_sums, dCs = (), (), ()
            for k in tl.static_range(STEPS):
                hs = hs + (h,)
                h = decays[k] * h + xs[k] * Bs[k]
                new_sums = new_sums + (sums[k] + Cs[k] * h,)
                dCs = dCs + (tl.sum(dss[k] * h, axis=0),)
            sums = new_sums
            last = load(at_carry, here)
            q = tl.where(c == CHUNKS - 1, last, 0.0)
            for k in tl.static_range(STEPS - 1, -1, -1):
                q = decays[k] * (q + Cs[k] * dss[k])
            for r in tl.static_range(ROUNDS):
                q += _from(q * tl.exp2(windows[r] * rate), c, 1 << r, CHUNKS, 0.0)
            q = _from(q, c, 1, CHUNKS, last)
            new_dxs, new_dlogs, dBs = (), (), ()
            row_dA = tl.zeros((2, LANES, CHUNKS), tl.float32)
            for k in tl.static_range(STEPS - 1, -1, -1):
                dh = q + Cs[k] * dss[k]
                q = decays[k] * dh
                e = q * hs[k]
                new_dxs = (dxs[k] + dh * Bs[k],) + new_dxs
                new_dlogs = (dlogs[k] + e * rate,) + new_dlogs
                row_dA += e * steps[k]
                dBs = (tl.sum(dh * xs[k], axis=0),) + dBs
            dxs, dlogs = new_dxs, new_dlogs
            tl.store(at_carry, tl.sum(row_dA, axis=2, keep_dims=True), mask=here)
            both = tl.sum(tl.join(_lined_up(dBs), _lined_up(dCs)), axis=0)
            tl.store(at_dmaps, both + load(at_dmaps, number > begin))
            at_A += width
            at_kept += width
            at_carry += width
            at_B += STEPS * CHUNKS
            at_C += STEPS * CHUNKS
            at_dmaps += CHUNKS * STEPS * 2

        # Rows are read again, one at a time, for held until here they would not fit into the
        # registers; by another name, or the compiler would hold their addresses instead.
        at_u = _at(u_again, batch, u_b, t, u_t, d, u_d)
        at_delta = _at(delta_again, batch, delta_b, t, delta_t, d, delta_d)
        at_dy = _at(dy_again, batch, dy_b, t, dy_t, d, dy_d)
        at_du = _at(du, batch, du_b, t, du_t, d, du_d)
        at_ddelta = _at(ddelta, batch, ddelta_b, t, ddelta_t, d, ddelta_d)
        if z is not None:
            at_z = _at(z_again, batch, z_b, t, z_t, d, z_d)
            at_dz = _at(dz, batch, dz_b, t, dz_t, d, dz_d)
        skip = 0.0
        if D is not None:
            skip = load(D + d.to(tl.int64) * D_d, here)
        part_dD = tl.zeros((2, LANES, CHUNKS), tl.float32)
        part_dbias = tl.zeros((2, LANES, CHUNKS), tl.float32)
        for k in tl.static_range(STEPS):
            inside = here & (k < left)
            row_u = load(at_u, inside)
            tl.store(at_du, dxs[k] * steps[k] + skip * dss[k], mask=inside)
            step = dxs[k] * row_u + dlogs[k] * LN2
            if SOFTPLUS:
                step *= sigmoid(load(at_delta, inside) + offset)
            tl.store(at_ddelta, step, mask=inside)
            if z is not None:
                row_z = load(at_z, inside)
                opening = sigmoid(row_z)
                slope = opening * (1.0 + row_z * (1.0 - opening))
                out = sums[k] + skip * row_u
                tl.store(at_dz, load(at_dy, inside) * out * slope, mask=inside)
                at_z += z_t
                at_dz += dz_t
            part_dD += dss[k] * row_u
            part_dbias += tl.where(inside, step, 0.0)
            at_u += u_t
            at_delta += delta_t
            at_dy += dy_t
            at_du += du_t
            at_ddelta += ddelta_t
        cell = row * width + d
        if D is not None:
            tl.store(dD + cell, tl.sum(part_dD, axis=2, keep_dims=True), mask=here)
        if bias is not None:
            tl.store(dbias + cell, tl.sum(part_dbias, axis=2, keep_dims=True), mask=here)
