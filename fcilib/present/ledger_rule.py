"""The ledger's rule for readers: what came out, what a verdict means, how it is made, examples."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from fcilib.ledger.agreement import ROUNDING, STANDARD, margins
from fcilib.ledger.catalogue import ONLY
from fcilib.ledger.claims import FAILURE, SUCCESS, Claim, claims
from fcilib.ledger.findings import Finding
from fcilib.ledger.intervals import Interval
from fcilib.ledger.ledger import Entry, evidence, summary
from fcilib.ledger.verdict import (
    CONTRADICTED,
    HOLDS,
    NOT_HERE,
    OPEN,
    SUBSTANCE,
    UNDER,
    compared,
    directed,
    is_fair,
)
from fcilib.study.notation import NONE, READINGS, seeds_text

MEANINGS = {
    HOLDS: "Our number agrees with the paper’s under the literal reading.",
    UNDER: "It differs under the literal reading, but agrees under another, which the verdict "
    "names.",
    SUBSTANCE: "It differs under every reading, but the paper’s conclusion (the statement) is "
    "true.",
    CONTRADICTED: "It differs under every reading, and the paper’s conclusion is false, or "
    "the paper draws none.",
    OPEN: "Our runs do not decide yet, or the paper does not define what to run "
    "([how many of each](ledger-open)).",
    NOT_HERE: "The claim needs pretrained weights, which have to be downloaded.",
}
"""What each verdict means, in a sentence."""

EXAMPLES = ("raw", "one-layer", "random-projections", "causal-attention")
"""Claims whose verdicts are worked out on the page; all but the first are folded."""

ALL_READINGS = {
    **READINGS,
    "ties lost": "a tie is a miss",
    "segment recall": "right segments counted",
}
"""What readings are called on the page."""

QUERY = {name: f"{READINGS[name].capitalize()}:" for name in ("all", "others")}
"""What the usual readings are called in an example."""

KINDS = {UNDER: "holds if …"}
"""What a kind of verdict is called on the page, where that is not its name."""


@dataclass(frozen=True)
class Line:
    """Decided claims that say the same of the same models, for a reader who wants the list."""

    says: str
    claims: tuple[str, ...]
    """The number shown is that of the first."""
    shown: str = ""
    """The condition whose number is shown; "" for the one that decides."""
    aside: bool = False
    """True for what stands in the closed part of the page."""


LINES = (
    Line(
        "Raw embeddings (a vector for each token plus one for its position, no layer) fail.",
        ("raw",),
    ),
    Line(
        "A left-to-right recurrence (*Flow*) fails.",
        ("unidirectional-flow", "flow", "unidirectional-fails"),
    ),
    Line(
        "A router whose own matrices were pretrained to match, and then frozen, fails on "
        "embeddings that stay random.",
        ("contrastive-frozen",),
    ),
    Line(
        "Methods without context from both sides, or without comparison in pairs, stay low. (Our "
        "counterexample: raw embeddings, which lack context.)",
        ("missing-ingredient-fails",),
    ),
    Line("On *MQAR*, a recall task, raw embeddings fail.", ("mqar-raw",)),
    Line(
        "One layer of attention multiplies the precision of raw embeddings. (Ours: the most that "
        "any layer could, rounded up.)",
        ("jump-ratio",),
        aside=True,
    ),
    Line(
        "Without attention, precision never rises by more than this in one epoch. (Our "
        "counterexample: raw embeddings.)",
        ("no-other-transition",),
        aside=True,
    ),
    Line(
        "One layer of attention succeeds, with this precision.",
        ("one-layer", "bidirectional-attention", "scale-bidirectional-1"),
    ),
    Line(
        "In its best epoch one layer of attention has this precision.",
        ("transition-peak",),
        aside=True,
    ),
    Line("Embeddings without positions fail.", ("content-only",)),
    Line(
        "On *HotpotQA*, real questions, random picks of 2 of 16 segments find a right one.",
        ("hotpotqa-random",),
        aside=True,
    ),
    Line("On MQAR one layer of attention succeeds.", ("mqar-attention",)),
    Line(
        "One layer of attention varies little from seed to seed (standard deviation).",
        ("seed-spread",),
        aside=True,
    ),
    Line("A trained router fails if random matrices replace its own.", ("random-projections",)),
    Line(
        "Fewer dimensions than in an untrained router hold 90% of the strength of the router’s "
        "matrix, with which it compares tokens.",
        ("rank-90",),
        aside=True,
    ),
)
"""The claims that are decided, in plain words."""


def answer(entries: Mapping[str, Entry]) -> str:
    """What became of the claims, and how sure that is. `entries`: of each the one that decides."""
    counts = summary(entries)
    decided = len(entries) - counts[OPEN] - counts[NOT_HERE]
    contradicted = counts[CONTRADICTED]
    named = [says for name, says in NAMED.items() if _is_contradicted(entries, name)]
    example = f", among them the claims that {' and '.join(named)} fail" if named else ""
    return f"""**The answer.** Of {len(entries)} claims our runs decide {decided}:
{decided - contradicted} stand, some under a condition, and
{contradicted} are contradicted{example}.

**How sure.** We decide a claim only with {STANDARD.seeds} *seeds*, repeated trainings from other
random numbers, at the paper’s sizes (512 tokens).{_exception(entries)}
Many claims share trainings: the {contradicted} contradictions come from only
{evidence(entries)[CONTRADICTED]} groups of trainings, so they are not independent of each other.
[How sure we are](certainty.md) says what would change our mind."""


def _exception(entries: Mapping[str, Entry]) -> str:
    """Decided claims that follow by counting need no training; "" if there is none."""
    counted = [e for e in entries.values() if e.claim.counted and e.judgement.kind != OPEN]
    if not counted:
        return ""
    which = link(counted[0], "random picks on HotpotQA")
    one = f"We decide one claim without training, {which}: it follows by counting."
    several = f"We decide {len(counted)} claims on random picks without training, by counting."
    return f" {one if len(counted) == 1 else several}"


NAMED = {"raw": "raw embeddings", "unidirectional-flow": "left-to-right recurrences"}
"""What is named in the answer if the claim that it fails is contradicted."""


def _is_contradicted(entries: Mapping[str, Entry], name: str) -> bool:
    return name in entries and entries[name].judgement.kind == CONTRADICTED


SEEDS, DEFINITION, RUNS, COST = "seeds", "a definition", "runs", "a way to judge costs"
"""What an open claim may lack."""

LACKS = {
    SEEDS: "only more seeds at the paper’s sizes",
    DEFINITION: "a definition that the paper does not give",
    RUNS: "a training of some model at the paper’s sizes",
    COST: "a way to judge costs: the ledger judges only trainings",
}
"""What an open claim may lack, for readers."""


def lacking(entry: Entry) -> str | None:
    """What a claim lacks in order to be decided; None if it is not open."""
    if entry.judgement.kind != OPEN:
        return None
    if entry.claim.undefined:
        return DEFINITION
    if not entry.claim.decided_by:
        return COST
    seeds = r"\d+ (more )?seed|more seeds of"
    return SEEDS if all(re.match(seeds, text) for text in entry.judgement.missing) else RUNS


def open_table(entries: Mapping[str, Entry]) -> str:
    """How many open claims lack what, as a Markdown table."""
    lacks = Counter(lacking(entry) for entry in entries.values())
    lines = ["| what is missing | open claims |", "| --- | --: |"]
    lines += [f"| {says} | {lacks[what]} |" for what, says in LACKS.items() if lacks[what]]
    return "\n".join(lines)


def verdicts_table(entries: Mapping[str, Entry]) -> str:
    """The six verdicts, how many claims have each, and what it means, as a Markdown table."""
    counts = summary(entries)
    lines = ["| verdict | claims | what it means |", "| --- | --: | --- |"]
    for verdict, meaning in MEANINGS.items():
        lines.append(f"| *{kind_of(verdict)}* | {counts[verdict]} | {meaning} |")
    return "\n".join(lines)


def kind_of(verdict: str) -> str:
    """What a kind of verdict is called on the page."""
    return KINDS.get(verdict, verdict)


def in_words(verdict: str) -> str:
    """A verdict with its readings in words."""
    readings = verdict.removeprefix(f"{UNDER} ")
    return verdict if readings == verdict else f"{HOLDS} {IF.get(readings, f'under {readings}')}"


def decided_table(entries: Mapping[str, Entry], aside: bool = False) -> str:
    """The decided claims in plain words, contradicted ones first, as a Markdown table.

    A claim that no line of `LINES` has gets its own; so do claims of a line that came out
    differently. `aside`: the lines of the closed part, in place of the others.
    """
    decided = {n: e for n, e in entries.items() if e.judgement.kind not in (OPEN, NOT_HERE)}
    known = {name for line in LINES for name in line.claims}
    alone = [Line(f"{title_of(e.claim)}.", (n,)) for n, e in decided.items() if n not in known]
    rows = []
    for line in (line for line in (*LINES, *alone) if line.aside == aside):
        members: dict[str, list[Entry]] = {}
        for name in line.claims:
            if name in decided:
                members.setdefault(decided[name].judgement.verdict, []).append(decided[name])
        for verdict, part in members.items():
            numbers = ", ".join(link(entry, _paper(entry)) for entry in part)
            ours = _ours(part[0], line.shown)
            pair = [ours.pop(reading, NONE) for reading in QUERY]
            cells = (line.says, numbers, *pair, _plain(verdict, ours))
            rows.append((_ORDER.index(part[0].judgement.kind), f"| {' | '.join(cells)} |"))
    lines = ["| what the paper says | paper | ours: query included | query excluded | verdict |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    return "\n".join([*lines, *(row for _, row in sorted(rows, key=lambda pair: pair[0]))])


_ORDER = (CONTRADICTED, UNDER, HOLDS, SUBSTANCE)
"""The order of verdicts in the list of what is decided."""

IF = {
    "others": "if the query is excluded",
    "ties lost": "if a tie counts as a miss",
    "segment recall": "if right segments are counted",
}
"""Readings other than the literal one, as conditions."""

BOUNDS = {"most_gain": "at most"}
"""What stands before our number if it is no measurement but a bound on one."""


def _plain(verdict: str, further: Mapping[str, str]) -> str:
    """A verdict in words, with our numbers under readings other than the usual two, `further`."""
    readings = verdict.removeprefix(f"{UNDER} ")
    said = in_words(verdict)
    if readings == verdict:
        return said
    own = f" ({further[readings]})" if readings in further else ""
    rest = f", else {further[ONLY]}" if ONLY in further else ""
    return f"{said}{own}{rest}"


def _paper(entry: Entry) -> str:
    """The paper's number, with what it is where that is no mean."""
    where = {"sd": "spread "}.get(entry.claim.statistic, "")
    return f"{'epoch ' if entry.claim.metric == 'rise_epoch' else where}{entry.claim}"


def _ours(entry: Entry, shown: str = "") -> dict[str, str]:
    """Our number by reading. `shown`: a condition, in place of the first that decides."""
    claim, condition = entry.claim, shown or entry.judgement.deciding[0]
    return {
        f.protocol: f"{BOUNDS.get(claim.metric, '')} {_mean_or_sd(claim, f)}".lstrip()
        for f in entry.findings
        if f.experiment == condition
    }


def _mean_or_sd(claim: Claim, finding: Finding) -> str:
    """What a claim is about, without an error."""
    value = finding.sd if claim.statistic == "sd" else finding.mean
    return written(claim, value, up=claim.metric in BOUNDS)


def written(claim: Claim, value: float, *others: float, up: bool = False) -> str:
    """A number in the claim's unit, with as many digits as the numbers beside it.

    `up`: rounded up, as a bound on what could be.
    """
    if claim.unit == "share":
        return claim.write(value, math.nan)
    size = max(map(abs, (value, *others)))
    digits = 2 if size < FINE else 1
    if up:
        value = math.ceil(value * 10**digits - ROUNDING) / 10**digits
    return f"{value:.{digits}f}"


FINE = 2.0
"""Below it a number that is no share has two digits after the point, and above it one."""


def rule_page(entries: Mapping[str, Entry]) -> str:
    """The rule, step by step, in Markdown. `entries`: of each claim the one that decides."""
    rule = STANDARD
    stated = sum(entry.claim.direction is not None for entry in entries.values())
    return f"""1. **Readings** are judged one by one. Mostly they differ in whether the router may
   pick the query itself. The literal reading takes the text’s words as they stand, and our default
   where the text is silent. The text does not say how a *tie* counts, that is, the same score for
   the query and the right token. By default a tie is half a hit. In another reading it is a
   miss.
2. **Our number** is a mean over seeds. Its 95% *interval* allows for other seeds and other test
   sequences.
3. **Margin.** Two numbers agree if they are within {points(rule.margin)}. Near chance the margin
   shrinks to half the distance from chance, but not below the sampling error of the paper’s number.
   For that error we assume {rule.paper_examples:,} test sequences. It is not symmetric.
4. **Fair trial.** Only a fair trial counts. It has the paper’s sizes, the paper’s training steps,
   at least {rule.seeds} seeds, and a number that no longer changes at the end of training, where
   it was measured after each epoch. The one
   exception is random picks on HotpotQA. Nothing is trained there, and the number follows by
   counting.
5. **Answer.** A reading *agrees* if our mean lies within the margin. If chance lies within the
   margin too, the reading agrees only if our interval contains chance. A reading *differs* if our
   whole interval lies outside the margin. Otherwise it is *undecided*. A claim about several
   models agrees if all of them do. It differs as soon as one model differs in a fair trial. If the
   literal reading is undecided, the claim is open, even if another reading agrees.
6. **Statement.** {stated} of the {len(entries)} claims come with a *statement*, the conclusion that
   the paper draws from its number, such as “raw embeddings fail”. The other
   {len(entries) - stated} are a *bare number or a bound*. If every reading differs, the statement
   under the literal reading decides between *contradicted* and *{SUBSTANCE}*; if our interval does
   not tell, the claim is open. A model fails at {FAILURE:.0%} or less, and succeeds at
   {SUCCESS:.0%} or more. A bare number that differs is contradicted.
"""


def examples(entries: Mapping[str, Entry]) -> str:
    """How some verdicts come about, as Markdown; all but the first are folded.

    Claims without a record have no example.
    """
    shown = [entries[name] for name in EXAMPLES if entries[name].findings]
    if not shown:
        return ""
    first, *others = shown
    folded = [
        f"::::{{dropdown}} {_quoted(entry)}: {in_words(entry.judgement.verdict)}\n"
        f"{worked(entry)}\n::::\n"
        for entry in others
    ]
    verdict = in_words(first.judgement.verdict)
    head = f"**{_quoted(first)}: {verdict}** ({link(first, 'its row')})\n"
    return "\n".join([head, worked(first), *folded])


def _quoted(entry: Entry) -> str:
    """A claim's title and number, in quotation marks."""
    return f"“{title_of(entry.claim)}: {entry.claim}”"


def worked(entry: Entry) -> str:
    """How the verdict on a claim comes about, in five lines and the verdict, as Markdown."""
    claim, judgement = entry.claim, entry.judgement
    parts = {_reading(entry, protocol): part[0] for protocol, part in entry.by_protocol.items()}
    ours = " ".join(
        f"{name} {claim.write(f.mean, math.nan)}, 95% interval {reach(claim, f.interval)}."
        for name, f in parts.items()
    )
    seeds = entry.findings[0].n
    zones = dict.fromkeys(f"{_zone(f, claim)}{_why(f, claim)}" for f in parts.values())
    answers = {name: _decides(claim, f) for name, f in parts.items()}
    said = " ".join(f"{name} {answer}." for name, answer in answers.items())
    if len({*answers.values()}) == 1:
        said = f"{answers.popitem()[1].capitalize()}, for every reading."
    return f"""1. *Our number.* {ours} ({seeds_text(seeds)})
2. *What would agree?* Numbers from {" or from ".join(zones)}.
3. *Does ours agree?* {said}
4. *Is the trial fair?* {_fairness(entry)}.
5. *Is the paper’s conclusion true?* {_concludes(entry)}.

The verdict: **{in_words(judgement.verdict)}**.{_missing(entry)}
"""


def _missing(entry: Entry) -> str:
    """What an example that is open lacks; nothing if it is decided."""
    if entry.judgement.kind != OPEN:
        return ""
    return f" Missing: {'; '.join(entry.judgement.missing)}."


def _reading(entry: Entry, protocol: str) -> str:
    """What a reading is called in an example."""
    if protocol in entry.claim.readings:
        return f"{ALL_READINGS.get(protocol, protocol).capitalize()}:"
    return QUERY.get(protocol, "Literal reading:")


def _fairness(entry: Entry) -> str:
    """Whether the trials of a claim are fair, and what they lack."""
    if entry.claim.counted:
        return "It need not be: the number follows by counting"
    if all(is_fair(finding, STANDARD) for finding in entry.findings):
        followed = all(finding.curve for finding in entry.findings)
        rest = "the number no longer changes at the end of training"
        last = f"and {rest}" if followed else "a number that is measured after training alone"
        return f"Yes: the paper’s sizes and training steps, at least {STANDARD.seeds} seeds, {last}"
    return f"No: it lacks {'; '.join(entry.judgement.missing)}. No answer counts yet"


def _concludes(entry: Entry) -> str:
    """Whether the statement behind a number is true; asked only if every reading differs."""
    claim, kind = entry.claim, entry.judgement.kind
    if kind not in (SUBSTANCE, CONTRADICTED):
        if kind not in (HOLDS, UNDER):
            return "Not asked yet"
        true = claim.direction and all(directed(claim, f) for f in entry.findings)
        told = "Yes, for every reading. " if true else ""
        return f"{told}This matters only if no reading agrees"
    if claim.direction is None:
        return "There is none: the claim is a number or a bound"
    told = {True: "Yes", False: "No", None: "Undecided"}[directed(claim, entry.findings[0])]
    word = {FAILURE: "fails", SUCCESS: "succeeds"}.get(claim.direction.value or 0.0)
    says = f"It says that the model {word}, that is, reaches" if word else "It is:"
    return f"{told}. {says} {claim.behind}"


def title_of(claim: Claim) -> str:
    """A claim's title; else its statement without the full stop, with the metric where another
    claim has the same.
    """
    if claim.title:
        return claim.title
    twins = sum(other.statement == claim.statement for other in claims().values())
    return claim.statement.rstrip(".") + (f", {claim.metric}" if twins > 1 else "")


def link(entry: Entry, text: str = "") -> str:
    """A link to a claim's row, by its title or by another text."""
    return f'<a href="#{entry.name}">{escape(text or title_of(entry.claim))}</a>'


def _zone(finding: Finding, claim: Claim) -> str:
    """What agrees with the claim's number, at a finding's chance level."""
    return reach(claim, claim.zone(finding.level)[0])


def _why(finding: Finding, claim: Claim) -> str:
    """Why so much agrees with a share that is judged with a level of chance."""
    if finding.level is None or claim.tolerance is not None or claim.relation != "equals":
        return ""
    value, *far = margins(claim.value, claim.decimals, finding.level)
    usual, half = STANDARD.margin, STANDARD.way * abs(value - finding.level.here)
    error = (
        "the paper’s number may be off by this much, if it was counted on "
        f"{STANDARD.paper_examples:,} sequences"
    )
    whys = []
    for margin in far:
        if margin > min(usual, half) + ROUNDING:
            whys.append(error)
        else:
            whys.append(
                f"within {points(usual)}" if usual <= half else "half the distance from chance"
            )
    below, above = whys
    return f" ({below})" if below == above else f" (below: {below}; above: {above})"


def _decides(claim: Claim, finding: Finding) -> str:
    """Why one reading agrees, differs or is undecided."""
    reading = compared(claim, finding)
    if reading is False:
        return "no, the whole interval lies outside"
    if reading is None:
        return "undecided, the interval does not tell"
    agreeing, _ = claim.zone(finding.level)
    if finding.level is None or finding.level.here not in agreeing:
        return "yes, our number lies inside"
    return "yes, chance lies inside, and our interval contains chance"


def reach(claim: Claim, values: Interval) -> str:
    """An interval in the claim's unit; a share ends at 0 and 1."""
    low, high = values.low, values.high
    if claim.unit == "share":
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{written(claim, low, high)} to {written(claim, high, low)}"


def points(share: float) -> str:
    """A share as percentage points."""
    return f"{100 * share:g} points"
