"""The benches that `fci bench` runs, and that chapters take up at other lengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fcilib.cost import peers
from fcilib.cost.bench import Bench, Cost
from fcilib.cost.workloads import Arithmetic, Block, Scan, Workload
from fcilib.system.machine import cores

LIMIT = "arithmetic limit"
UNBIND = "reference (unbind)"

_NAMES = {"reference": UNBIND, "slicing": "slicing loop", "mambapy": "mambapy pscan"}


def scan(lengths: tuple[int, ...], threads: int, **limits: Any) -> Bench:
    """Every back end and peer that runs here, at B=32, d=256, N=16, and the arithmetic limit."""
    workloads: dict[str, Workload] = {LIMIT: Arithmetic()}
    for name in peers.SCANS:
        if peers.available(name) and name not in peers.GPU_ONLY:
            workloads[_NAMES.get(name, name)] = Scan(backend=name)
    return Bench(workloads=workloads, lengths=lengths, threads=threads, **limits)


def block(lengths: tuple[int, ...], threads: int, **limits: Any) -> Bench:
    """A whole Mamba block of width 128 at B=32: ours and those of mambapy and transformers."""
    names = {"transformers": "transformers, slow path"}
    workloads: dict[str, Workload] = {
        names.get(name, name): Block(implementation=name)
        for name in peers.BLOCKS
        if peers.available(name)
    }
    return Bench(workloads=workloads, lengths=lengths, threads=threads, **limits)


@dataclass(frozen=True)
class Preset:
    """A bench by name, as the command line offers it."""

    make: Callable[..., Bench]
    lengths: tuple[int, ...]
    base: str
    """The workload that ratios are taken to."""
    peers: tuple[str, ...]
    """Whatever could take part."""


PRESETS: Mapping[str, Preset] = {
    "scan": Preset(scan, tuple(2**i for i in range(7, 14)), UNBIND, peers.SCANS),
    "block": Preset(block, (128, 512), "fcilib", peers.BLOCKS),
}


def preset(
    name: str, lengths: str | None, threads: int | None, limits: Mapping[str, float]
) -> Bench:
    """The bench of that name, as asked for on a command line.

    Raises:
        ValueError: no preset has that name, or the lengths are not positive integers.
    """
    if name not in PRESETS:
        raise ValueError(f"bench: {name!r} is none of {', '.join(PRESETS)}, start")
    chosen = PRESETS[name]
    return chosen.make(
        parse_lengths(lengths) if lengths else chosen.lengths, threads or cores(), **limits
    )


def parse_lengths(text: str) -> tuple[int, ...]:
    """`"128,512"` as numbers, ascending. Raises ValueError where one is no positive integer."""
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = [0]
    if found[0] < 1:
        raise ValueError(f"lengths: {text!r} is not a list of positive integers like 128,512")
    return tuple(found)


def notes(name: str, cost: Cost) -> list[str]:
    """What the reader of a preset's table has to know."""
    found = [f"{cost.device}, {cost.bench.threads} threads; times are of the fastest round"]
    found += [f"{workload}: {reason}" for workload, reason in cost.stopped.items()]
    absent = [peer for peer in PRESETS[name].peers if not peers.available(peer)]
    if absent:
        found.append(f"not installed: {', '.join(absent)}")
    return found
