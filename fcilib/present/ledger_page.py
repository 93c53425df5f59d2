"""The ledger as a reader meets it: the page of claims, its summary, the contradictions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

from fcilib.ledger.claims import Claim, Contradiction, contradictions
from fcilib.ledger.ledger import VERDICTS, Entry, ledger, sensitive, summary
from fcilib.present.tables import anchor_of, measured
from fcilib.storage.files import write_atomic
from fcilib.study.notation import NONE, percent
from fcilib.study.profiles import PROFILES
from fcilib.training.records import Records

HERE = Path(__file__).parent

SHOWN = ("quick", "paper")
"""The profiles that stand side by side, each with verdicts of its own."""

WIDER = 0.05
"""Another margin, for readers who want to know what the rule of agreement decides."""

Entries = Mapping[str, Entry]


def write_ledger_pages(book: Path, records: Path) -> None:
    """Make the parts that pages of the book include, in `book/_generated/`.

    Args:
        book: the folder of pages and executed chapters.
        records: the folder of all profiles' records.

    Raises:
        RecordError: a record can't be trusted.
    """
    entries = {name: ledger(Records(records / name), PROFILES[name]) for name in SHOWN}
    folder = book / "_generated"
    write_atomic(folder / "claims.html", ledger_table(entries, decided_in(book)) + "\n")
    write_atomic(folder / "summary.html", bar(entries[SHOWN[0]]) + "\n")
    write_atomic(folder / "contradictions.md", contradictions_list(contradictions()) + "\n")


def decided_in(book: Path) -> dict[str, list[str]]:
    """The executed chapters whose tables hold a row for a claim, in order, by claim."""
    found: dict[str, list[str]] = {}
    anchor = re.compile(anchor_of(r"([\w.-]+)") + r'\\"')
    for notebook in sorted(book.glob("[0-9][0-9]_*.ipynb")):
        for name in dict.fromkeys(anchor.findall(notebook.read_text(encoding="utf-8"))):
            found.setdefault(name, []).append(notebook.stem)
    return found


def bar(entries: Entries) -> str:
    """The counts of verdicts as one bar."""
    counts = summary(entries)
    parts = "".join(
        f'<span class="{_css(kind)}" style="flex-grow: {count}">{count}</span>'
        for kind, count in counts.items()
        if count
    )
    legend = "".join(
        f'<span><i class="{_css(kind)}"></i>{_title(kind)}: {count}</span>'
        for kind, count in counts.items()
    )
    label = ", ".join(f"{_title(kind)}: {count}" for kind, count in counts.items())
    return (
        f'<div class="ledger-bar" role="img" aria-label="{label}">{parts}</div>'
        f'<p class="ledger-legend">{legend}</p>'
    )


def ledger_table(entries: Mapping[str, Entries], chapters: Mapping[str, list[str]]) -> str:
    """The bar, a search field, filters, and a row for each claim."""
    first = entries[SHOWN[0]]
    kinds = "".join(
        f'<label><input type="checkbox" value="{_css(kind)}" checked> {_title(kind)}</label>'
        for kind in VERDICTS
    )
    known = sorted({chapter for found in chapters.values() for chapter in found})
    options = "".join(f'<option value="{name}">{name[:2]}</option>' for name in known)
    measuring, *others = (f"<code>{p}</code>" for p in SHOWN)
    heads = f"<th>measured at {measuring}</th><th>chance</th><th>verdict at {measuring}</th>"
    heads += "".join(f"<th>at {other}</th>" for other in others)
    rows = "\n".join(
        _row(name, {p: e[name] for p, e in entries.items()}, chapters.get(name, []))
        for name in first
    )
    other = ", ".join(f'<a href="#{n}"><code>{n}</code></a>' for n in sensitive(first, WIDER))
    script = (HERE / "ledger_page.js").read_text(encoding="utf-8").strip()
    return f"""{bar(first)}
<p>Were the margin {100 * WIDER:.0f} points for all, these verdicts at <code>{SHOWN[0]}</code>
would be others: {other or "none"}.</p>
<div class="ledger" id="ledger">
<form class="ledger-tools" onsubmit="return false">
<input type="search" placeholder="Search {len(first)} claims" aria-label="Search claims">
<select aria-label="Chapter"><option value="">all chapters</option>{options}</select>
{kinds}<output></output>
</form>
<div class="ledger-scroll"><table>
<thead><tr><th>claim</th><th>paper</th>{heads}</tr></thead>
<tbody>
{rows}
</tbody></table></div>
</div>
<script>
{script}
</script>"""


def contradictions_list(found: Mapping[str, Contradiction]) -> str:
    """A MyST table of what the paper says twice, differently."""
    lines = ["```{list-table}", ":header-rows: 1", ":widths: 40 25 35", ""]
    lines += ["* - what", "  - where", "  - how it is read here"]
    for entry in found.values():
        lines += [f"* - {entry.what}", f"  - {entry.where}", f"  - {entry.reading or '–'}"]
    return "\n".join([*lines, "```"])


def plain_measured(entry: Entry) -> str:
    """What was measured, for a terminal: a line per protocol, or why there is nothing."""
    return entry.reason or "\n".join(line for line, _ in _lines(entry))


def _row(name: str, by_profile: Entries, chapters: list[str]) -> str:
    entry = by_profile[SHOWN[0]]
    claim = entry.claim
    links = ", ".join(
        f'<a href="{chapter}.html#{anchor_of(name)}">chapter {int(chapter[:2])}</a>'
        for chapter in chapters
    )
    note = f"<p>{escape(claim.note)}</p>" if claim.note else ""
    cells = _measured(entry) + _verdict(entry)
    for other in list(by_profile.values())[1:]:
        text = "<br>".join(escape(line) for line, _ in _lines(other))
        cells += _verdict(other, text) if _has_seeds(other) else _open(text)
    decided = ", ".join(f"<code>{d}</code>" for d in claim.decided_by) or "nothing here"
    return (
        f'<tr id="{name}" data-kind="{_css(entry.kind)}" data-chapters="{" ".join(chapters)}">'
        f"<td><b>{escape(claim.statement)}</b> "
        f'<span class="ledger-place">{escape(claim.place)}</span>'
        f'<details><summary><a href="#{name}"><code>{name}</code></a> {links}</summary>'
        f"<p>{_rule(claim)} Decided by {decided}.</p>{note}</details></td>"
        f"<td>{escape(str(claim))}</td>{cells}</tr>"
    )


def _rule(claim: Claim) -> str:
    """How a number is held against the claim, in a sentence."""
    what = {"mean": "The mean", "sd": "The standard deviation over seeds"}[claim.statistic]
    if claim.progress < 1:
        what += f", after {claim.progress:.0%} of training,"
    if claim.tolerance is None:
        margin = "within two points or two standard deviations"
    elif claim.tolerance == 0 or claim.statistic == "sd":
        margin = "on this side of it"
    else:
        margin = f"within {percent(claim.tolerance) if claim.unit == 'share' else claim.tolerance}"
    return f"{what} of <code>{claim.metric}</code> is to be {_relation(claim)}, {margin}."


def _relation(claim: Claim) -> str:
    return f"{claim.relation.replace('equals', 'equal to')} {escape(str(claim).lstrip('≤≥ '))}"


def _measured(entry: Entry) -> str:
    """Two cells: each protocol's number, a range where several experiments decide; its chance."""
    if entry.reason:
        return f'<td colspan="2" class="ledger-reason">{escape(entry.reason)}</td>'
    numbers, chances = zip(*_lines(entry), strict=True)
    return "".join(f"<td>{'<br>'.join(map(escape, column))}</td>" for column in (numbers, chances))


def _verdict(entry: Entry, found: str = "") -> str:
    text = f"{found}<br>{escape(entry.verdict)}" if found else escape(entry.verdict)
    return f'<td class="{_css(entry.kind)}">{text}</td>'


def _has_seeds(entry: Entry) -> bool:
    """True if no experiment stands on a single seed, which is too few for a verdict."""
    return all(finding.n > 1 for finding in entry.findings)


def _open(measured: str) -> str:
    return f'<td class="{_css("not tested")}">{measured}<br>open: one seed</td>'


def _lines(entry: Entry) -> list[tuple[str, str]]:
    """By protocol, the number and its chance level."""
    lines = []
    for protocol, part in entry.by_protocol.items():
        text = measured(entry.claim, part)
        known = [f.chance for f in part if not math.isnan(f.chance)]
        chance = entry.claim.write(max(known), math.nan) if known else NONE
        lines.append((f"{protocol}: {text}" if protocol else text, chance))
    return lines


def _css(kind: str) -> str:
    return "ledger-" + kind.replace(" ", "-")


def _title(kind: str) -> str:
    return {"only under": "only under one protocol"}.get(kind, kind)
