"""How fast this machine could scan if it did nothing but the scan's arithmetic.

The count is of vector instructions per state and step, a fused multiply-add being one. Loads,
stores, gates, softplus and the projections of whole rows are left out, so no scan can be as fast.

| forward | | backward | |
| --- | --: | --- | --: |
| exponent Δ A | 1 | the forward pass again, for states and decays | 14 |
| 2^x: rounding 3, polynomial 5, exponent bits 2 | 10 | h̄ | 1 |
| h = a h + (Δ u) B | 2 | C̄, B̄ | 2 |
| y += C h | 1 | v, ē, Ā, Δ̄ and the carry | 5 |

Symbols: `fcilib/scan/README.md`.
"""

from __future__ import annotations

from fcilib.scan.cpu.lanes import LANES, compiled, full, inlined, load, store
from fcilib.scan.cpu.threads import spread_over_threads

FORWARD, BACKWARD = 14, 22

TASKS = 64
PER_TURN = 4 * LANES


@inlined
def _turn(x, y, z, w):
    factor, term = full(0.999), full(0.001)
    return x * factor + term, y * factor + term, z * factor + term, w * factor + term


@compiled
def multiply_add(first, last, turns, work):
    """`last - first` times `turns` turns, all in registers; the sum of the four chains in `work`.

    A turn is a multiply-add for each lane of four chains, enough to hide the latency of each.
    """
    x, y, z, w = load(work, 0), load(work, 0), load(work, 0), load(work, 0)
    for _ in range((last - first) * turns):
        x, y, z, w = _turn(x, y, z, w)
    store(work, 0, x + y + z + w)


def spend(instructions: float) -> None:
    """As many scalar multiply-adds as asked for, in vectors, on all of PyTorch's threads."""
    turns = max(1, round(instructions / (TASKS * PER_TURN)))
    spread_over_threads(multiply_add, TASKS, LANES, (turns,))
