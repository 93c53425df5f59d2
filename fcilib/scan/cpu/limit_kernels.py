"""Arithmetic and nothing else: what the loops of the scan are measured against."""

from __future__ import annotations

from fcilib.scan.cpu.lanes import full, inlined, load, store


@inlined
def _turn(x, y, z, w):
    factor, term = full(0.999), full(0.001)
    return x * factor + term, y * factor + term, z * factor + term, w * factor + term


def multiply_add(first, last, turns, work):
    """`last - first` times `turns` turns, all in registers; the sum of the four chains in `work`.

    A turn is a multiply-add for each lane of four chains, enough to hide the latency of each.
    """
    x, y, z, w = load(work, 0), load(work, 0), load(work, 0), load(work, 0)
    for _ in range((last - first) * turns):
        x, y, z, w = _turn(x, y, z, w)
    store(work, 0, x + y + z + w)
