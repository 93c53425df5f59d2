"""Benches of the scan and of a Mamba block, which `fci bench` runs, and what a preset is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from fcilib.cost import peers
from fcilib.cost.bench import Bench, Cost
from fcilib.cost.workloads import Arithmetic, MambaPass, Scan, Workload
from fcilib.system.machine import cores

LIMIT = "arithmetic limit"
UNBIND = "reference (unbind)"


def scans() -> dict[str, Workload]:
    """Every back end and peer that runs here, at B=32, d=256, N=16, and the arithmetic limit."""
    titles = {"reference": UNBIND, "slicing": "slicing loop", "mambapy": "mambapy pscan"}
    names = [n for n in peers.SCANS if peers.available(n) and n not in peers.GPU_ONLY]
    return {LIMIT: Arithmetic(), **{titles.get(n, n): Scan(backend=n) for n in names}}


def blocks() -> dict[str, Workload]:
    """A whole Mamba block of width 128 at B=32: ours and those of mambapy and transformers."""
    titles = {"transformers": "transformers, slow path"}
    names = filter(peers.available, peers.BLOCKS)
    return {titles.get(n, n): MambaPass(implementation=n) for n in names}


@dataclass(frozen=True)
class Preset:
    """A bench by name, as the command line offers it."""

    workloads: Callable[[], dict[str, Workload]]
    lengths: tuple[int, ...]
    base: str
    """The workload that ratios are taken to."""
    peers: tuple[str, ...] = ()
    """Whatever could take part."""
    backward: bool = True
    """Whether its workloads have a backward pass."""


PRESETS: Mapping[str, Preset] = {
    "scan": Preset(scans, tuple(2**i for i in range(7, 14)), UNBIND, peers.SCANS),
    "block": Preset(blocks, (128, 512), "fcilib", peers.BLOCKS),
}


def bench(
    preset: Preset, lengths: str | None, threads: int | None, limits: Mapping[str, Any]
) -> Bench:
    """The preset's bench.

    Args:
        preset: what takes part.
        lengths: such as `"128,512"`; None for the preset's own.
        threads: None for all cores.
        limits: fields of `Bench`.

    Raises:
        ValueError: the lengths are not positive integers, or a limit is none.
    """
    numbers = preset.lengths
    if lengths is not None:
        parts = lengths.split(",")
        if not all(part.strip().isdecimal() and int(part) for part in parts):
            raise ValueError(
                f"lengths: {lengths!r} is not a list of positive integers like 128,512"
            )
        numbers = tuple(sorted(set(map(int, parts))))
    workloads, threads = preset.workloads(), threads or cores()
    try:
        return Bench(workloads=workloads, lengths=numbers, threads=threads, **limits)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"{fault['loc'][0]}: {fault['msg'].lower()}") from None


def notes(preset: Preset, cost: Cost) -> list[str]:
    """What the reader of a preset's table has to know."""
    lines = [f"{cost.device}, {cost.bench.threads} threads; times are of the fastest round"]
    lines += [f"{workload}: {reason}" for workload, reason in cost.stopped.items()]
    absent = [peer for peer in preset.peers if not peers.available(peer)]
    if absent:
        lines.append(f"not installed: {', '.join(absent)}")
    return lines
