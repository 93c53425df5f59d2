"""What a reader sees first, on the book's first page and in the README, made from the ledger."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from fcilib.ledger.agreement import STANDARD
from fcilib.ledger.ledger import BOOK, PAPER, Entry, decisive, evidence
from fcilib.ledger.verdict import CONTRADICTED, HOLDS, NOT_HERE, SUBSTANCE, UNDER
from fcilib.present.headlines import headlines, headlines_alt, headlines_svg
from fcilib.present.ledger_files import Entries
from fcilib.present.ledger_rule import SEEDS, lacking
from fcilib.storage.files import write_atomic
from fcilib.study.profiles import PROFILES

PICTURE = "headlines.svg"
"""The figure's file among the book's static files; it is tracked, since the README shows it."""

SEQUENCE = """\
[Q] 42   7 31   9 5   …   42 17   …
    │    └ other tokens   │  └ answer
    └ query               └ evidence"""
"""The task, drawn."""

TASK = (
    "**The task.** The token after the marker `[Q]` is the *query*. The same token stands once "
    "more, far from it. This second copy is the *evidence*, which the router has to pick. (The "
    "token after the evidence answers the query.) In training the router is told where the "
    "evidence stands. As the paper’s equations are written, the router may also pick the query "
    "itself, which counts as a wrong pick. We measure both. *Query excluded*: it may not be "
    "picked. *Query included*: it may. Unless we say otherwise, the query is excluded."
)

WHY = (
    "**What we found.** (1) *The paper’s own task needs no context.* Query and evidence are the "
    "same token. Their vectors are therefore alike from the start, and comparing vectors is enough."
)

CONTEXT = (
    "(2) *Where context is needed, it has to be the right one.* We built a task in which four "
    "tokens equal the query, and only the evidence has the same neighbour as the query. If this "
    "neighbour stands before, context from the left is enough. If it stands after, context from "
    "the left is not, and context from the right is needed."
)
"""The second finding, chapter 9’s, without its numbers."""

PAIRS = (
    "(3) *Comparing pairs of tokens helps, and is not the only way.* Of the paper’s routers that "
    "pick a token without comparing pairs, the best finds the evidence in {best} of the "
    "sequences. But a learned hash table finds it nearly always. There tokens and query are sorted "
    "into learned slots, and the token that belongs most to the query’s slots is picked. The paper "
    "did not try one."
)
"""The third finding, of chapters 3 and 12."""

BEST_WITHOUT_PAIRS = "memory-bank"
"""The claim about the best of the paper’s routers that pick a token without comparing pairs."""

SURE = (
    "**How sure.** The first finding rests on {seeds} *seeds*, trainings that start from different "
    "random numbers, at the paper’s sizes. The second and the third were measured on short "
    "sequences, of {ladder} and {short} tokens."
)

LEAD = (
    "The paper makes {claims} claims that can be checked. We decide a claim only after {seeds} "
    "seeds at the paper’s sizes, or by arithmetic alone. In brackets stands the paper’s number; § "
    "is a section of the paper."
)
"""What stands over the table."""

GROUPS = {
    HOLDS: "As the paper says it",
    f"{UNDER} others": "With the query excluded",
    f"{UNDER} all": "With the query included",
    SUBSTANCE: "The statement stands, but our number differs",
}
"""What is written over the claims of a verdict; another reading says what it is."""

STANDS, FALLS, OPEN_STILL, UNKNOWABLE = "Stands", "Contradicted", "Open", "Can’t be known"

EXAMPLES = {
    STANDS: ("mqar-attention", "one-layer", "random-projections"),
    FALLS: ("raw", "flow", "mqar-raw"),
}
"""Claims that are shown of the first two rows of the table, for as long as they are in them; the
others are folded."""

BEGIN, END = "<!-- first screen: made from the records by `fci book` -->", "<!-- end -->"
"""Between these two lines the README is made; the rest of it is written."""

Link = Callable[[str, str], str]
"""A link in the page's own form, from the claim's name and a text."""


def write_first_screen(root: Path, entries: Mapping[str, Entries]) -> None:
    """Write the figure, the part that the first page includes, and the README's part.

    Args:
        root: the repository. A README without the two marks is left as it is.
        entries: the ledger's, by profile.
    """
    book = root / "book"
    write_atomic(book / "_static" / PICTURE, headlines_svg(headlines(entries)))
    write_atomic(book / "_generated" / "first_screen.md", page_part(entries))
    readme = root / "README.md"
    if readme.is_file():
        write_atomic(readme, with_part(readme.read_text(encoding="utf-8"), readme_part(entries)))


def finding(entries: Mapping[str, Entries]) -> str:
    """The finding, for as long as the ledger says that the claim `raw` falls.

    Raises:
        ValueError: it does not say so any more, so that another sentence has to be written; or
            the claim has no chance.
    """
    entry = entries[PAPER]["raw"]
    if entry.judgement.kind != CONTRADICTED:
        raise ValueError(f"the first page's sentence: `raw` is {entry.judgement.verdict}")
    (others,), (among_all,) = entry.by_protocol["others"], entry.by_protocol["all"]
    if others.level is None:
        raise ValueError("the first page's sentence: `raw` has no chance")
    ours, with_itself = (entry.claim.write(f.mean, f.sd) for f in (others, among_all))
    return (
        "Without any layer in front of it, on *raw embeddings* (a vector for each token plus one "
        f"for its position), the router picks the evidence in {ours} of the sequences. The paper "
        f"has {entry.claim}. *Chance*, picking at random, is "
        f"{entry.claim.write(others.level.here, math.nan)}. With the query included "
        f"the router picks the evidence in {with_itself}."
    )


def standing(entry: Entry) -> str:
    """In which of the four rows of the table a claim is counted."""
    kind = entry.judgement.kind
    if kind in (HOLDS, UNDER, SUBSTANCE):
        return STANDS
    if kind == CONTRADICTED:
        return FALLS
    return UNKNOWABLE if kind == NOT_HERE or entry.claim.undefined else OPEN_STILL


def standing_table(entries: Entries, link: Link) -> str:
    """What stands, falls, is open and can't be known: a Markdown table with a row for each.

    Args:
        entries: of every claim the one that decides.
        link: makes a link to a claim's row of the ledger.
    """
    rows: dict[str, list[Entry]] = {s: [] for s in (STANDS, FALLS, OPEN_STILL, UNKNOWABLE)}
    for entry in entries.values():
        rows[standing(entry)].append(entry)
    lines = ["| our verdict | claims | which |", "| --- | --: | --- |"]
    for title, part in rows.items():
        lines.append(f"| **{title}** | {len(part)} | {_which(title, rows, link)} |")
    return "\n".join(lines)


def _which(title: str, rows: Mapping[str, list[Entry]], link: Link) -> str:
    part = rows[title]
    if not part:
        return "none"
    if title in EXAMPLES:
        shown = [e for name in EXAMPLES[title] for e in part if e.name == name]
        few = _listed([_line(e, link) + _condition(e) for e in shown])
        groups = evidence({e.name: e for e in part})[CONTRADICTED]
        noun = "set" if groups == 1 else "sets"
        over = f"They come from only {groups} {noun} of trainings. " if title == FALLS else ""
        return f"{over}For example:{few}{_folded(f'All {len(part)}', _all(title, part, link))}"
    if title == OPEN_STILL:
        costs = [link(e.name, "the cost of one router") for e in part if not e.claim.decided_by]
        few_seeds = sum(lacking(e) == SEEDS for e in part)
        lines = [
            f"{few_seeds} lack only more seeds",
            f"{len(part) - few_seeds - len(costs)} lack a training at the paper’s sizes",
            *(f"1 is about {cost}, which no training decides (chapter 10)" for cost in costs),
        ]
        return f"We have not run enough yet:{_listed(lines)}"
    weights = sum(e.judgement.kind == NOT_HERE for e in part)
    lines = [
        f"{len(part) - weights} rest on something that the paper does not define or state",
        f"{weights} need the paper’s pretrained models, which we could not get",
    ]
    return f"More runs of ours would not help:{_listed(lines)}"


def _all(title: str, part: list[Entry], link: Link) -> str:
    """Every claim of a row: those that stand by what they stand under."""
    if title == FALLS:
        return _listed([_line(e, link) for e in part])
    verdicts = dict.fromkeys([*GROUPS, *(e.judgement.verdict for e in part)])
    groups = {v: [e for e in part if e.judgement.verdict == v] for v in verdicts}
    return "".join(
        f"{_over(group[0])}:{_listed([_line(e, link) for e in group])}"
        for group in groups.values()
        if group
    )


def _condition(entry: Entry) -> str:
    """What a claim holds under, behind its sentence; nothing where it holds as it is."""
    if entry.judgement.kind != UNDER:
        return ""
    over = _over(entry)
    return f", {over[0].lower()}{over[1:]}"


def _folded(summary: str, text: str) -> str:
    return f"<details><summary>{summary}</summary>{text}</details>"


def _listed(items: list[str]) -> str:
    """A list that a Markdown table’s cell can hold."""
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def _over(entry: Entry) -> str:
    """What is written over the claims that have this entry’s verdict."""
    verdict = entry.judgement.verdict
    reading = entry.claim.readings.get(verdict.removeprefix(f"{UNDER} "))
    return f"If {reading.says}" if reading else GROUPS.get(verdict, verdict)


def _line(entry: Entry, link: Link) -> str:
    """A claim with the paper's number, where its sentence has none, with ours if that is what
    differs, and with what else a reader has to know.
    """
    claim = entry.claim
    said, number = claim.plain or claim.statement.rstrip("."), str(claim)
    known = number.removeprefix("≤ ").removesuffix("%").removesuffix(".0")
    text = link(entry.name, said)
    if entry.judgement.kind == SUBSTANCE:
        ours = claim.span([f.mean for f in entry.findings])
        text += f" (paper {number}, ours {ours})"
    elif not re.search(rf"(?<![\d.]){re.escape(known)}(?![\d.])", said):
        text += f" ({number})"
    return f"{text}. {claim.gloss}" if claim.gloss else text


def page_part(entries: Mapping[str, Entries]) -> str:
    """The part of the first page, in MyST."""
    decided = decisive(entries)
    table = standing_table(decided, _html)
    return f"""{TASK}

```text
{SEQUENCE}
```

::::::{{grid}} 1 1 2 2
:gutter: 3

:::::{{grid-item}}
{findings(entries)}
:::::

:::::{{grid-item}}
```{{figure}} _static/{PICTURE}
:name: fig-headlines
:alt: {headlines_alt(headlines(entries))}
:class: fci-first

{caption(entries)}
```
:::::
::::::

{LEAD.format(claims=len(decided), seeds=STANDARD.seeds)}

:::{{container}} stacked
{table}
:::
"""


def findings(entries: Mapping[str, Entries]) -> str:
    """What was found and how sure that is, a paragraph each."""
    (others,) = entries[PAPER]["raw"].by_protocol["others"]
    book = PROFILES[BOOK]
    sure = SURE.format(seeds=others.n, ladder=book.ladder.length, short=book.evidence.length)
    without, *_ = entries[BOOK][BEST_WITHOUT_PAIRS].by_protocol["others"]
    best = entries[BOOK][BEST_WITHOUT_PAIRS].claim.write(without.mean, without.sd)
    pairs = PAIRS.format(best=best)
    return "\n\n".join([f"{WHY} {finding(entries)}", CONTEXT, pairs, sure])


def caption(entries: Mapping[str, Entries]) -> str:
    """What the marks of the figure are."""
    at = {}
    for profile in (PAPER, BOOK):
        seeds = sorted({r.sizes[profile].n for r in headlines(entries) if profile in r.sizes})
        if seeds:
            count = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
            at[profile] = f"{PROFILES[profile].evidence.length} tokens, {count} seeds"
    small = f"; square: the book’s small size, {at[BOOK]}" if BOOK in at else ""
    large = f" Filled circle: ours at the paper’s sizes, {at[PAPER]}" if PAPER in at else ""
    return (
        f"Five headlines of the paper. Hollow: its number.{large}{small}. Bars: one standard "
        "deviation. Tick: chance. The query is excluded. The words at the right are our verdict; "
        "*open* means that we have too few runs to decide. *One number per token* is the paper’s "
        "rank-1 router. It multiplies one number of the query by one of the token, which the paper "
        "counts as a comparison of pairs. A router of *segments* picks a run of tokens, and is "
        "right by chance more often."
    )


def readme_part(entries: Mapping[str, Entries]) -> str:
    """The same for the README, in plain Markdown."""
    decided = decisive(entries)
    table = standing_table(decided, lambda name, text: text)
    return f"""{TASK}

```text
{SEQUENCE}
```

{findings(entries)}

![{headlines_alt(headlines(entries))}](book/_static/{PICTURE})

{caption(entries)}

{LEAD.format(claims=len(decided), seeds=STANDARD.seeds)}

{table}"""


def with_part(text: str, part: str) -> str:
    """A README with what stands between its two marks replaced; without them, as it is."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{BEGIN}\n{part}\n{END}{after}" if begin and end else text


def _html(name: str, text: str) -> str:
    return f'<a href="claims.html#{name}">{text}</a>'
