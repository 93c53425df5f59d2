"""Which conclusions hold at both sizes, and which the paper's sizes changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fcilib.ledger.catalogue import ONLY, catalogue
from fcilib.ledger.claims import FAILURE, SUCCESS, Claim, Direction
from fcilib.ledger.findings import Finding
from fcilib.ledger.ledger import BOOK, PAPER, Entry, decisive
from fcilib.ledger.verdict import NOT_HERE, compared, directed
from fcilib.present.ledger_files import Entries
from fcilib.present.ledger_rule import title_of
from fcilib.storage.files import write_atomic
from fcilib.study.notation import NONE, READINGS
from fcilib.study.profiles import PROFILES, Profile

METRICS = {
    "best_precision": "highest precision",
    "largest_rise": "largest rise in an epoch",
    "random_form_precision": "precision with random matrices",
    "rank_share": "share of dimensions",
    "cosine_gap": "difference of cosines",
}
"""What quantities other than precision are called."""

TRUE, FALSE, UNSURE = "true", "false", "undecided"
AGREES, DIFFERS = "agrees", "differs"


def write_sizes(book: Path, entries: Mapping[str, Entries]) -> None:
    """Write the tables that the page on certainty and the author's page include."""
    write_atomic(book / "_generated" / "sizes_answer.md", size_answer(entries) + "\n")
    write_atomic(book / "_generated" / "sizes_turned.md", turned_text(entries) + "\n")
    write_atomic(book / "_generated" / "sizes.md", size_tables(entries) + "\n")
    write_atomic(book / "_generated" / "profiles.md", profile_table() + "\n")
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
    for key, claim, twin, finding in _at_both_sizes(entries):
        told = (finding.records, claim.metric, claim.progress, statement(claim))
        if statement(claim) is not None and told not in met:
            met.add(told)
            found[key] = side(claim, twin), side(claim, finding), finding.n
    return found


def _at_both_sizes(
    entries: Mapping[str, Entries],
) -> Iterator[tuple[tuple[str, str, str], Claim, Finding, Finding]]:
    """Key, claim and the two findings, at the book's size and the paper's, of what has both.

    Claims on what the paper does not define and on a spread are left out.
    """
    for name, entry in entries[PAPER].items():
        if entry.claim.undefined or entry.claim.statistic != "mean":
            continue
        small = {(f.experiment, f.protocol): f for f in entries[BOOK][name].findings}
        for finding in entry.findings:
            twin = small.get((finding.experiment, finding.protocol))
            if twin is not None:
                yield (name, finding.experiment, finding.protocol), entry.claim, twin, finding


def ledger_turns(
    entries: Mapping[str, Entries],
) -> tuple[dict[tuple[str, str, str], tuple[str, str]], int]:
    """Where the ledger's question has another answer at the paper's sizes, and how many have one.

    The question is whether our number agrees with the paper's within the margin; of seeds and
    training steps nothing is asked here. What is undecided at either size is left out. The answers
    are by claim, condition and protocol, at the book's size and at the paper's.
    """
    turned, decided = {}, 0
    for key, claim, twin, finding in _at_both_sizes(entries):
        small_agrees, large_agrees = compared(claim, twin), compared(claim, finding)
        if small_agrees is None or large_agrees is None:
            continue
        decided += 1
        if small_agrees != large_agrees:
            turned[key] = (AGREES, DIFFERS) if small_agrees else (DIFFERS, AGREES)
    return turned, decided


@dataclass(frozen=True)
class Counts:
    """How many comparisons there are of each kind."""

    made: int
    decided: int
    """Those with an answer at both sizes."""
    same: int
    alone: int
    """Of those that are decided, how many rest on one seed at the paper's sizes."""


def _counts(entries: Mapping[str, Entries]) -> Counts:
    """The comparisons, counted."""
    asked = _compared(entries).values()
    seeds = [n for small, large, n in asked if small and large]
    same = sum(small == large for small, large in sides(entries).values())
    return Counts(len(asked), len(seeds), same, seeds.count(1))


def size_answer(entries: Mapping[str, Entries]) -> str:
    """What of the answers depends on size, and how sure that is."""
    counts = _counts(entries)
    changed = counts.decided - counts.same
    close, known = counts.made - counts.decided, counts.decided
    return f"""**The answer.** Seldom: in {changed} of {known} comparisons a claim is true at one
size and false at the other. We say that raw embeddings succeed, and would take that back if they
failed in the paper’s 40 epochs, under settings that it leaves open, while attention succeeded.

**How sure.** Moderately. A *comparison* takes one claim and one model, and asks at both sizes
whether the claim is true: for example, whether raw embeddings fail. We made {counts.made}
comparisons. {close} of the {counts.made} are too close to call: our number is so near the line
between true and false, such as {FAILURE:.0%}, that its error (a 95% interval) leaves the answer
open. Of the other {known}, {counts.same} have the same answer at both sizes, and {changed} change.
At the paper’s size {counts.alone} of the {known} rest on one *seed*, that is, one training. Their
error leaves out how far other seeds would differ. Many comparisons also share trainings, so that
they are not independent of each other.
[Some chapters](certainty-one-size) have the small size only."""


def turned_text(entries: Mapping[str, Entries]) -> str:
    """What has another answer at the paper's sizes: a table of claims, and the ledger's answers."""
    counts = _counts(entries)
    turns, many = ledger_turns(entries)
    _, keys = _parts(entries)["turned"]
    found = _answers(entries)
    return f"""**{counts.decided - counts.same} answers change.**

:::{{container}} compact
{_table(entries, found, keys, plain=True)}
:::

{_near_misses(entries, keys)}**Exact numbers depend on size more.**
[The ledger](claims.md), our list of the paper’s claims, asks another question:
is our number within about two points of the paper’s? It can be asked of more claims, such as those
that are only a number. {len(turns)} of {many} answers to it change.
{_drop(entries)}"""


def _near_misses(entries: Mapping[str, Entries], keys: list[tuple[str, str, str]]) -> str:
    """How many models miss a line above that for success and yet succeed at both sizes."""
    lines, lowest = [], []
    for name, *pair in keys:
        line = statement(entries[PAPER][name].claim)
        known = [
            f.mean
            for profile in (BOOK, PAPER)
            for f in entries[profile][name].findings
            if [f.experiment, f.protocol] == pair
        ]
        if line is None or line.relation != "at least" or line.value is None:
            continue
        if line.value > SUCCESS and min(known) >= SUCCESS:
            lines.append(f"{line.value:.0%}")
            lowest.append(min(known))
    if not lines:
        return ""
    bounds = " or ".join(dict.fromkeys(lines))
    return f"""{len(lines)} of the rows are about a bound of {bounds}. Their
models succeed at both sizes: they have {math.floor(100 * min(lowest))}% or more.

"""


def _drop(entries: Mapping[str, Entries]) -> str:
    """What most of the changes of the ledger's answers have in common; "" if they have nothing."""
    turns, _ = ledger_turns(entries)
    fall = [key for key, answers in turns.items() if key[2] == ALL and answers[0] == AGREES]
    if 2 * len(fall) <= len(turns):
        return ""
    ends = []
    for profile in (BOOK, PAPER):
        means = [
            f.mean
            for name, experiment, protocol in fall
            for f in entries[profile][name].findings
            if (f.experiment, f.protocol) == (experiment, protocol)
        ]
        written = dict.fromkeys(f"{100 * end(means):.0f}%" for end in (min, max))
        ends.append(" to ".join(written))
    return f"""{len(fall)} of the {len(turns)} are alike: the query is included, and precision is
{ends[0]} at the small size, and {ends[1]} at the paper’s. The models still succeed, but they
miss the paper’s number."""


ALL = "all"
"""The reading in which the query may be picked."""


def _answers(entries: Mapping[str, Entries]) -> dict[tuple[str, str, str], tuple[str, str]]:
    """The answer of every comparison at the two sizes."""
    everything = _compared(entries)
    return {key: (a or UNSURE, b or UNSURE) for key, (a, b, _) in everything.items()}


def _parts(
    entries: Mapping[str, Entries],
) -> dict[str, tuple[str, list[tuple[str, str, str]]]]:
    """The comparisons by what became of them, with what is said of it."""
    parts: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
        "turned": ("change with size", []),
        TRUE: ("are true at both sizes", []),
        FALSE: ("are false at both sizes", []),
        UNSURE: ("are too close to call at one size or both", []),
    }
    for key, (small, large) in _answers(entries).items():
        part = small if small == large else "turned"
        parts[UNSURE if UNSURE in (small, large) else part][1].append(key)
    return parts


def size_tables(entries: Mapping[str, Entries]) -> str:
    """The comparisons that do not change, and the ledger's that do, as folded Markdown tables."""
    found, (_, *parts) = _answers(entries), _parts(entries).values()
    turns, _ = ledger_turns(entries)
    tables = [(title, found, keys) for title, keys in parts]
    tables.append(
        ("change if we ask whether our number agrees with the paper’s", turns, list(turns))
    )
    return "".join(
        _dropdown(f"The {len(keys)} that {title}", _table(entries, table, keys))
        for title, table, keys in tables
    )


def _dropdown(title: str, table: str) -> str:
    """A table behind its title."""
    return f"""::::{{dropdown}} {title}
:::{{container}} compact
{table}
:::
::::

"""


def _table(
    entries: Mapping[str, Entries],
    found: Mapping[tuple[str, str, str], tuple[str, str]],
    keys: list[tuple[str, str, str]],
    *,
    plain: bool = False,
) -> str:
    """A row for each claim and answer; conditions and protocols with the same answer share it.

    `plain`: claims and models are in the words of `PLAIN`, as far as these go; one seed is said.
    """
    if not keys:
        return "None."
    rows: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for name, experiment, protocol in keys:
        rows.setdefault((name, *found[name, experiment, protocol]), []).append(
            (experiment, protocol)
        )
    head = "the paper" if {AGREES, DIFFERS} & set(found[keys[0]]) else "line"
    asked, end = ASKED[head], END[head]
    on, line = ("for this model", "true if precision is") if plain else ("tested on", head)
    known, words = catalogue(PROFILES[PAPER]), PLAIN if plain else {}
    lines = [
        f"| claim | {on} | {line} | {asked}small size{end} | {asked}paper’s size{end} |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (name, small, large), pairs in rows.items():
        claim = entries[PAPER][name].claim
        cells = [
            f'<a href="claims.html#{name}">{words.get(name, claim.statement.rstrip("."))}</a>',
            _models(pairs, {key: words.get(key, known[key].label) for key, _ in pairs}),
            str(claim) if small in (AGREES, DIFFERS) else _statement(claim, plain=plain),
        ]
        for profile, answer in ((BOOK, small), (PAPER, large)):
            said = SAID.get(answer, answer)
            alone = " (one seed)" if plain and _rests_on_one(entries[profile][name], pairs) else ""
            cells.append(f"{said}: {_numbers(entries[profile][name], pairs)}{alone}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


ASKED = {"line": "true at the ", "the paper": ""}
END = {"line": "?", "the paper": ""}
"""What stands around a size in a table's head, by the head of the column before it."""

SAID = {TRUE: "yes", FALSE: "no"}
"""How a table answers the question of its head."""

PLAIN = {
    "segment-bidirectional-flow": "A router that picks segments fails behind "
    "bidirectional Mamba, a layer that reads both ways.",
    "causal-succeeds": "Causal attention, which sees earlier tokens only, is above 98%.",
    "both-ingredients-succeed": "Whatever has context from both sides and compares tokens in "
    "pairs is above 98%.",
    "segment-bidirectional-mamba": "bidirectional Mamba",
    "causal-1": "one layer of causal attention",
    "perceiver-1": "Perceiver, a layer in which tokens exchange information through one vector",
}
"""Claims and conditions whose answer changes with size, in words that need no other page."""


def _models(pairs: list[tuple[str, str]], labels: Mapping[str, str]) -> str:
    """The labels of some conditions, each with its protocol where only one is meant."""
    protocols: dict[str, list[str]] = {}
    for experiment, protocol in pairs:
        protocols.setdefault(experiment, []).append(protocol)
    return "; ".join(
        labels[name]
        + (f" ({READINGS.get(only[0], only[0])})" if len(only) == 1 and only != [ONLY] else "")
        for name, only in protocols.items()
    )


def _statement(claim: Claim, *, plain: bool = False) -> str:
    """What a claim says, and its line: that something fails or succeeds, or a bound.

    `plain`: the line in words alone.
    """
    behind = statement(claim)
    if behind is None:
        raise ValueError("claim: it has no statement")
    metric = "" if claim.metric == "precision" else f"{METRICS.get(claim.metric, claim.metric)} "
    if behind.value is None:
        return f"{metric}{behind.relation}"
    if plain:
        return f"{metric}{behind.relation} {claim.write(behind.value, math.nan)}"
    sign = {"at most": "≤", "at least": "≥"}[behind.relation]
    usual = {FAILURE: " (fails)", SUCCESS: " (succeeds)"}
    says = usual.get(behind.value, "") if claim.direction else ""
    return f"{metric}{sign} {claim.write(behind.value, math.nan)}{says}"


def _numbers(entry: Entry, pairs: list[tuple[str, str]]) -> str:
    """The lowest and the highest mean of some conditions and protocols."""
    means = [f.mean for f in entry.findings if (f.experiment, f.protocol) in pairs]
    return entry.claim.span(means)


def _rests_on_one(entry: Entry, pairs: list[tuple[str, str]]) -> bool:
    """Whether some conditions and protocols have one seed each."""
    seeds = [f.n for f in entry.findings if (f.experiment, f.protocol) in pairs]
    return set(seeds) == {1}


def profile_table() -> str:
    """The sizes of the paper's task at the book's profile and at the paper's, as Markdown."""
    small, large = PROFILES[BOOK], PROFILES[PAPER]
    rows: dict[str, Callable[[Profile], int]] = {
        "tokens in a sequence": lambda p: p.evidence.length,
        "token ids": lambda p: p.evidence.vocabulary,
        "least distance from query to evidence": lambda p: p.evidence.min_distance,
        "width of the models": lambda p: p.width,
        "training sequences": lambda p: p.training.sequences,
        "epochs": lambda p: p.training.epochs,
        "epochs of a longer training": lambda p: p.settled.epochs,
        "test sequences": lambda p: p.training.held_out,
        "tokens in a segment": lambda p: p.segment,
        "tokens that a bandit chooses from": lambda p: p.arms,
    }
    lines = [f"| size | `{BOOK}` | `{PAPER}` |", "| --- | --: | --: |"]
    lines += [f"| {what} | {of(small):,} | {of(large):,} |" for what, of in rows.items()]
    return "\n".join(lines)


def undefined_table(entries: Mapping[str, Entry]) -> str:
    """What the paper leaves undefined and the claims that wait for it: their counts and a table.

    `entries`: of each claim the one that decides.
    """
    waiting: dict[str, list[str]] = {}
    for name, entry in entries.items():
        if entry.claim.undefined:
            link = f'<a href="claims.html#{name}">{title_of(entry.claim)}</a>'
            waiting.setdefault(entry.claim.undefined, []).append(link)
    many = sum(map(len, waiting.values()))
    undefined = [entry for entry in entries.values() if entry.claim.undefined]
    also = sum(entry.judgement.kind == NOT_HERE for entry in undefined)
    lines = [
        f"{many} claims wait for a definition. {also} of them need pretrained weights, too.",
        "",
        "| what would have to be defined | how many wait | the claims |",
        "| --- | --: | --- |",
    ]
    lines += [
        f"| {what} | {len(links)} | {'; '.join(links)} |"
        for what, links in sorted(waiting.items(), key=lambda item: -len(item[1]))
    ]
    return "\n".join(lines)
