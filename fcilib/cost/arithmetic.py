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

from fcilib.scan.cpu.layout import LANES
from fcilib.scan.cpu.machine_code import Kernel
from fcilib.scan.cpu.plumbing import spread_over_threads

FORWARD, BACKWARD = 14, 22

TASKS = 64
PER_TURN = 4 * LANES

multiply_add = Kernel("limit_kernels", "multiply_add")


def spend(instructions: float) -> None:
    """As many scalar multiply-adds as asked for, in vectors, on all of PyTorch's threads."""
    turns = max(1, round(instructions / (TASKS * PER_TURN)))
    spread_over_threads(multiply_add, TASKS, LANES, (turns,))
