"""A bench: workloads measured against each other at growing lengths, and the record of it."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fcilib.cost import meter
from fcilib.cost.workloads import Workload
from fcilib.specs.identity import Repeatable
from fcilib.specs.kinds import ByKind
from fcilib.storage.store import BaseRecord, Store
from fcilib.system.allocator import keep_freed_memory
from fcilib.system.machine import provenance
from fcilib.system.threads import threads

GROWTH = 4.5
"""What doubling n multiplies a cost by, as long as one length is known: above quadratic."""

Say = Callable[[str], None]


class Bench(Repeatable):
    """Workloads to be measured in one run, taking turns, so that their ratios can be trusted.

    A workload leaves the bench at the first length where its time or memory, extrapolated from the
    lengths before, would pass a limit.
    """

    workloads: dict[str, Annotated[Workload, ByKind()]] = Field(min_length=1)
    """By the name that tables and figures show them under."""
    lengths: tuple[int, ...] = Field(min_length=1)
    """n, ascending."""
    threads: int = Field(1, ge=1)
    rounds: int = Field(5, ge=1)
    """Turns each workload gets at each length; fewer once they took `seconds` in all."""
    seconds: float = Field(5.0, gt=0)
    """The longest one call may take."""
    megabytes: float = Field(4096.0, gt=0)
    """The most memory one call may hold."""
    keep_freed: bool = True
    """Freed memory stays in the process, as in training; if not, as in any program: large tensors
    are then zeroed by the system at every call. Once kept, always kept by that process."""
    seed: int = Field(0, ge=0)
    """Tells repetitions of one bench apart; also seeds weights and inputs."""

    @model_validator(mode="after")
    def _lengths_grow(self) -> Bench:
        if any(after <= before for before, after in pairwise((0, *self.lengths))):
            raise ValueError(f"lengths: {self.lengths} are not positive and ascending")
        return self

    def __hash__(self) -> int:
        return hash(self.identity)


class Curve(BaseModel):
    """One workload at the lengths it reached; an entry per length in each list."""

    model_config = ConfigDict(extra="forbid", strict=True)

    length: list[int] = []
    forward: list[float] = []
    """Seconds of the fastest round's forward pass."""
    seconds: list[float] = []
    """Of the fastest round, backward pass included."""
    median: list[float] = []
    """Of all rounds, backward pass included."""
    megabytes: list[float] = []
    """Held by tensors at the peak, beyond what was held before (2^20 bytes)."""


class Cost(BaseRecord):
    """What a bench measured."""

    subject = "bench"

    bench: Bench
    curves: dict[str, Curve]
    stopped: dict[str, str]
    """Why a workload left the bench early, where it did."""
    took: float
    """Seconds that the whole measurement took."""


def measure_cost(bench: Bench, folder: Path | None = None, say: Say = lambda _: None) -> Cost:
    """The bench's record in `folder`; measured first where there is none, or no folder.

    Args:
        bench: what to measure.
        folder: where records are kept, as `<identity>.json`.
        say: called with what is about to be measured.

    Raises:
        RecordError: there is a record, but it can't be trusted.
        StoreError: the folder can't be written.
        MissingBackendError: a workload needs something that is not installed.
    """
    if folder is None:
        return _run(bench, say)
    # One lock for the folder, so one bench at a time: two would measure each other.
    lock = folder / ".cache" / "lock"
    cost = Store(folder, Cost).find_or_make(bench, lambda: _run(bench, say), lock)
    return _in_order(cost, bench)


def find_cost(bench: Bench, folder: Path) -> Cost | None:
    """The bench's record, or None. Raises RecordError where it can't be trusted."""
    cost = Store(folder, Cost).find(bench)
    return None if cost is None else _in_order(cost, bench)


def _in_order(cost: Cost, bench: Bench) -> Cost:
    """The record in the order of the bench; its own is alphabetical."""
    curves = {name: cost.curves[name] for name in bench.workloads}
    return cost.model_copy(update={"bench": bench, "curves": curves})


def _run(bench: Bench, say: Say) -> Cost:
    if bench.keep_freed:
        keep_freed_memory()
    begun = time.perf_counter()
    curves = {name: Curve() for name in bench.workloads}
    stopped: dict[str, str] = {}
    with torch.random.fork_rng(), threads(bench.threads):
        torch.manual_seed(bench.seed)
        for length in bench.lengths:
            for name, reason in _beyond(bench, curves, length).items():
                stopped.setdefault(name, reason)
            names = [name for name in bench.workloads if name not in stopped]
            for name, point in _at(bench, names, length, say).items():
                for quantity, value in point.items():
                    getattr(curves[name], quantity).append(value)
    return Cost(
        bench=bench,
        curves=curves,
        stopped=stopped,
        took=round(time.perf_counter() - begun, 1),
        **provenance(),
    )


def _beyond(bench: Bench, curves: dict[str, Curve], length: int) -> dict[str, str]:
    """The workloads that would pass a limit at this length, and which."""
    reasons = {}
    for name, curve in curves.items():
        for quantity, unit in (("seconds", "s"), ("megabytes", "MB")):
            limit = getattr(bench, quantity)
            costs = getattr(curve, quantity)
            if costs and _extrapolate(curve.length, costs, length) > limit:
                reasons[name] = f"n = {length} would pass {limit:g} {unit}"
    return reasons


def _extrapolate(lengths: list[int], costs: list[float], length: int) -> float:
    """A cost at `length`, as if it grew on from the last two lengths by the same power."""
    power = math.log2(GROWTH)
    if len(costs) > 1 and costs[-1] > 0 and costs[-2] > 0:
        growth = math.log(costs[-1] / costs[-2])
        power = min(power, growth / math.log(lengths[-1] / lengths[-2]))
    return costs[-1] * (length / lengths[-1]) ** power


def _at(bench: Bench, names: list[str], length: int, say: Say) -> dict[str, dict[str, float]]:
    """Every named workload at one length, in rounds of one turn each."""
    calls, peaks, numbers = {}, {}, {}
    for name in names:
        say(f"{name}, n = {length}")
        calls[name] = bench.workloads[name].prepare(length)
        peaks[name], once = meter.first_pass(calls[name])
        numbers[name] = meter.repeats(calls[name], once)
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(bench.rounds):
        for name, call in calls.items():
            if sum(map(sum, rounds[name])) <= bench.seconds:
                rounds[name].append(meter.seconds(call, numbers[name]))
    return {
        name: {
            "length": length,
            "forward": _short(min(forward for forward, _ in spent)),
            "seconds": _short(min(map(sum, spent))),
            "median": _short(statistics.median(map(sum, spent))),
            "megabytes": _short(peaks[name] / 2**20),
        }
        for name, spent in rounds.items()
    }


def _short(value: float) -> float:
    """To five digits, more than a clock can tell."""
    return float(f"{value:.5g}")
