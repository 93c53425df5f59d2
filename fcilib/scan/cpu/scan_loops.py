"""The loops of the scan; README.md of the folder above has the mathematics.

One task is one sequence of the batch and one block of `LANES` channels. It walks over the
sequence in chunks of `STEPS` steps. Per chunk it first brings what does not depend on the state
index n into a small workspace (step sizes, inputs, gates), then takes one n at a time through the
whole chunk, so that state, gradient of the state and A stay in registers, and at last writes the
chunk's results.

Arguments: `Rows` for a tensor of rows, a plain address for the others; address 0 is "not given".
Strides and offsets are in floats. A negative step stride, with the address of the last row, is a
scan from the end. `A` is A times log2(e) as `(blocks, N, LANES)`: exp(delta A) = 2**(delta A').
"""

from __future__ import annotations

from fcilib.scan.cpu.lanes import (
    FLOAT,
    LANES,
    LARGEST,
    LN_2,
    PartialRows,
    Rows,
    alarm_of,
    clamp,
    compiled,
    exp2,
    fetch_to_read,
    fetch_to_write,
    full,
    inlined,
    load,
    put,
    read,
    read_or_zero,
    sigmoid,
    softplus,
    spread,
    store,
    total,
    write,
)

# Steps in a chunk: states are kept once per chunk and recomputed within it. 8 and not 16, so that
# the workspace leaves room in a first-level cache of 32 KB.
STEPS = 8
CHUNK = STEPS * LANES


@inlined
def _step_size(raw, bias, use_softplus):
    """The step size and its slope."""
    raw = raw + bias
    return softplus(raw) if use_softplus else (raw, full(1.0))


@inlined
def _poison(rate):
    """0, or NaN where A is not finite: `exp2` would hide it."""
    return rate - rate


FORWARD_FLOATS, BACKWARD_FLOATS = 3 * CHUNK, 10 * CHUNK  # sizes of the workspaces


@inlined
def _task(task, width, A, D, delta_bias, states):
    """Sequence, block, first channel, number of channels; A of the block, bias, skip weight."""
    blocks = (width + LANES - 1) // LANES
    batch, block = task // blocks, task % blocks
    channel = block * LANES
    count = min(LANES, width - channel)
    rates = A + FLOAT * block * states * LANES
    bias = read_or_zero(delta_bias, channel, count)
    return batch, block, channel, count, rates, bias, read_or_zero(D, channel, count)


@compiled
def scan_forward(
    first, last, length, width, states, use_softplus,
    u: Rows, delta: Rows, A, B: Rows, C: Rows, D, z: Rows, delta_bias,
    out: Rows, kept, kept_chunk, kept_task, alarm, work,
):  # fmt: skip
    """Tasks `first` to `last`. `kept`: per task, the state before each chunk, then the last one.

    The first is there already. With `kept_chunk` 0 (nothing will be differentiated) there is one
    place, written over. `alarm`, one number per task, is 0, or NaN where an output or a step size
    is not finite, or a step size or a gate too large: these loops are then not to be trusted.
    """
    steps_at = work
    inputs_at = steps_at + FLOAT * CHUNK
    sums_at = inputs_at + FLOAT * CHUNK
    for task in range(first, last):
        batch, _, channel, count, rates, bias, skip = _task(task, width, A, D, delta_bias, states)
        state_at = kept + FLOAT * task * kept_task
        heard = full(0.0)
        for start in range(0, length, STEPS):
            steps = min(STEPS, length - start)
            for s in range(steps):
                t = start + s
                ahead = t + STEPS
                # Rows are a stride apart, which the hardware does not foresee; ask for the next
                # chunk's now.
                fetch_to_read(u[0], batch * u[1] + ahead * u[2] + channel)
                fetch_to_read(delta[0], batch * delta[1] + ahead * delta[2] + channel)
                fetch_to_read(z[0], batch * z[1] + t * z[2] + channel)
                fetch_to_write(out[0], batch * out[1] + t * out[2] + channel)
                step, _ = _step_size(
                    read(delta[0], batch * delta[1] + t * delta[2] + channel, count),
                    bias,
                    use_softplus,
                )
                value = read(u[0], batch * u[1] + t * u[2] + channel, count)
                heard = heard + alarm_of(step)
                store(steps_at, s * LANES, clamp(step, LARGEST))
                store(inputs_at, s * LANES, step * value)
                store(sums_at, s * LANES, skip * value)
            next_at = state_at + FLOAT * kept_chunk
            B_row = batch * B[1] + start * B[2]
            C_row = batch * C[1] + start * C[2]
            for n in range(states):
                fetch_to_write(next_at, n * LANES)
                rate = load(rates, n * LANES)
                h = load(state_at, n * LANES) + _poison(rate)
                for s in range(steps):
                    decay = exp2(load(steps_at, s * LANES) * rate)
                    h = decay * h + load(inputs_at, s * LANES) * spread(B[0], B_row + s * B[2] + n)
                    y = load(sums_at, s * LANES) + spread(C[0], C_row + s * C[2] + n) * h
                    store(sums_at, s * LANES, y)
                store(next_at, n * LANES, h)
            state_at = next_at
            for s in range(steps):
                t = start + s
                y = load(sums_at, s * LANES)
                if z[0] != 0:
                    gate = read(z[0], batch * z[1] + t * z[2] + channel, count)
                    heard = heard + alarm_of(gate)
                    y = y * gate * sigmoid(gate)
                heard = heard + y * full(0.0)
                write(out[0], batch * out[1] + t * out[2] + channel, y, count)
        put(alarm, task, total(heard))


@compiled
def scan_backward(
    first, last, length, width, states, use_softplus,
    u: Rows, delta: Rows, A, B: Rows, C: Rows, D, z: Rows, delta_bias,
    kept, kept_chunk, kept_task, dout: Rows, carry,
    du: Rows, ddelta: Rows, dz: Rows, dB: PartialRows, dC: PartialRows, dA, dD, dbias, alarm, work,
):  # fmt: skip
    """Tasks `first` to `last`, against the direction of the scan.

    `carry`, `(tasks, N, LANES)`, holds the gradient of the last state and is left with that of the
    first. `dB`, `dC` are partial sums `(blocks, B, L, N)`; `dA` `(tasks, N, LANES)`, zeros at
    first, `dD`, `dbias` `(tasks, LANES)`: each cell belongs to one task, so no order of the tasks
    can change a sum. `alarm` as in `scan_forward`, of the gradients of u.
    """
    steps_at = work
    inputs_at = steps_at + FLOAT * CHUNK
    sums_at = inputs_at + FLOAT * CHUNK
    grads_at = sums_at + FLOAT * CHUNK
    dinputs_at = grads_at + FLOAT * CHUNK
    dsteps_at = dinputs_at + FLOAT * CHUNK
    decays_at = dsteps_at + FLOAT * CHUNK
    states_at = decays_at + FLOAT * CHUNK
    slopes_at = states_at + FLOAT * CHUNK
    openings_at = slopes_at + FLOAT * CHUNK
    for task in range(first, last):
        batch, block, channel, count, rates, bias, skip = _task(
            task, width, A, D, delta_bias, states
        )
        dA_at = dA + FLOAT * task * states * LANES
        carries = carry + FLOAT * task * states * LANES
        dskip = full(0.0)
        dshift = full(0.0)
        heard = full(0.0)
        chunks = (length + STEPS - 1) // STEPS
        for chunk in range(chunks - 1, -1, -1):
            start = chunk * STEPS
            steps = min(STEPS, length - start)
            for s in range(steps):
                t = start + s
                step, slope = _step_size(
                    read(delta[0], batch * delta[1] + t * delta[2] + channel, count),
                    bias,
                    use_softplus,
                )
                value = read(u[0], batch * u[1] + t * u[2] + channel, count)
                grad = read_or_zero(dout[0], batch * dout[1] + t * dout[2] + channel, count)
                if z[0] != 0:
                    gate = read(z[0], batch * z[1] + t * z[2] + channel, count)
                    opening = sigmoid(gate)
                    store(openings_at, s * LANES, opening)
                    grad = grad * gate * opening
                store(slopes_at, s * LANES, slope)
                store(steps_at, s * LANES, clamp(step, LARGEST))
                store(inputs_at, s * LANES, step * value)
                store(sums_at, s * LANES, skip * value)
                store(grads_at, s * LANES, grad)
                store(dinputs_at, s * LANES, full(0.0))
                store(dsteps_at, s * LANES, full(0.0))
            B_row = batch * B[1] + start * B[2]
            C_row = batch * C[1] + start * C[2]
            dB_row = block * dB[3] + batch * dB[1] + start * dB[2]
            dC_row = block * dC[3] + batch * dC[1] + start * dC[2]
            state_at = kept + FLOAT * (task * kept_task + chunk * kept_chunk)
            for n in range(states):
                fetch_to_read(state_at - FLOAT * kept_chunk, n * LANES)
                # Ask for the rows of the chunk before, a few with each n: all at once they would
                # keep the loads of this chunk waiting.
                for s in range(n, STEPS, states):
                    t = start - STEPS + s
                    fetch_to_read(u[0], batch * u[1] + t * u[2] + channel)
                    fetch_to_read(delta[0], batch * delta[1] + t * delta[2] + channel)
                    fetch_to_read(z[0], batch * z[1] + t * z[2] + channel)
                    fetch_to_read(dout[0], batch * dout[1] + t * dout[2] + channel)
                    fetch_to_write(du[0], batch * du[1] + t * du[2] + channel)
                    fetch_to_write(ddelta[0], batch * ddelta[1] + t * ddelta[2] + channel)
                    fetch_to_write(dz[0], batch * dz[1] + t * dz[2] + channel)
                rate = load(rates, n * LANES)
                h = load(state_at, n * LANES) + _poison(rate)
                for s in range(steps):
                    decay = exp2(load(steps_at, s * LANES) * rate)
                    store(decays_at, s * LANES, decay)
                    store(states_at, s * LANES, h)
                    h = decay * h + load(inputs_at, s * LANES) * spread(B[0], B_row + s * B[2] + n)
                    y = load(sums_at, s * LANES) + spread(C[0], C_row + s * C[2] + n) * h
                    store(sums_at, s * LANES, y)
                received = load(carries, n * LANES)
                drate = load(dA_at, n * LANES)
                for s in range(steps - 1, -1, -1):
                    grad = load(grads_at, s * LANES)
                    dh = received + spread(C[0], C_row + s * C[2] + n) * grad
                    put(dC[0], dC_row + s * dC[2] + n, total(grad * h))
                    put(dB[0], dB_row + s * dB[2] + n, total(dh * load(inputs_at, s * LANES)))
                    dinput = load(dinputs_at, s * LANES)
                    dinput = dinput + dh * spread(B[0], B_row + s * B[2] + n)
                    store(dinputs_at, s * LANES, dinput)
                    received = load(decays_at, s * LANES) * dh
                    h = load(states_at, s * LANES)  # the state before this step
                    dexponent = received * h
                    drate = drate + dexponent * load(steps_at, s * LANES)
                    store(dsteps_at, s * LANES, load(dsteps_at, s * LANES) + dexponent * rate)
                store(carries, n * LANES, received)
                store(dA_at, n * LANES, drate)
            for s in range(steps):
                t = start + s
                step = load(steps_at, s * LANES)
                value = read(u[0], batch * u[1] + t * u[2] + channel, count)
                grad = load(grads_at, s * LANES)
                dinput = load(dinputs_at, s * LANES)
                dstep = load(dsteps_at, s * LANES) * full(LN_2) + dinput * value
                dstep = dstep * load(slopes_at, s * LANES)
                dskip = dskip + grad * value
                dshift = dshift + dstep
                du_t = dinput * step + skip * grad
                heard = heard + du_t * full(0.0)
                write(du[0], batch * du[1] + t * du[2] + channel, du_t, count)
                write(ddelta[0], batch * ddelta[1] + t * ddelta[2] + channel, dstep, count)
                if z[0] != 0:
                    gate = read(z[0], batch * z[1] + t * z[2] + channel, count)
                    opening = load(openings_at, s * LANES)
                    slope = opening * (full(1.0) + gate * (full(1.0) - opening))
                    grad = read_or_zero(dout[0], batch * dout[1] + t * dout[2] + channel, count)
                    y = load(sums_at, s * LANES)
                    write(dz[0], batch * dz[1] + t * dz[2] + channel, grad * y * slope, count)
        store(dD, task * LANES, dskip)
        store(dbias, task * LANES, dshift)
        put(alarm, task, total(heard))
