"""The loops of the convolution; tasks and arguments are as in `scan_loops.py`.

Channels are lanes, so the filter of every channel is a vector per tap and no transpose to
`(B, d, L)` is needed. Tap k of K at step t meets step t - (K - 1) + k.
"""

from __future__ import annotations

from fcilib.scan.cpu.lanes import (
    FLOAT,
    LANES,
    Rows,
    alarm_of,
    compiled,
    full,
    inlined,
    load,
    put,
    read,
    read_or_zero,
    sigmoid,
    store,
    total,
    write,
)


@inlined
def _response(x, x_row, t, taps, filters, shift, count):
    """The filter's output at step t, before SiLU."""
    value = shift
    for k in range(max(0, taps - 1 - t), taps):
        past = read(x[0], x_row + (t - (taps - 1) + k) * x[2], count)
        value = value + load(filters, k * LANES) * past
    return value


@compiled
def conv_forward(first, last, length, width, taps, x: Rows, weight, bias, out: Rows, alarm, work):
    """Tasks `first` to `last`. `weight` is `(blocks, K, LANES)`; no workspace is needed.

    `alarm`, one number per task, is 0, or NaN where what the SiLU takes is not finite or too large.
    """
    blocks = (width + LANES - 1) // LANES
    for task in range(first, last):
        batch, channel = task // blocks, task % blocks * LANES
        count = min(LANES, width - channel)
        filters = weight + FLOAT * (task % blocks) * taps * LANES
        shift = read_or_zero(bias, channel, count)
        x_row = batch * x[1] + channel
        heard = full(0.0)
        for t in range(length):
            value = _response(x, x_row, t, taps, filters, shift, count)
            y = value * sigmoid(value)
            heard = heard + alarm_of(value)
            write(out[0], batch * out[1] + t * out[2] + channel, y, count)
        put(alarm, task, total(heard))


@compiled
def conv_backward(
    first, last, length, width, taps, x: Rows, weight, bias,
    dout: Rows, dx: Rows, dweight, dbias, alarm, ring,
):  # fmt: skip
    """Tasks `first` to `last`. `dweight`: `(tasks, K, LANES)`, `dbias`: `(tasks, LANES)`.

    `alarm` as in `conv_forward`, of the gradients before the SiLU.
    Workspace: `ring`, the last K gradients, `(K, LANES)`.
    """
    blocks = (width + LANES - 1) // LANES
    for task in range(first, last):
        batch, channel = task // blocks, task % blocks * LANES
        count = min(LANES, width - channel)
        filters = weight + FLOAT * (task % blocks) * taps * LANES
        shift = read_or_zero(bias, channel, count)
        x_row = batch * x[1] + channel
        slopes = dweight + FLOAT * task * taps * LANES
        for k in range(taps):
            store(slopes, k * LANES, full(0.0))
            store(ring, k * LANES, full(0.0))
        dshift = full(0.0)
        heard = full(0.0)
        for t in range(length + taps - 1):
            grad = full(0.0)
            if t < length:
                value = _response(x, x_row, t, taps, filters, shift, count)
                s = sigmoid(value)
                grad = read(dout[0], batch * dout[1] + t * dout[2] + channel, count)
                grad = grad * s * (full(1.0) + value * (full(1.0) - s))
                dshift = dshift + grad
                heard = heard + grad * full(0.0)
                for k in range(max(0, taps - 1 - t), taps):
                    past = read(x[0], x_row + (t - (taps - 1) + k) * x[2], count)
                    store(slopes, k * LANES, load(slopes, k * LANES) + grad * past)
            store(ring, t % taps * LANES, grad)
            back = t - (taps - 1)  # the step whose last use was at t
            if back >= 0:
                dvalue = full(0.0)
                for k in range(taps):
                    dvalue = dvalue + load(filters, k * LANES) * load(ring, (t - k) % taps * LANES)
                write(dx[0], batch * dx[1] + back * dx[2] + channel, dvalue, count)
        store(dbias, task * LANES, dshift)
        put(alarm, task, total(heard))
