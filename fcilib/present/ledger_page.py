"""The ledger as a reader meets it: the page of claims, its summary, the contradictions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

from fcilib.ledger import catalogue as catalogue_module
from fcilib.ledger.claims import Claim, Contradiction, contradictions
from fcilib.ledger.findings import Finding
from fcilib.ledger.ledger import BOOK, PAPER, Entry, decisive, evidence, summary
from fcilib.ledger.verdict import CONTRADICTED, HOLDS, NOT_HERE, OPEN, SUBSTANCE, UNDER
from fcilib.present.ledger_details import other_rules, statistics_part
from fcilib.present.ledger_files import Entries, ledger_csv, ledger_json
from fcilib.present.ledger_rule import (
    ALL_READINGS,
    BOUNDS,
    RUNS,
    SEEDS,
    answer,
    decided_table,
    examples,
    in_words,
    kind_of,
    lacking,
    open_table,
    rule_page,
    title_of,
    verdicts_table,
    written,
)
from fcilib.present.tables import anchor_of, as_measured
from fcilib.storage.files import write_atomic
from fcilib.study.notation import NONE

HERE = Path(__file__).parent

REPOSITORY = "https://github.com/fcilib/fcilib/blob/main"

STYLES = {
    HOLDS: "holds",
    UNDER: "under",
    SUBSTANCE: "substance",
    CONTRADICTED: "contradicted",
    OPEN: "open",
    NOT_HERE: "elsewhere",
}
"""The class, after `ledger-`, of whatever shows a kind of verdict."""


def write_ledger_pages(book: Path, entries: Mapping[str, Entries]) -> None:
    """Make the parts that pages of the book include, in `book/_generated/`.

    Args:
        book: the folder of pages and executed chapters.
        entries: the ledger's, by profile, as `whole_ledger` gives them.
    """
    folder = book / "_generated"
    decided = decisive(entries)
    parts = {
        "answer.md": answer(decided),
        "decided.md": decided_table(decided),
        "decided_more.md": decided_table(decided, aside=True),
        "verdicts.md": verdicts_table(decided),
        "examples.md": examples(decided),
        "rule.md": rule_page(decided),
        "open.md": open_table(decided),
        "other_rules.md": other_rules(decided),
        "statistics.md": statistics_part(decided),
        "claims.html": ledger_table(entries, decided_in(book)),
        "summary.html": bar(decided),
        "contradictions.md": contradictions_list(contradictions()),
        "ledger.csv": ledger_csv(entries),
        "ledger.json": ledger_json(entries),
    }
    for name, text in parts.items():
        write_atomic(folder / name, text.rstrip("\n") + "\n")


def decided_in(book: Path) -> dict[str, list[str]]:
    """The executed chapters whose tables hold a row for a claim, in order, by claim."""
    chapters: dict[str, list[str]] = {}
    anchor = re.compile(anchor_of(r"([\w.-]+)") + r'\\"')
    for notebook in sorted(book.glob("[0-9][0-9]_*.ipynb")):
        for name in dict.fromkeys(anchor.findall(notebook.read_text(encoding="utf-8"))):
            chapters.setdefault(name, []).append(notebook.stem)
    return chapters


def bar(entries: Entries) -> str:
    """The counts of verdicts as one bar, and the groups of trainings behind those that decide."""
    counts, results = summary(entries), evidence(entries)
    shown = {kind: count for kind, count in counts.items() if count}
    parts = " ".join(
        f'<span class="{_css(kind)}" style="flex-grow: {count}">{count}</span>'
        for kind, count in shown.items()
    )
    said = {kind: f"{count} claim{'s' if count > 1 else ''}" for kind, count in shown.items()}
    for kind in said.keys() - {OPEN, NOT_HERE}:
        said[kind] += f", {results[kind]} group{'s' if results[kind] > 1 else ''}"
    legend = " ".join(
        f'<span><i class="{_css(kind)}"></i>{kind_of(kind)}: {text}</span>'
        for kind, text in said.items()
    )
    label = "; ".join(f"{kind_of(kind)}: {text}" for kind, text in said.items())
    return (
        f'<div class="ledger-bar" role="img" aria-label="{label}">{parts}</div>\n'
        f'<p class="ledger-legend">{legend}</p>'
    )


def ledger_table(entries: Mapping[str, Entries], chapters: Mapping[str, list[str]]) -> str:
    """A search field, filters, and a row for each claim."""
    decided = decisive(entries)
    kinds = "".join(
        f'<label><input type="checkbox" value="{_css(kind)}" checked> '
        f"{kind_of(kind)} ({count})</label>"
        for kind, count in summary(decided).items()
    )
    known = sorted({chapter for names in chapters.values() for chapter in names})
    options = "".join(f'<option value="{name}">{name[:2]}</option>' for name in known)
    rows = "\n".join(
        _row(entry, entries[PAPER][name], entries[BOOK][name], chapters.get(name, []))
        for name, entry in decided.items()
    )
    script = (HERE / "ledger_page.js").read_text(encoding="utf-8").strip()
    return f"""<div class="ledger" id="ledger">
<form class="ledger-tools" onsubmit="return false">
<input type="search" placeholder="Search {len(decided)} claims" aria-label="Search claims">
<select aria-label="Chapter"><option value="">all chapters</option>{options}</select>
{kinds}<output></output>
</form>
<div class="ledger-scroll"><table>
<thead><tr><th>claim</th><th>paper</th><th>verdict</th><th>at the paper’s sizes</th>
<th>at the small size</th></tr></thead>
<tbody>
{rows}
</tbody></table></div>
</div>
<script>
{script}
</script>"""


def contradictions_list(found: Mapping[str, Contradiction]) -> str:
    """Two MyST tables of what the paper says twice, differently: with what we do, and without."""
    read = {name: entry for name, entry in found.items() if entry.reading}
    noted = {name: entry for name, entry in found.items() if not entry.reading}
    lines = ["```{list-table}", ":header-rows: 1", ":widths: 40 25 35", ""]
    lines += ["* - what", "  - where", "  - what we do"]
    for entry in read.values():
        lines += [f"* - {entry.what}", f"  - {entry.where}", f"  - {entry.reading}"]
    lines += ["```", "", "Nothing that we run depends on these:", ""]
    lines += ["```{list-table}", ":header-rows: 1", ":widths: 60 40", "", "* - what", "  - where"]
    for entry in noted.values():
        lines += [f"* - {entry.what}", f"  - {entry.where}"]
    return "\n".join([*lines, "```"])


def plain_measured(entry: Entry) -> str:
    """What was measured, for a terminal: a line per protocol, or why there is nothing."""
    return entry.reason or "\n".join(text for text, _ in _lines(entry))


def _row(entry: Entry, paper: Entry, book: Entry, chapters: list[str]) -> str:
    name, claim, judgement = entry.name, entry.claim, entry.judgement
    cells = ", ".join(
        f'<a href="{chapter}.html#{anchor_of(name)}">chapter {int(chapter[:2])}</a>'
        for chapter in chapters
    )
    note = f"<p>{escape(claim.note)}</p>" if claim.note else ""
    below = judgement.missing
    if judgement.kind == CONTRADICTED:
        bare = "the claim is just this number or bound"
        below = ("the paper’s conclusion is false" if claim.behind else bare,)
    elif judgement.kind == OPEN and lacking(entry) in (SEEDS, RUNS):
        below = (f"missing: {'; '.join(below)}",)
    elif judgement.kind == NOT_HERE:
        below = (f"to download the weights and test it: {'; '.join(below)}",)
    missing = "".join(f"<br><small>{escape(text)}</small>" for text in below)
    runs = "".join(_run(finding, claim) for finding in entry.findings or book.findings)
    return (
        f'<tr id="{name}" data-kind="{_css(judgement.kind)}" data-chapters="{" ".join(chapters)}">'
        f"<td><b>{escape(title_of(claim))}.</b> "
        f'<span class="ledger-place">{escape(claim.place)}</span>'
        f'<details><summary><a href="#{name}"><code>{name}</code></a> {cells}</summary>'
        f"<p>{_rule(claim)}</p>{note}{runs}</details></td>"
        f'<td class="ledger-paper" data-label="paper:">{escape(_claimed(claim))}</td>'
        f'<td class="ledger-verdict {_css(judgement.kind)}">'
        f"{escape(in_words(judgement.verdict))}{missing}</td>"
        f'<td class="ledger-measured" data-label="ours, paper’s sizes:">{_shown(paper)}</td>'
        f'<td class="ledger-measured" data-label="ours, small size:">{_shown(book)}</td></tr>'
    )


def _run(finding: Finding, claim: Claim) -> str:
    """A condition under one reading: its code, its interval, its records, its curve."""
    ends = finding.interval.low, finding.interval.high
    low, high = written(claim, *ends), written(claim, *reversed(ends))
    records = " ".join(
        f'<a href="{REPOSITORY}/records/{place}"><code>{Path(place).stem[:6]}</code></a>'
        for place in finding.records
    )
    code = f'<a href="{_code(finding.experiment)}"><code>{finding.experiment}</code></a>'
    reading = ALL_READINGS.get(finding.protocol, finding.protocol)
    under = f", {escape(reading)}" if reading else ""
    sizes = {place.partition("/")[0] for place in finding.records}
    at = "at the paper’s sizes" if sizes == {PAPER} else "at the small size"
    of = " of the s.d." if claim.statistic == "sd" else ""
    known = f"95% interval{of} from {low} to {high}{_of_one_seed(finding, claim)}, {at}"
    known += f"; records {records}"
    return f"<p>{code}{under}: {known}{_curve(finding)}</p>"


def _of_one_seed(finding: Finding, claim: Claim) -> str:
    """What the interval of a single seed leaves out; nothing of several, or without any."""
    if finding.n > 1 or not finding.draws:
        return ""
    if claim.unit == "share":
        return " (one seed: the error of the test sequences alone)"
    return " (one seed: its error is not known)"


def _code(name: str) -> str:
    """Where the catalogue declares a condition."""
    lines = inspect.getsource(catalogue_module).split("\n")
    row = next(i for i, line in enumerate(lines, 1) if line.lstrip().startswith(f'("{name}",'))
    return f"{REPOSITORY}/fcilib/ledger/catalogue.py#L{row}"


def _curve(finding: Finding) -> str:
    """The metric by epoch, from 0 to 1, as a small drawing."""
    if len(finding.curve) < 2:
        return ""
    step = 100 / (len(finding.curve) - 1)
    points = " ".join(f"{i * step:.0f},{24 - 22 * y:.1f}" for i, y in enumerate(finding.curve))
    return (
        ' <svg class="ledger-curve" viewBox="0 0 100 26" role="img" aria-label="by epoch, '
        f'from {finding.curve[0]:.2f} to {finding.curve[-1]:.2f}">'
        f'<polyline points="{points}"/></svg>'
    )


def _rule(claim: Claim) -> str:
    """What a claim is about, in a sentence."""
    what = {"mean": "the mean over seeds", "sd": "the standard deviation over seeds"}[
        claim.statistic
    ]
    when = f", after {claim.progress:.0%} of training" if claim.progress < 1 else ""
    metric = METRICS.get(claim.metric, claim.metric)
    behind = f" The paper’s conclusion: {metric} is {claim.behind}." if claim.behind else ""
    return f"What is compared: {what} of {metric}{when}.{behind}"


METRICS = {
    "any_hit": "the share of questions with a right pick",
    "best_precision": "the highest precision of any epoch",
    "cosine_gap": "the difference of cosines",
    "largest_fall": "the largest fall of precision in one epoch",
    "largest_rise": "the largest rise of precision in one epoch",
    "most_gain": "the largest factor that a layer could gain",
    "place": "the place of the evidence in the router’s order",
    "precision_tie_lost": "precision, where a tie is a miss",
    "random_form_precision": "precision with random matrices",
    "rank_share": "the share of dimensions",
    "rise_epoch": "the epoch of the largest rise",
    "segment_recall": "the share of the right segments that are picked",
}
"""What a metric is called in a row, where that is not its name."""


OTHER_QUANTITIES = {"largest_rise": "a rise of", "largest_fall": "a fall of"}
"""What stands before a claim's number if that is no level of a metric but a difference of two."""


def _claimed(claim: Claim) -> str:
    """The paper's number, with what it is where it is no mean of a metric."""
    if claim.statistic == "sd":
        return f"s.d. {claim}"
    if claim.metric in OTHER_QUANTITIES:
        return f"{OTHER_QUANTITIES[claim.metric]} {claim}"
    return str(claim)


def _shown(entry: Entry) -> str:
    """Each protocol's number, a range where several conditions decide, and below it chance, if it
    has one; once if it is the same for all.
    """
    shown: list[str] = []
    for text, chance in _lines(entry, SHORT):
        small = f"<small>chance {escape(chance)}</small>" if chance else ""
        if small in shown[-1:]:
            shown.pop()
        shown += filter(None, (escape(text), small))
    return "<br>".join(shown) or NONE


SHORT = {
    "all": "included",
    "others": "excluded",
    "ties lost": "tie a miss",
    "segment recall": "right ones",
}
"""What readings are called in the columns of numbers."""


def _lines(entry: Entry, names: Mapping[str, str] = {}) -> list[tuple[str, str]]:
    """By protocol, the number and its chance level by counting; "" where there is none.

    `names`: what protocols are called, where that is not their name.
    """
    lines = []
    for protocol, part in entry.by_protocol.items():
        bound = BOUNDS.get(entry.claim.metric, "")
        text = as_measured(entry.claim, part)
        if bound:
            text = f"{bound} {written(entry.claim, max(f.mean for f in part), up=True)}"
        chance = entry.claim.span([f.level.here for f in part if f.level])
        called = names.get(protocol, protocol)
        lines.append((f"{called}: {text}" if called else text, chance))
    return lines


def _css(kind: str) -> str:
    return f"ledger-{STYLES[kind]}"
