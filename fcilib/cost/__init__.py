"""What things cost: time and memory at growing lengths, measured in alternating rounds."""

from fcilib.cost.bench import Bench, Cost, Curve, find, measure
from fcilib.cost.workloads import Arithmetic, Block, Loss, Represent, Route, Scan

__all__ = [
    "Arithmetic",
    "Bench",
    "Block",
    "Cost",
    "Curve",
    "Loss",
    "Represent",
    "Route",
    "Scan",
    "find",
    "measure",
]
