"""The Status page: when and where each chapter was last executed, and how long it took.

Executed notebooks carry no times and no machine, so that they can be compared byte for byte. Both
are kept here, in one git-ignored file per chapter (`book/_generated/status/NAME.json`), from which
the page's table is made when the book is rendered.
"""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fcilib.ledger.wanted import coverage
from fcilib.storage.files import write_atomic
from fcilib.study.profiles import PROFILES
from fcilib.system.machine import cores, processor, provenance
from fcilib.training.records import Records

BOOK_PACKAGES = ("papermill", "jupyter-book")

COVERAGE = (
    "The ledger needs every condition of its catalogue under three seeds, and with both sets of "
    "candidates where there is a router. Today's methods (12) are on the paper's task, with the "
    "query excluded. So many of these runs are recorded at each profile; `fci sweep` trains those "
    "that are missing."
)


def write_report(
    book: Path,
    chapter: str,
    notebook: Mapping[str, Any],
    parameters: Mapping[str, Any],
    started: float,
) -> None:
    """Keep what the page shows of an executed notebook; the duration is papermill's."""
    run = notebook["metadata"]["papermill"]
    when = datetime.datetime.fromtimestamp(started, datetime.UTC)
    report = {
        "started": when.isoformat(timespec="seconds"),
        "seconds": round(run["duration"], 1),
        "parameters": dict(parameters),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": processor(),
            "cores": cores(),
            "versions": provenance()["versions"] | {n: version(n) for n in BOOK_PACKAGES},
        },
    }
    path = book / "_generated" / "status" / f"{chapter}.json"
    write_atomic(path, json.dumps(report, indent=1) + "\n")


def read_reports(book: Path) -> dict[str, dict[str, Any]]:
    """Return the reports by chapter. One that cannot be read counts as none: it is made again."""
    reports = {}
    for path in sorted((book / "_generated" / "status").glob("*.json")):
        try:
            report = json.loads(path.read_bytes())
            report_cells(report)
            _machine_text(report["machine"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
        reports[path.stem] = report
    return reports


def report_cells(report: Mapping[str, Any]) -> list[str]:
    """When a chapter was executed, how long it took, its profile, seeds and executor."""
    values = (report["parameters"].get(name, "") for name in ("profile", "seeds", "executor"))
    started = report["started"][:16].replace("T", " ")
    return [started, seconds_text(report["seconds"]), *map(str, values)]


def seconds_text(seconds: float) -> str:
    """Write a duration as people say it: `8 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def coverage_table(records: Path) -> str:
    """How many of the runs that the ledger needs are recorded, by chapter and profile, as MyST."""
    by_profile = {
        name: coverage(Records(records / name), PROFILES[name]) for name in ("quick", "paper")
    }
    lines = [f"| chapter | {' | '.join(by_profile)} |", "| --- | --: | --: |"]
    for chapter in by_profile["paper"]:
        cells = (f"{have} of {total}" for have, total in (c[chapter] for c in by_profile.values()))
        lines.append(f"| {chapter} | {' | '.join(cells)} |")
    sums = (map(sum, zip(*counts.values(), strict=True)) for counts in by_profile.values())
    lines.append(f"| all | {' | '.join(f'{have} of {total}' for have, total in sums)} |")
    return "\n".join(lines)


def write_status(book: Path, chapters: Sequence[str], records: Path) -> Path:
    """Write the Markdown that the Status page includes.

    Args:
        book: the folder of pages.
        chapters: their names, in order.
        records: the folder of all profiles' records.
    """
    reports = read_reports(book)
    lines = [
        "| chapter | executed (UTC) | took | profile | seeds | executor |",
        "| --- | --- | --: | --- | --: | --- |",
    ]
    machines: dict[str, list[str]] = {}
    for name in chapters:
        made = reports.get(name)
        if made is None:
            lines.append(f"| `{name}` | not here; as committed | | | | |")
            continue
        lines.append(f"| `{name}` | {' | '.join(report_cells(made))} |")
        machines.setdefault(_machine_text(made["machine"]), []).append(name)
    if not chapters:
        lines = ["There are no chapters yet."]
    for text, names in machines.items():
        which = ", ".join(f"`{name}`" for name in names)
        lines += ["", f"{which}: {text}"]
    lines += ["", COVERAGE, "", coverage_table(records)]
    path = book / "_generated" / "status.md"
    write_atomic(path, "\n".join(lines) + "\n")
    return path


def _machine_text(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return f"{machine['system']}, {machine['processor']}, {machine['cores']} cores; {versions}."
