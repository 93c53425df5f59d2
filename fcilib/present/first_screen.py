"""What a reader sees first, on the book's first page and in the README, made from the ledger."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from fcilib.ledger.agreement import STANDARD
from fcilib.ledger.ledger import BOOK, PAPER, Entry, decisive
from fcilib.ledger.verdict import CONTRADICTED, HOLDS, NOT_HERE, SUBSTANCE, UNDER
from fcilib.present.headlines import HEADLINES, headlines, headlines_alt, headlines_svg
from fcilib.present.ledger_files import Entries
from fcilib.present.ledger_rule import SEEDS, lacking
from fcilib.storage.files import write_atomic
from fcilib.study.profiles import PROFILES

PICTURE = "headlines.svg"
"""The figure's file among the book's static files; it is tracked, since the README shows it."""

SEQUENCE = """\
[Q] 42   7 31   9 5   …   42 17   …
    │    └ other pairs    │  └ answer
    └ query               └ evidence"""
"""The task, drawn."""

TASK = (
    "**The task.** The token after the marker `[Q]` is the *query*. It stands in the sequence once "
    "more, at least 200 positions away. This second copy is the *evidence*, the token to be "
    "picked, and the token after it is the answer. Other pairs stand near the query."
)

WORDS = (
    "The router of the figure’s fourth row, *rank-1*, has one number per token and multiplies two "
    "of them. The paper counts this as a comparison of pairs. At the small size it takes longer "
    f"training, {PROFILES[BOOK].settled.epochs} epochs instead of "
    f"{PROFILES[BOOK].training.epochs}, to bring this router near the paper’s number. It also "
    "takes new sequences in each epoch or a higher learning rate (chapter 6, one seed)."
)
"""What a reader has to know of the figure’s fourth row, where two numbers lie farthest apart."""

LEAD = (
    "What became of the paper’s {claims} claims. Its numbers are in brackets. A verdict takes at "
    "least {seeds} *seeds*: trainings at the paper’s sizes that start from different random "
    "numbers."
)
"""What stands over the table."""

GLOSSES = {
    "content-only": "The router sees the tokens’ vectors without positions. Query and evidence "
    "then have the same vector: they *tie*",
    "hotpotqa-random": "HotpotQA is a set of questions about texts, which the paper cuts into 16 "
    "segments. Random picks are a control, which follows by counting. Chapter 5 counts questions "
    "with at least one right segment picked, which are more",
    "jump-ratio": "The paper has 1.2% without the layer and 98.4% with it",
}
"""What a reader has to know of a claim that stands or falls, by its name."""

STANDS, FALLS, OPEN_STILL, UNKNOWABLE = "Stands", "Contradicted", "Open", "Can’t be known"

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
        "On the paper’s own task the router needs neither layers nor context in front of it. On "
        f"raw embeddings it picks the right token in {ours} of the sequences, where the paper has "
        f"{entry.claim} and chance is {entry.claim.write(others.level.here, math.nan)} (the "
        f"paper’s sizes, {others.n} seeds). If the query itself may be picked too, it still picks "
        f"the right token in {with_itself}."
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
    if title in (STANDS, FALLS):
        return _lines([_line(e, link) for e in part] + _joined(part)) if part else "none"
    if title == OPEN_STILL:
        costs = [link(e.name, "the rank-1 router’s cost") for e in part if not e.claim.decided_by]
        few = sum(lacking(e) == SEEDS for e in part)
        shown = sum(e.name in HEADLINES for e in part)
        lines = [
            f"{few} lack nothing but more seeds",
            f"{len(part) - few - len(costs)} lack some run at the paper’s sizes altogether",
            *(
                f"1 is {cost}. Chapter 10 measures it, but the ledger judges only trainings"
                for cost in costs
            ),
            f"{shown} of the {len(HEADLINES)} headlines in the figure are open",
        ]
        return _lines(lines)
    weights = sum(e.judgement.kind == NOT_HERE for e in part)
    undefined = len(part) - weights
    opened = undefined + len(rows[OPEN_STILL])
    return _lines(
        [
            f"{weights} need pretrained weights that we could not get",
            f"{undefined} rest on what the paper does not define. The ledger calls these *open* "
            f"as well, and so counts {len(rows[OPEN_STILL])} + {undefined} = {opened} open claims",
        ]
    )


def _lines(sentences: list[str]) -> str:
    """Sentences below each other in one cell."""
    return "<br>".join(f"{sentence}." for sentence in sentences)


def _line(entry: Entry, link: Link) -> str:
    """A claim with the paper's number, where its sentence has none, and with its reading."""
    claim, verdict = entry.claim, entry.judgement.verdict
    said, number = claim.statement.rstrip("."), str(claim)
    known = number.removeprefix("≤ ").removesuffix("%").removesuffix(".0")
    parts = [link(entry.name, said) + ("" if known in said else f" ({number})")]
    if entry.name in GLOSSES:
        parts.append(GLOSSES[entry.name])
    if entry.judgement.kind == UNDER:
        reading = claim.readings.get(verdict.removeprefix(f"{UNDER} "))
        parts.append(f"The claim stands if {reading.says}" if reading else f"It {verdict}")
    return ". ".join(parts)


def _joined(part: list[Entry]) -> list[str]:
    """What is added where several claims rest on the same runs, those of the first."""
    runs = [set(e.deciding_records) for e in part]
    if len(part) > 1 and all(runs) and all(r == runs[0] for r in runs):
        return [f"One result of ours contradicts all {len(part)}: the one on the first"]
    return []


def page_part(entries: Mapping[str, Entries]) -> str:
    """The part of the first page, in MyST."""
    decided = decisive(entries)
    table = standing_table(decided, _html)
    return f"""::::::{{grid}} 1 1 2 2
:gutter: 3

:::::{{grid-item}}
**What we found.** {finding(entries)}

{TASK}

```text
{SEQUENCE}
```
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

{WORDS}

{LEAD.format(claims=len(decided), seeds=STANDARD.seeds)}

{table}
"""


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
        "deviation. Tick: chance, which is higher in the last row, where a *segment*, a run of "
        "tokens, is picked. The query itself may not be picked. Words and colours are our "
        "verdicts; *open* is what our runs do not decide yet."
    )


def readme_part(entries: Mapping[str, Entries]) -> str:
    """The same for the README, in plain Markdown."""
    decided = decisive(entries)
    table = standing_table(decided, lambda name, text: text)
    return f"""**What we found.** {finding(entries)}

{TASK}

```text
{SEQUENCE}
```

![{headlines_alt(headlines(entries))}](book/_static/{PICTURE})

{caption(entries)}

{WORDS}

{LEAD.format(claims=len(decided), seeds=STANDARD.seeds)}

{table}"""


def with_part(text: str, part: str) -> str:
    """A README with what stands between its two marks replaced; without them, as it is."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{BEGIN}\n{part}\n{END}{after}" if begin and end else text


def _html(name: str, text: str) -> str:
    return f'<a href="claims.html#{name}">{text}</a>'
