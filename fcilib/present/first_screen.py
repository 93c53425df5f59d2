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
from fcilib.present.ledger_rule import lacks_seeds_alone
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
    "The table counts the paper’s claims by what became of them; the paper’s numbers are in "
    "brackets. *Content-only* embeddings have no position, so that query and evidence have the "
    "same vector and *tie*. *Flow* is the paper’s recurrence, Mamba blocks that read left to "
    "right; bidirectional Flow and bidirectional Mamba are the same. *Segment routing* picks runs "
    "of tokens. A *rank-1* router keeps one number per token, as in the figure’s fourth row, where "
    "it is far from the paper’s number. At the small size it learns in "
    f"{PROFILES[BOOK].settled.epochs} epochs in place of {PROFILES[BOOK].training.epochs}, if each "
    "has new sequences or the learning rate is higher (chapter 6)."
)
"""Words of the claims in the table below, as far as a reader has not met them above."""

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
        named = [
            link(e.name, e.claim.statement.rstrip(".")) + f" ({e.claim}){_note(e)}" for e in part
        ]
        return (". ".join(named) or "none") + _joined(part)
    if title == OPEN_STILL:
        few = sum(lacks_seeds_alone(e) for e in part)
        named = [link(e.name, e.claim.statement.rstrip(".")) for e in part if e.name in HEADLINES]
        costs = [link(e.name, "the rank-1 router’s cost") for e in part if not e.claim.decided_by]
        timed = f", except {', '.join(costs)}, which chapter 10 measures"
        return (
            f"{few} need nothing but more seeds. The others need runs at the paper’s sizes or with "
            f"its number of steps{timed if costs else ''}. Among the {len(part)}: "
            f"{'; '.join(named) or 'none of the five above'}"
        )
    weights = sum(e.judgement.kind == NOT_HERE for e in part)
    undefined = len(part) - weights
    opened = undefined + len(rows[OPEN_STILL])
    return (
        f"{weights} need pretrained weights that are not here. {undefined} rest on what the paper "
        f"does not define; the ledger counts these as *open* too, {opened} in all"
    )


def _joined(part: list[Entry]) -> str:
    """What is added where several claims rest on the same runs, those of one of them."""
    runs = [set(e.deciding_records) for e in part]
    if len(part) > 1 and all(runs) and all(r == runs[0] for r in runs):
        said = part[0].claim.statement.partition(",")[0]
        return (
            f". One result is enough against all {len(part)}, that of {said[0].lower() + said[1:]}"
        )
    return ""


def _note(entry: Entry) -> str:
    """What a claim that is no measurement is, and under which reading a claim holds."""
    chance = ", which is arithmetic and needs no training" if entry.claim.counted else ""
    if entry.judgement.kind != UNDER:
        return chance
    reading = entry.claim.readings.get(entry.judgement.verdict.removeprefix(f"{UNDER} "))
    under = f"under the reading that {reading.says}" if reading else entry.judgement.verdict
    return f"{chance}, {under}"


def page_part(entries: Mapping[str, Entries]) -> str:
    """The part of the first page, in MyST."""
    table = standing_table(decisive(entries), _html)
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
        f"Five headlines of the paper. Hollow: its number.{large}{small}; bars: one standard "
        "deviation. Tick: chance, which is higher in the last row, where a whole segment is "
        "picked. The query itself may not be picked. On the right, and by colour: the ledger’s "
        f"verdict, *open* until {STANDARD.seeds} seeds at the paper’s sizes are trained to the end "
        "and decide."
    )


def readme_part(entries: Mapping[str, Entries]) -> str:
    """The same for the README, in plain Markdown."""
    table = standing_table(decisive(entries), lambda name, text: text)
    return f"""**What we found.** {finding(entries)}

{TASK}

```text
{SEQUENCE}
```

![{headlines_alt(headlines(entries))}](book/_static/{PICTURE})

{caption(entries)}

{WORDS}

{table}"""


def with_part(text: str, part: str) -> str:
    """A README with what stands between its two marks replaced; without them, as it is."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{BEGIN}\n{part}\n{END}{after}" if begin and end else text


def _html(name: str, text: str) -> str:
    return f'<a href="claims.html#{name}">{text}</a>'
