"""The sizes that the kernels and their callers agree on.

Apart from the kernels because those import numba, which a process that finds their machine code
on disk never needs.
"""

from __future__ import annotations

LANES = 64  # channels in a block
FLOAT = 4  # bytes
# Steps in a chunk of the scan: states are kept once per chunk and recomputed within it. 8 and not
# 16, so that the workspace leaves room in a first-level cache of 32 KB.
STEPS = 8
CHUNK = STEPS * LANES

# How a kernel is told of tensors: address, batch stride, step stride; strides in floats. Partial
# sums lie in several such tensors, a block stride apart.
Rows = tuple[int, int, int]
PartialRows = tuple[int, int, int, int]


def blocks_of(width: int) -> int:
    """Blocks of `LANES` channels, the last one perhaps in part."""
    return -(-width // LANES)


def forward_floats(states: int) -> int:
    """Size of the workspace of `scan_forward`, in floats."""
    return states * LANES + 3 * CHUNK


def backward_floats(states: int) -> int:
    """Size of the workspace of `scan_backward`, in floats."""
    return 2 * states * LANES + 10 * CHUNK
