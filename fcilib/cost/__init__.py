"""What things cost: time and memory at growing lengths, measured in alternating rounds."""

from fcilib.cost.bench import Bench, Cost, Curve, find_cost, measure_cost
from fcilib.cost.workloads import Arithmetic, Loss, MambaPass, Represent, Route, Scan

__all__ = [
    "Arithmetic",
    "Bench",
    "Cost",
    "Curve",
    "Loss",
    "MambaPass",
    "Represent",
    "Route",
    "Scan",
    "find_cost",
    "measure_cost",
]
