"""What a reader sees first, on the book's first page and in the README, made from the ledger."""

from __future__ import annotations

import math
import re
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
    "**The task.** The token after the marker `[Q]` is the *query*. The same token stands in the "
    "sequence once more, at least 200 positions later. This second copy is the *evidence*, the "
    "token to be picked, and the token after it is the answer. Other pairs of tokens stand near "
    "the query. The router is trained with the evidence’s position as its label."
)

BEYOND = (
    "On a task of ours, where several tokens look like the right one, context helps only if it "
    "holds what tells the right one apart."
)
"""The second finding, chapter 9’s, in a sentence without its numbers."""

WORDS = (
    "The figure’s fourth row is the *rank-1* router. It has one number per token, and a pair’s "
    "score is the product of its two numbers. The paper counts this as a comparison of pairs. At "
    "the small size this router comes near the paper’s number only in longer training, "
    f"{PROFILES[BOOK].settled.epochs} epochs instead of {PROFILES[BOOK].training.epochs}, and only "
    "with new sequences in each epoch or with a higher learning rate (chapter 6, one seed)."
)
"""What a reader has to know of the figure’s fourth row, where two numbers lie farthest apart."""

LEAD = (
    "The table shows what became of the paper’s {claims} claims. The paper’s numbers are in "
    "brackets. We give a verdict only after {seeds} *seeds* at the paper’s sizes. A seed is a "
    "training that starts from random numbers of its own."
)
"""What stands over the table."""

PLAIN = {
    "seed-spread": "Three trainings with one layer of attention differ by less than 2% in "
    "precision (standard deviation)",
    "content-only": "Without a layer, a router that sees tokens without positions fails",
    "one-layer": "§4.1: one layer of attention is enough",
    "transition-peak": "The highest precision of that layer in training",
    "bidirectional-attention": "§4.6: one layer of attention is enough",
    "scale-bidirectional-1": "§4.7: one layer of attention, trained end to end, is enough",
    "random-projections": "Random matrices in place of the router’s learned ones destroy routing "
    "behind one layer of attention",
    "rank-90": "Few of the router’s directions, 34 of 128, hold 90% of its matrix’s *energy*, the "
    "sum of the squared strengths",
    "mqar-attention": "On *MQAR*, a benchmark of recall, one layer of attention finds the key",
    "mqar-epoch": "On MQAR, precision behind one layer of attention rises in epoch 5",
    "hotpotqa-random": "On *HotpotQA*, questions about texts in 16 segments, two segments "
    "picked at random are hits this often",
    "raw": "Raw embeddings without a layer fail",
    "flow": "Recurrent layers fail, however many there are",
    "jump-ratio": "One layer of attention multiplies precision by 82",
    "transition-rise": "With one layer of attention, precision rises from 2.8% to 99.4% within one "
    "epoch",
    "transition-epoch": "With one layer of attention, precision rises in epoch 10 of 40",
    "no-other-transition": "Without attention, precision rises in no epoch",
    "cosine-gap": "One layer of attention makes query and evidence less alike than random pairs "
    "are, by a negative difference of cosines",
    "mqar-raw": "On MQAR, raw embeddings fail",
    "unidirectional-flow": "§4.6: Flow, the paper’s left-to-right recurrence, fails",
    "unidirectional-fails": "A left-to-right recurrence fails even if the router compares pairs",
}
"""Claims in plainer words than the ledger’s short ones, by name."""

GLOSSES = {
    "content-only": "In our tables a tie counts as half a hit; then the claim does not stand",
    "hotpotqa-random": "This follows by counting. If what counts is a question with at least one "
    "right segment picked, chance is twice as high (chapter 5)",
    "jump-ratio": "It is 1.2% without the layer and 98.4% with it",
}
"""What a reader has to know besides of a claim that stands or falls, by its name."""

GROUPS = {
    HOLDS: "As the paper says it",
    f"{UNDER} others": "If the query itself may not be picked",
    f"{UNDER} all": "If the query itself may be picked, too",
    SUBSTANCE: "The statement stands, but our number differs",
}
"""What is written over the claims of a verdict; another reading says what it is."""

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
    if title == STANDS:
        verdicts = dict.fromkeys([*GROUPS, *(e.judgement.verdict for e in part)])
        groups = {v: [e for e in part if e.judgement.verdict == v] for v in verdicts}
        listed = [
            f"{_over(group[0])}:{_listed([_line(e, link) for e in group])}"
            for group in groups.values()
            if group
        ]
        return "".join(listed) or "none"
    if title == FALLS:
        return _listed([_line(e, link) for e in part]) + _joined(part) if part else "none"
    if title == OPEN_STILL:
        costs = [link(e.name, "the rank-1 router’s cost") for e in part if not e.claim.decided_by]
        few = sum(lacking(e) == SEEDS for e in part)
        shown = sum(e.name in HEADLINES for e in part)
        lines = [
            f"{few} lack nothing but more seeds",
            f"{len(part) - few - len(costs)} lack some run at the paper’s sizes altogether",
            *(
                f"1 is {cost}; chapter 10 measures it, but the ledger judges only trainings"
                for cost in costs
            ),
        ]
        return (
            f"{_listed(lines)}{shown} of the figure’s {len(HEADLINES)} headlines are among these "
            f"{len(part)}."
        )
    weights = sum(e.judgement.kind == NOT_HERE for e in part)
    undefined = len(part) - weights
    opened = undefined + len(rows[OPEN_STILL])
    return _listed(
        [
            f"{weights} need pretrained weights that we could not get; the ledger calls these "
            f"*{NOT_HERE}*",
            f"{undefined} rest on what the paper does not define; the ledger calls these *open* "
            f"as well, and so counts {len(rows[OPEN_STILL])} + {undefined} = {opened} open claims",
        ]
    )


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
    said, number = PLAIN.get(entry.name, claim.statement.rstrip(".")), str(claim)
    known = number.removeprefix("≤ ").removesuffix("%").removesuffix(".0")
    text = link(entry.name, said)
    if entry.judgement.kind == SUBSTANCE:
        ends = [claim.write(end(f.mean for f in entry.findings), math.nan) for end in (min, max)]
        text += f" (paper {number}, ours {' to '.join(dict.fromkeys(ends))})"
    elif not re.search(rf"(?<![\d.]){re.escape(known)}(?![\d.])", said):
        text += f" ({number})"
    return f"{text}. {GLOSSES[entry.name]}" if entry.name in GLOSSES else text


def _joined(part: list[Entry]) -> str:
    """What is added where several claims rest on the same runs, those of the first."""
    runs = [set(e.deciding_records) for e in part]
    if len(part) > 1 and all(runs) and all(r == runs[0] for r in runs):
        return f"One result of ours contradicts all {len(part)}: the one on the first."
    return ""


def page_part(entries: Mapping[str, Entries]) -> str:
    """The part of the first page, in MyST."""
    decided = decisive(entries)
    table = standing_table(decided, _html)
    return f"""::::::{{grid}} 1 1 2 2
:gutter: 3

:::::{{grid-item}}
**What we found.** {finding(entries)}

{BEYOND}

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

:::{{container}} stacked
{table}
:::
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
        "deviation. Tick: chance. In the last row the router picks a *segment*, a run of tokens, "
        "so that chance is higher. The query itself may not be picked. The word and the colour of "
        "a row give our verdict; *open* means that our runs do not decide yet."
    )


def readme_part(entries: Mapping[str, Entries]) -> str:
    """The same for the README, in plain Markdown."""
    decided = decisive(entries)
    table = standing_table(decided, lambda name, text: text)
    return f"""**What we found.** {finding(entries)}

{BEYOND}

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
