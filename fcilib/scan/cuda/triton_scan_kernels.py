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
def _offset(bias, bias_d, d, here, BLOCK: tl.constexpr):
    """The bias of the step sizes; zeros without one."""
    offset = tl.zeros((BLOCK,), tl.float32)
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
def _numbers(at, left, TURN: tl.constexpr, STEPS: tl.constexpr):
    """STEPS numbers, one per step, TURN apart."""
    numbers = ()
    for k in tl.static_range(STEPS):
        numbers = numbers + (load(at + k * TURN, k < left),)
    return numbers


@triton.jit
def _zeros(SIZE: tl.constexpr, STEPS: tl.constexpr):
    """A tuple of STEPS rows."""
    rows = ()
    for _ in tl.static_range(STEPS):
        rows = rows + (tl.zeros((SIZE,), tl.float32),)
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
    offset = _offset(bias, bias_d, d, here, BLOCK)
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
    ends, totals, A, start, width, blocks, spans,
    N: tl.constexpr, TURN: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """From what each span adds to what each begins with, in place: `ends`, `(B, spans, N, d)`.

    The first span, or the last if TURN is -1 and not 1, begins with `start`, `(B, N, d)`, or zeros;
    the others follow in this order. A span multiplies what it begins with by exp of A times its
    `totals`, `(B, spans, d)`.

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
    size = TURN * width.to(tl.int64)
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


@triton.jit(do_not_specialize=_WALK_SIZES)
def scan_carry_kernel(
    delta, delta_b, delta_t, delta_d, A, C, C_b, C_t, C_n, z, z_b, z_t, z_d,
    bias, bias_d, dy, dy_b, dy_t, dy_d, start, ends, carry,
    length, width, blocks, spans, span, chunks, N: tl.constexpr,
    SOFTPLUS: tl.constexpr, EVERY: tl.constexpr,
    STEPS: tl.constexpr, BLOCK: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Walk backward: what each chunk receives from those after it, to `carry`, `(B, chunks, N, d)`.

    A chunk is EVERY readings of STEPS steps, a span `span` chunks, of which the last one of a
    sequence may have fewer. The carry of a step is a_t h̄_t, which the step before adds to its own
    C s̄. Tiles and programs as in `scan_states_kernel`: a program begins with what its span
    receives, `start`, `(B, spans, N, d)`, or zeros. With `ends`, `(B, spans, N, d)`, there is no
    `carry`: what a span sends to the one before it goes there.
    """
    program = tl.program_id(0).to(tl.int64)
    block = program % blocks
    place = program // blocks % spans
    batch = program // blocks // spans
    own = tl.minimum(chunks - place * span, span)
    after = place * span + own  # the first chunk that is not this program's
    n, d, here, real, both, cell = _tile(block, width, N, BLOCK, STATES)
    rate = load(A + cell, both) * LOG2E
    offset = _offset(bias, bias_d, d, here, BLOCK)
    t = (after * EVERY - 1) * STEPS
    delta += batch * delta_b + t * delta_t + d * delta_d
    dy += batch * dy_b + t * dy_t + d * dy_d
    C += batch * C_b + (t + STEPS - 1) * C_t + n * C_n
    if z is not None:
        z += batch * z_b + t * z_t + d * z_d

    q = tl.zeros((STATES, BLOCK), tl.float32)
    if start is not None:
        q = load(start + (batch * spans + place) * N * width + cell, both)
    readings = own * EVERY
    if carry is not None:
        size = N * width.to(tl.int64)
        carry += (batch * chunks + after) * size
        readings -= EVERY  # nothing is made of what the first chunk sends
    left = length - t
    deltas = _rows(delta, delta_t, left, here, STEPS)
    dys = _rows(dy, dy_t, left, here, STEPS)
    if z is not None:
        zs = _rows(z, z_t, left, here, STEPS)
    for reading in range(readings):
        if carry is not None:
            if reading % EVERY == 0:
                carry -= size
                tl.store(carry + cell, q, mask=both)
        # Past the last reading there may be no memory: nothing is requested then.
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
    if carry is not None:
        tl.store(carry - size + cell, q, mask=both)
    if ends is not None:
        tl.store(ends + (batch * spans + place) * N * width + cell, q, mask=both)


@triton.jit(do_not_specialize=SIZES)
def scan_gradient_kernel(
    u, u_b, u_t, u_d, delta, delta_b, delta_t, delta_d, A, B, C, D, D_d, z, z_b, z_t, z_d,
    bias, bias_d, dy, dy_b, dy_t, dy_d, u_again, delta_again, z_again, dy_again, kept, carry,
    du, du_b, du_t, du_d, ddelta, ddelta_b, ddelta_t, ddelta_d, dz, dz_b, dz_t, dz_d,
    dB, dC, dD, dbias, dstart, length, width, blocks, chunks, N: tl.constexpr,
    TURN: tl.constexpr, SOFTPLUS: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """All gradients of one chunk of BLOCK channels: chunks are independent of each other here.

    `kept` and `carry` hold the state before and the gradient from after each chunk,
    `(B, chunks, N, d)`. Sums over more than this program are written as its part: dA over `carry`,
    whose cell this program alone reads; dD and dbias, `(B, chunks, d)`; dB and dC,
    `(B, blocks, N, L)`. `dstart`, `(B, N, d)`, is what the first chunk sends to the state before
    it.

    B and C are `(B, N, L)` and contiguous like their gradients, TURN the stride of a step, 1 or -1:
    the addresses of a chunk are then one register and constants.

    n is an ordinary loop, the states of the chunk for one n are tuples of rows. One warp with
    several channels per thread: the sums over channels, for dB and dC, are what costs most, and
    their first additions are then within a thread.
    """
    program = tl.program_id(0).to(tl.int64)
    block = program % blocks
    chunk = program // blocks % chunks
    batch = program // blocks // chunks
    t = chunk * STEPS
    left = length - t
    ts = tl.arange(0, STEPS)
    d = block * BLOCK + tl.arange(0, BLOCK)
    here = d < width
    u += batch * u_b + t * u_t + d * u_d
    delta += batch * delta_b + t * delta_t + d * delta_d
    dy += batch * dy_b + t * dy_t + d * dy_d
    B += batch * N * length + t * TURN
    C += batch * N * length + t * TURN
    A += d
    if dstart is not None:
        dstart += batch * N * width + d
    first = (batch * chunks + chunk) * N * width + d
    kept += first
    carry += first
    cells = (batch * blocks + block) * N * length + (t + ts) * TURN
    dB += cells
    dC += cells
    offset = _offset(bias, bias_d, d, here, BLOCK)
    us = _rows(u, u_t, left, here, STEPS)
    steps = _step_sizes(_rows(delta, delta_t, left, here, STEPS), offset, left, SOFTPLUS, STEPS)
    xs = ()
    for k in tl.static_range(STEPS):
        xs = xs + (steps[k] * us[k],)
    dss = _rows(dy, dy_t, left, here, STEPS)
    if z is not None:
        z += batch * z_b + t * z_t + d * z_d
        zs = _rows(z, z_t, left, here, STEPS)
        gated = ()
        for k in tl.static_range(STEPS):
            gated = gated + (dss[k] * zs[k] * sigmoid(zs[k]),)
        dss = gated

    sums = _zeros(BLOCK, STEPS)  # Σ_n C h
    dxs = _zeros(BLOCK, STEPS)  # v = Σ_n h̄ B
    dlogs = _zeros(BLOCK, STEPS)  # Σ_n e rate
    for _ in range(N):
        rate = load(A, here) * LOG2E
        h = load(kept, here)
        q = load(carry, here)
        Bs = _numbers(B, left, TURN, STEPS)
        Cs = _numbers(C, left, TURN, STEPS)
        decays, before, new_sums = (), (), ()
        row_dC = tl.zeros((STEPS,), tl.float32)
        for k in tl.static_range(STEPS):
            decays = decays + (tl.exp2(steps[k] * rate),)
            before = before + (h,)
            h = decays[k] * h + xs[k] * Bs[k]
            new_sums = new_sums + (sums[k] + Cs[k] * h,)
            row_dC = tl.where(ts == k, tl.sum(dss[k] * h, axis=0), row_dC)
        sums = new_sums
        new_dxs, new_dlogs = (), ()
        row_dB = tl.zeros((STEPS,), tl.float32)
        row_dA = tl.zeros((BLOCK,), tl.float32)
        for k in tl.static_range(STEPS - 1, -1, -1):
            dh = q + Cs[k] * dss[k]
            q = decays[k] * dh
            e = q * before[k]
            new_dxs = (dxs[k] + dh * Bs[k],) + new_dxs
            new_dlogs = (dlogs[k] + e * rate,) + new_dlogs
            row_dA += e * steps[k]
            row_dB = tl.where(ts == k, tl.sum(dh * xs[k], axis=0), row_dB)
        dxs, dlogs = new_dxs, new_dlogs
        tl.store(carry, row_dA, mask=here)
        if dstart is not None:
            tl.store(dstart, q, mask=here & (chunk == 0))
            dstart += width
        tl.store(dB, row_dB, mask=ts < left)
        tl.store(dC, row_dC, mask=ts < left)
        A += width
        kept += width
        carry += width
        B += length
        C += length
        dB += length
        dC += length

    # Rows are read again, one at a time, for held until here they would not fit into the registers;
    # by another name, or the compiler would hold their addresses instead.
    u_again += batch * u_b + t * u_t + d * u_d
    delta_again += batch * delta_b + t * delta_t + d * delta_d
    dy_again += batch * dy_b + t * dy_t + d * dy_d
    du += batch * du_b + t * du_t + d * du_d
    ddelta += batch * ddelta_b + t * ddelta_t + d * ddelta_d
    if z is not None:
        z_again += batch * z_b + t * z_t + d * z_d
        dz += batch * dz_b + t * dz_t + d * dz_d
    skip = tl.zeros((BLOCK,), tl.float32)
    if D is not None:
        skip = load(D + d * D_d, here)
    part_dD = tl.zeros((BLOCK,), tl.float32)
    part_dbias = tl.zeros((BLOCK,), tl.float32)
    for k in tl.static_range(STEPS):
        inside = here & (k < left)
        row_u = load(u_again, inside)
        tl.store(du, dxs[k] * steps[k] + skip * dss[k], mask=inside)
        step = dxs[k] * row_u + dlogs[k] * LN2
        if SOFTPLUS:
            step *= sigmoid(load(delta_again, inside) + offset)
        tl.store(ddelta, step, mask=inside)
        if z is not None:
            row_z = load(z_again, inside)
            opening = sigmoid(row_z)
            slope = opening * (1.0 + row_z * (1.0 - opening))
            out = sums[k] + skip * row_u
            tl.store(dz, load(dy_again, inside) * out * slope, mask=inside)
            z_again += z_t
            dz += dz_t
        part_dD += dss[k] * row_u
        part_dbias += tl.where(inside, step, 0.0)
        u_again += u_t
        delta_again += delta_t
        dy_again += dy_t
        du += du_t
        ddelta += ddelta_t
    cells = (batch * chunks + chunk) * width + d
    if D is not None:
        tl.store(dD + cells, part_dD, mask=here)
    if bias is not None:
        tl.store(dbias + cells, part_dbias, mask=here)
