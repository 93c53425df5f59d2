"""Which conclusions hold at both sizes, and which the paper's sizes changed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from fcilib.ledger.claims import Claim
from fcilib.ledger.findings import Finding
from fcilib.ledger.ledger import BOOK, PAPER, Entry
from fcilib.ledger.verdict import compared, directed
from fcilib.present.ledger_files import Entries
from fcilib.storage.files import write_atomic
from fcilib.study.notation import NONE

ON_ITS_SIDE, BEYOND = "stands", "fails"


def write_sizes(book: Path, entries: Mapping[str, Entries]) -> None:
    """Write the tables that the page on certainty and the author's page include."""
    write_atomic(book / "_generated" / "sizes.md", size_tables(entries) + "\n")
    write_atomic(book / "_generated" / "undefined.md", undefined_table(entries[PAPER]) + "\n")


def measured_text(entry: Entry, protocol: str) -> str:
    """What was measured under a protocol; a dash where there is no record."""
    part = entry.by_protocol.get(protocol, [])
    return entry.claim.write(part[0].mean, part[0].sd) if part else NONE


def side(claim: Claim, finding: Finding) -> str | None:
    """Whether the statement behind a claim stands or fails by one finding; None if neither is sure.

    The statement is the claim's direction where it has one, else agreement with its number.
    """
    answer = directed(claim, finding) if claim.direction else compared(claim, finding)
    return {True: ON_ITS_SIDE, False: BEYOND, None: None}[answer]


def sides(entries: Mapping[str, Entries]) -> dict[tuple[str, str, str], tuple[str, str]]:
    """By claim, condition and protocol, the side at the book's size and at the paper's.

    Only what was measured at both sizes and is sure at both is here. Claims on what the paper does
    not define, and on a spread, are left out; so is a claim that says of the same runs and metric
    what an earlier one says.
    """
    found, met = {}, set()
    for name, entry in entries[PAPER].items():
        claim = entry.claim
        if claim.undefined or claim.statistic != "mean":
            continue
        small = {(f.experiment, f.protocol): f for f in entries[BOOK][name].findings}
        for finding in entry.findings:
            twin = small.get((finding.experiment, finding.protocol))
            if twin is None:
                continue
            pair = side(claim, twin), side(claim, finding)
            told = (finding.records, claim.metric, claim.progress, _statement(claim))
            if pair[0] and pair[1] and told not in met:
                met.add(told)
                found[name, finding.experiment, finding.protocol] = (pair[0], pair[1])
    return found


def size_tables(entries: Mapping[str, Entries]) -> str:
    """What both sizes agree on, and what the paper's sizes turned, as Markdown tables."""
    found = sides(entries)
    same = [key for key, (small, large) in found.items() if small == large]
    turned = [key for key, (small, large) in found.items() if small != large]
    return f"""{len(found)} comparisons of a claim with a condition were sure at both sizes. In
{len(same)} of them both sizes give the same answer; in {len(turned)} the answer changes. A row
joins those that are alike.

**The same at both sizes**

{_table(entries, found, same)}

**Changed by the paper’s sizes**

{_table(entries, found, turned)}"""


def _table(
    entries: Mapping[str, Entries],
    found: Mapping[tuple[str, str, str], tuple[str, str]],
    keys: list[tuple[str, str, str]],
) -> str:
    """A row for each claim and answer; conditions and protocols with the same answer share it."""
    if not keys:
        return "None."
    rows: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for name, experiment, protocol in keys:
        rows.setdefault((name, *found[name, experiment, protocol]), []).append(
            (experiment, protocol)
        )
    lines = [
        "| claim | statement behind it | at `quick` | at the paper’s sizes |",
        "| --- | --- | --- | --- |",
    ]
    times = Counter(name for name, *_ in rows)
    for (name, small, large), pairs in rows.items():
        claim = entries[PAPER][name].claim
        which = dict.fromkeys(experiment for experiment, _ in pairs)
        of = f" (of these: {', '.join(which)})" if times[name] > 1 else ""
        metric = "" if claim.metric == "precision" else f"{claim.metric.replace('_', ' ')} "
        cells = [
            f'<a href="claims.html#{name}">{claim.statement.rstrip(".")}</a>{of}',
            f"{metric}{_statement(claim)}",
        ]
        for profile, answer in ((BOOK, small), (PAPER, large)):
            cells.append(f"{answer}: {_numbers(entries[profile][name], pairs)}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _statement(claim: Claim) -> str:
    return claim.behind or str(claim)


def _numbers(entry: Entry, pairs: list[tuple[str, str]]) -> str:
    """The lowest and the highest mean of some conditions and protocols."""
    means = [f.mean for f in entry.findings if (f.experiment, f.protocol) in pairs]
    ends = (entry.claim.write(end(means), math.nan) for end in (min, max))
    return " to ".join(dict.fromkeys(ends))


def undefined_table(entries: Mapping[str, Entry]) -> str:
    """What the paper leaves undefined and the claims that wait for it, as a Markdown table."""
    waiting: dict[str, list[str]] = {}
    for name, entry in entries.items():
        if entry.claim.undefined:
            link = f'<a href="claims.html#{name}"><code>{name}</code></a>'
            waiting.setdefault(entry.claim.undefined, []).append(link)
    lines = ["| what would have to be defined | claims that wait for it |", "| --- | --- |"]
    lines += [f"| {what} | {', '.join(links)} |" for what, links in waiting.items()]
    return "\n".join(lines)
