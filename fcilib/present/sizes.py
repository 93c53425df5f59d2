"""Which conclusions hold at both sizes, and which the paper's sizes changed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from fcilib.ledger.catalogue import ONLY, catalogue
from fcilib.ledger.claims import Claim, Direction
from fcilib.ledger.findings import Finding
from fcilib.ledger.ledger import BOOK, PAPER, Entry, decisive
from fcilib.ledger.verdict import OPEN, directed
from fcilib.present.ledger_files import Entries
from fcilib.storage.files import write_atomic
from fcilib.study.notation import NONE
from fcilib.study.profiles import PROFILES

TRUE, FALSE = "true", "false"


def write_sizes(book: Path, entries: Mapping[str, Entries]) -> None:
    """Write the tables that the page on certainty and the author's page include."""
    write_atomic(book / "_generated" / "sizes_answer.md", size_answer(entries) + "\n")
    write_atomic(book / "_generated" / "sizes.md", size_tables(entries) + "\n")
    write_atomic(book / "_generated" / "undefined.md", undefined_table(decisive(entries)) + "\n")


def measured_text(entry: Entry, protocol: str) -> str:
    """What was measured under a protocol; a dash where there is no record.

    The standard deviation of two seeds says little, so their interval takes its place.
    """
    part = entry.by_protocol.get(protocol, [])
    if not part:
        return NONE
    if part[0].n != 2:
        return entry.claim.write(part[0].mean, part[0].sd)
    ends = (part[0].mean, part[0].interval.low, part[0].interval.high)
    mean, low, high = (entry.claim.write(end, math.nan) for end in ends)
    return f"{mean} (two seeds, 95% interval from {low} to {high})"


def statement(claim: Claim) -> Direction | None:
    """The line that divides a claim's statement from its contrary; None where there is none.

    It is the claim's direction, or the claim itself if it is a bound. No margin is added to it.
    """
    if claim.direction or claim.relation == "equals":
        return claim.direction
    return Direction(relation=claim.relation, value=claim.value)


def side(claim: Claim, finding: Finding) -> str | None:
    """Whether a claim's statement is true or false by one finding; None if the interval has both.

    Raises ValueError for a claim that has no `statement`.
    """
    answer = directed(claim.model_copy(update={"direction": statement(claim)}), finding)
    return {True: TRUE, False: FALSE, None: None}[answer]


def sides(entries: Mapping[str, Entries]) -> dict[tuple[str, str, str], tuple[str, str]]:
    """By claim, condition and protocol, the side at the book's size and at the paper's.

    Only what was measured at both sizes and is sure at both is here. Claims on what the paper does
    not define, on a spread, and on a number alone are left out; so is a claim that says of the same
    runs and metric what an earlier one says.
    """
    return {key: (a, b) for key, (a, b, _) in _compared(entries).items() if a and b}


def _compared(
    entries: Mapping[str, Entries],
) -> dict[tuple[str, str, str], tuple[str | None, str | None, int]]:
    """As `sides`, with those that have no answer at one size, and the seeds at the paper's."""
    found, met = {}, set()
    for name, entry in entries[PAPER].items():
        claim = entry.claim
        if claim.undefined or claim.statistic != "mean" or statement(claim) is None:
            continue
        small = {(f.experiment, f.protocol): f for f in entries[BOOK][name].findings}
        for finding in entry.findings:
            twin = small.get((finding.experiment, finding.protocol))
            if twin is None:
                continue
            told = (finding.records, claim.metric, claim.progress, statement(claim))
            if told not in met:
                met.add(told)
                key = name, finding.experiment, finding.protocol
                found[key] = side(claim, twin), side(claim, finding), finding.n
    return found


def size_answer(entries: Mapping[str, Entries]) -> str:
    """How many comparisons both sizes answer alike, of how many, and how many have one seed."""
    asked = _compared(entries).values()
    seeds = [n for small, large, n in asked if small and large]
    same = sum(small == large for small, large in sides(entries).values())
    return f"""**The answer.** Few of them depend on size, as far as one or a few seeds tell.

**What we found.** For each claim of the paper and each model we asked at both sizes whether the
claim is true: {len(asked)} comparisons. {len(seeds)} of these comparisons have an answer at both
sizes, and in {same} it is the same. At the paper’s sizes {seeds.count(1)} of the {len(seeds)} rest
on one seed, and many share their training runs."""


def size_tables(entries: Mapping[str, Entries]) -> str:
    """What the paper's sizes turned, and, folded, what both sizes agree on, as Markdown tables."""
    found = sides(entries)
    same = [key for key, (small, large) in found.items() if small == large]
    turned = [key for key, (small, large) in found.items() if small != large]
    return f"""**The {len(turned)} that change with size**

:::{{container}} compact
{_table(entries, found, turned)}
:::

::::{{dropdown}} The {len(same)} with the same answer at both sizes
:::{{container}} compact
{_table(entries, found, same)}
:::
::::"""


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
        "| claim | models | line | at `quick` | at the paper’s sizes |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (name, small, large), pairs in rows.items():
        claim = entries[PAPER][name].claim
        cells = [
            f'<a href="claims.html#{name}">{claim.statement.rstrip(".")}</a>',
            _models(pairs),
            _statement(claim),
        ]
        for profile, answer in ((BOOK, small), (PAPER, large)):
            cells.append(f"{answer}: {_numbers(entries[profile][name], pairs)}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _models(pairs: list[tuple[str, str]]) -> str:
    """The labels of some conditions, each with its protocol where only one is meant."""
    known = catalogue(PROFILES[PAPER])
    protocols: dict[str, list[str]] = {}
    for experiment, protocol in pairs:
        protocols.setdefault(experiment, []).append(protocol)
    return "; ".join(
        known[name].label + (f" (“{only[0]}”)" if len(only) == 1 and only != [ONLY] else "")
        for name, only in protocols.items()
    )


def _statement(claim: Claim) -> str:
    """The metric, unless it is precision, and the side of the line on which the claim stands."""
    behind = statement(claim)
    if behind is None:
        raise ValueError("claim: it has no statement")
    metric = "" if claim.metric == "precision" else f"{claim.metric.replace('_', ' ')} "
    if behind.value is None:
        return f"{metric}{behind.relation}"
    sign = {"at most": "≤", "at least": "≥"}[behind.relation]
    return f"{metric}{sign} {claim.write(behind.value, math.nan)}"


def _numbers(entry: Entry, pairs: list[tuple[str, str]]) -> str:
    """The lowest and the highest mean of some conditions and protocols."""
    means = [f.mean for f in entry.findings if (f.experiment, f.protocol) in pairs]
    ends = (entry.claim.write(end(means), math.nan) for end in (min, max))
    return " to ".join(dict.fromkeys(ends))


def undefined_table(entries: Mapping[str, Entry]) -> str:
    """What the paper leaves undefined and the claims that wait for it: their counts and a table.

    `entries`: of each claim the one that decides.
    """
    waiting: dict[str, list[str]] = {}
    for name, entry in entries.items():
        if entry.claim.undefined:
            link = f'<a href="claims.html#{name}"><code>{name}</code></a>'
            waiting.setdefault(entry.claim.undefined, []).append(link)
    undecided = [entry for entry in entries.values() if entry.judgement.kind == OPEN]
    ours = sum(not entry.claim.undefined for entry in undecided)
    many = sum(map(len, waiting.values()))
    also = many - (len(undecided) - ours)
    lines = [
        f"{many} claims wait for a definition. In [the ledger](claims.md) {many - also} of them "
        f"are *open*. The other {also} also need pretrained weights, and are *not testable here*. "
        f"The ledger’s {ours} other open claims wait for runs or measurements of ours.",
        "",
        "| what would have to be defined | claims that wait for it |",
        "| --- | --- |",
    ]
    lines += [f"| {what} | {', '.join(links)} |" for what, links in waiting.items()]
    return "\n".join(lines)
