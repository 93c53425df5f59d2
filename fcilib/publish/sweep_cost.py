"""The tables of what a sweep at the paper's sizes would cost, for the page on clusters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fcilib.storage.files import write_atomic
from fcilib.study.extrapolation import (
    CHECKED,
    EXTRAPOLATED,
    MACHINES,
    MEASURED,
    SHORT,
    checks,
    factors,
    has_sizes,
    makespan,
    seconds_a_sequence,
)
from fcilib.training.records import Record, Records


def write_sweep_cost(book: Path, records: Path) -> None:
    """Make the part that a page of the book includes, `book/_generated/sweep-cost.md`.

    Args:
        book: the folder of pages.
        records: the folder of all profiles' records.

    Raises:
        RecordError: a record can't be trusted.
    """
    costs = cost_table(list(Records(records / "quick")))
    checked = check_table(Records(records / "scaling"))
    write_atomic(book / "_generated" / "sweep-cost.md", f"{costs}\n\n{checked}\n")


def cost_table(runs: Sequence[Record]) -> str:
    """What the recorded sweep took, and what it would take at the paper's sizes, as MyST."""
    left_out = [record for record in runs if not has_sizes(record.experiment)]
    runs = [record for record in runs if has_sizes(record.experiment)]
    if not runs:
        return "There are no records of the profile `quick` to extrapolate from."
    spent = [record.seconds for record in runs]
    pairs = [factors(record.experiment) for record in runs]
    low, high = (
        [seconds * factor for seconds, factor in zip(spent, column, strict=True)]
        for column in zip(*pairs, strict=True)
    )
    processors = ", ".join(sorted({record.device for record in runs}))
    others = f" {len(left_out)} more, of tasks that no profile has a size for, are left out."
    lines = [
        f"Measured: the {len(runs)} recorded runs of the profile `quick` took "
        f"{duration(sum(spent))} of one core ({processors}). Extrapolated: at the paper's sizes "
        f"all of them would take {duration(sum(low))} to {duration(sum(high))} of such a core, "
        f"the longest {duration(max(low))} to {duration(max(high))}.{others if left_out else ''}",
        "",
        "| extrapolated, not measured | runs at a time | low estimate | high estimate |",
        "| --- | --: | --: | --: |",
    ]
    for name, (places, speedup) in MACHINES.items():
        times = [makespan(seconds, places) / speedup for seconds in (low, high)]
        if speedup != 1:
            name += f", each *assumed* to be {speedup:g} times as fast as a core"
        lines.append(f"| {name} | {places} | {' | '.join(map(duration, times))} |")
    return "\n".join(lines)


def check_table(records: Records) -> str:
    """How the factors compare with those measured in short runs, as MyST."""
    lines = [
        "| representation | measured factor | low estimate | high estimate | it is |",
        "| --- | --: | --: | --: | --- |",
    ]
    for name in CHECKED:
        small, large = (seconds_a_sequence(records, name, profile) for profile in SHORT)
        if small is None or large is None:
            lines.append(f"| {name} | not measured | | | |")
            continue
        more = EXTRAPOLATED.training.epochs / MEASURED.training.epochs
        low, high = (factor / more for factor in factors(checks(name, "quick")[0]))
        ratio = large / small
        where = "below both" if ratio < low else "above both" if ratio > high else "between them"
        lines.append(f"| {name} | {ratio:.1f} | {low:g} | {high:g} | {where} |")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """As roughly as an extrapolation deserves: `2.4 hours`, `31 hours`, `12 days`."""
    hours = seconds / 3600
    if hours >= 72:
        return f"{hours / 24:.0f} days"
    return f"{hours:.1f} hours" if hours < 10 else f"{hours:.0f} hours"
