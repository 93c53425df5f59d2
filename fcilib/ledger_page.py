"""The ledger as a reader meets it: the page of claims, its summary, the contradictions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

from fcilib.claims import Claim, Contradiction, anchor_of, contradictions, number, percent, spread
from fcilib.files import write_atomic
from fcilib.ledger import VERDICTS, Entry, Finding, ledger, summary
from fcilib.profiles import PROFILES
from fcilib.records import Records

SHOWN = ("quick", "paper")
"""The profiles that stand side by side, each with verdicts of its own."""

Entries = Mapping[str, Entry]


def write(book: Path, records: Path) -> None:
    """Make the parts that pages of the book include, in `book/_generated/`.

    Args:
        book: the folder of pages and executed chapters.
        records: the folder of all profiles' records.

    Raises:
        RecordError: a record can't be trusted.
    """
    entries = {name: ledger(Records(records / name), PROFILES[name]) for name in SHOWN}
    folder = book / "_generated"
    write_atomic(folder / "claims.html", table(entries, decided_in(book)) + "\n")
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


def table(entries: Mapping[str, Entries], chapters: Mapping[str, list[str]]) -> str:
    """The bar, a search field, filters, and a row for each claim."""
    first = entries[SHOWN[0]]
    kinds = "".join(
        f'<label><input type="checkbox" value="{_css(kind)}" checked> {_title(kind)}</label>'
        for kind in VERDICTS
    )
    known = sorted({chapter for found in chapters.values() for chapter in found})
    options = "".join(f'<option value="{name}">{name[:2]}</option>' for name in known)
    heads = "".join(f"<th>measured at <code>{p}</code></th><th>verdict</th>" for p in SHOWN)
    rows = "\n".join(
        _row(name, {p: e[name] for p, e in entries.items()}, chapters.get(name, []))
        for name in first
    )
    return f"""{bar(first)}
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
{SCRIPT}
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
    cells = "".join(
        f'<td>{_measured(found)}</td><td class="{_css(found.kind)}">{escape(found.verdict)}</td>'
        for found in by_profile.values()
    )
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
    """Each protocol's number, with its chance level; a range where several experiments decide."""
    if entry.reason:
        return f'<span class="ledger-reason">{escape(entry.reason)}</span>'
    return "<br>".join(
        f'{escape(line)}<span class="ledger-chance">{chance}</span>'
        for line, chance in _lines(entry)
    )


def _lines(entry: Entry) -> list[tuple[str, str]]:
    """By protocol, the number and its chance level."""
    lines = []
    for protocol in dict.fromkeys(finding.protocol for finding in entry.findings):
        part = [f for f in entry.findings if f.protocol == protocol]
        text = _number(entry.claim, part)
        known = [f.chance for f in part if not math.isnan(f.chance)]
        chance = f"; chance {_write(entry.claim, max(known), math.nan)}" if known else ""
        lines.append((f"{protocol}: {text}" if protocol else text, chance))
    return lines


def _number(claim: Claim, part: list[Finding]) -> str:
    if claim.statistic == "sd":
        values = [finding.sd for finding in part]
    elif len(part) == 1:
        return _write(claim, part[0].mean, part[0].sd)
    else:
        values = [finding.mean for finding in part]
    ends = [_write(claim, value, math.nan) for value in (min(values), max(values))]
    return " to ".join(dict.fromkeys(ends))


def _write(claim: Claim, mean: float, sd: float) -> str:
    return (spread if claim.unit == "share" else number)(mean, sd)


def _css(kind: str) -> str:
    return "ledger-" + kind.replace(" ", "-")


def _title(kind: str) -> str:
    return {"only under": "only under one protocol"}.get(kind, kind)


SCRIPT = """(function () {
  const root = document.getElementById("ledger");
  const rows = [...root.querySelectorAll("tbody tr")];
  const text = root.querySelector("input[type=search]");
  const chapter = root.querySelector("select");
  const kinds = [...root.querySelectorAll("input[type=checkbox]")];
  function show() {
    const words = text.value.toLowerCase().split(/\\s+/).filter(Boolean);
    const wanted = new Set(kinds.filter((k) => k.checked).map((k) => k.value));
    let left = 0;
    for (const row of rows) {
      const content = row.textContent.toLowerCase();
      const hit = words.every((word) => content.includes(word))
        && wanted.has(row.dataset.kind)
        && (!chapter.value || row.dataset.chapters.split(" ").includes(chapter.value));
      row.hidden = !hit;
      left += hit;
    }
    root.querySelector("output").textContent = `${left} of ${rows.length}`;
  }
  function arrive() {
    const row = rows.find((r) => "#" + r.id === location.hash);
    if (row) { row.querySelector("details").open = true; row.scrollIntoView({block: "center"}); }
  }
  root.querySelector("form").addEventListener("input", show);
  window.addEventListener("hashchange", arrive);
  show();
  arrive();
})();"""
"""Search and filters of the page; no library, nothing from outside."""
