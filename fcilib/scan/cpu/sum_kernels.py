"""The sum over the partial results of the tasks."""

from __future__ import annotations

from fcilib.scan.cpu.lanes import read, write
from fcilib.scan.cpu.layout import LANES


def add_up(parts, number, stride, size, into):
    """`into[i] = sum over k of parts[k * stride + i]`, always in the order of k."""
    for i in range(0, size, LANES):
        count = min(LANES, size - i)
        value = read(parts, i, count)
        for k in range(1, number):
            value = value + read(parts, k * stride + i, count)
        write(into, i, value, count)
