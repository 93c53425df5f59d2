"""The ledger's rule for readers: what came out, what a verdict means, how it is made, examples."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from html import escape

from fcilib.ledger.agreement import STANDARD
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

MEANINGS = {
    HOLDS: "Our number agrees with the paper’s under the literal reading of its text.",
    f"{UNDER} …": "Our number agrees under another reading, which the verdict names. Under the "
    "literal one it differs.",
    SUBSTANCE: "Our number differs under every reading. The statement behind the paper’s number "
    "is still true under the literal reading: for instance, what is said to fail does fail.",
    CONTRADICTED: "Our number differs under every reading. If there is a statement behind the "
    "paper’s number, it is false under the literal reading too.",
    OPEN: "Our runs do not decide yet, or no run can, because the paper does not define what to "
    "run. What is missing stands below the verdict.",
    NOT_HERE: "The claim needs pretrained weights that can’t be had offline. Below the verdict "
    "stands the command that would test it.",
}
"""What each verdict means, in a line."""

COUNTED = {
    HOLDS: ("holds", "hold"),
    UNDER: (
        "holds under another reading of the text than the literal one",
        "hold under another reading of the text than the literal one",
    ),
    SUBSTANCE: (
        "differs in its number, but the statement behind it is true",
        "differ in their numbers, but the statements behind them are true",
    ),
    CONTRADICTED: ("is contradicted", "are contradicted"),
    OPEN: ("is open", "are open"),
    NOT_HERE: ("can’t be tested here", "can’t be tested here"),
}
"""What is said of one claim, and of several, that have a kind of verdict."""

EXAMPLES = {
    "raw": "the router picks the query’s copy",
    "perceiver-1": "the router picks the query’s copy",
    "hotpotqa-random": "questions with a hit",
}
"""Claims whose verdicts are worked out on the page, with what their numbers are shares of."""


def answer(entries: Mapping[str, Entry]) -> str:
    """What became of the claims, in sentences. `entries`: of each claim the one that decides."""
    counts = {kind: count for kind, count in summary(entries).items() if count}
    said = "".join(f"* **{count}** {COUNTED[kind][count > 1]}.\n" for kind, count in counts.items())
    lacks = Counter(lacking(entry) for entry in entries.values())
    other = (
        f" The last {lacks[COST]} is about a cost, and the ledger judges only trainings."
        if lacks[COST]
        else ""
    )
    decided = len(entries) - counts.get(OPEN, 0) - counts.get(NOT_HERE, 0)
    contradicted = counts.get(CONTRADICTED, 0)
    results = evidence(entries)[CONTRADICTED]
    named = [
        says
        for name, (kind, says) in NAMED.items()
        if name in entries and entries[name].judgement.kind == kind
    ]
    return f"""**The answer.** Our runs decide {decided} of {len(entries)} claims, and contradict
{contradicted} of these.

**What we found.** {" ".join(named)} The {len(entries)} claims by their verdict:

{said}
The contradicted claims are not independent: they rest on {results} sets of training runs that share
no run.
Of the open claims {lacks[SEEDS]} lack only more *seeds*, that is, repeated trainings from other
random numbers. Another {lacks[DEFINITION]} need a definition that the paper does not give, and
{lacks[RUNS]} lack runs, such as a model that was not trained at the paper’s sizes.{other}"""


NAMED = {
    "raw": (CONTRADICTED, "The paper says that raw embeddings fail; our runs contradict it."),
    "unidirectional-flow": (
        CONTRADICTED,
        "The paper says that a left-to-right recurrence fails; they contradict this too.",
    ),
    "one-layer": (
        UNDER,
        "One layer of attention is enough, as it says, if the router may not pick the query.",
    ),
}
"""Claims that are named if they have this kind of verdict, and what is then said."""

SEEDS, DEFINITION, RUNS, COST = "seeds", "a definition", "runs", "a way to judge costs"
"""What an open claim may lack."""


def lacking(entry: Entry) -> str | None:
    """What a claim lacks in order to be decided; None if it is not open."""
    if entry.judgement.kind != OPEN:
        return None
    if entry.claim.undefined:
        return DEFINITION
    if not entry.claim.decided_by:
        return COST
    seeds = r"\d+ (more )?seed|a narrower interval"  # which more seeds make narrower
    return SEEDS if all(re.match(seeds, text) for text in entry.judgement.missing) else RUNS


def rule_page(entries: Mapping[str, Entry]) -> str:
    """What the verdicts mean, the rule and three worked examples, in Markdown.

    `entries`: of each claim the one that decides.
    """
    verdicts = "\n".join(f"| *{verdict}* | {meaning} |" for verdict, meaning in MEANINGS.items())
    rule = STANDARD
    stated = sum(entry.claim.direction is not None for entry in entries.values())
    return f"""A *reading* is one way to understand the paper’s text. The *literal* reading takes
the words as they stand. Where the text is silent, it takes our default, so it is partly our
choice. The *statement* behind a number is the conclusion that the paper draws from it, such as
“raw embeddings fail”. {stated} of the {len(entries)} claims come with such a statement. The other
{len(entries) - stated} are a bare number or a bound, such as “at most 29%”.

| verdict | what it means |
| --- | --- |
{verdicts}

### The rule

1. **Readings** are judged one by one. Mostly they differ in whether the router may pick the query
   itself. In the literal reading, `all`, it may. In the reading `others` it may not. The text does
   not say how a *tie* counts, that is, the same score for the query and the right token. In the
   reading `all` a tie is half a hit, our default. The reading `ties lost` is `all` with a tie
   counted as a miss.
2. **Our number** is a mean over seeds. Its 95% *interval* allows for other seeds and other test
   sequences.
3. **Margin.** Two numbers agree if they are within {points(rule.margin)}. Near chance the margin
   is smaller, but never smaller than the error that the paper’s number must have if it was counted
   over {rule.paper_examples:,} test sequences, as we assume.
4. **Answer.** A reading *agrees* if our mean lies within the margin. If the paper’s number is so
   near chance that chance lies within the margin, our interval has to contain chance. A reading
   *differs* if our whole interval lies outside the margin. Otherwise it is *undecided*. A claim
   about several models agrees if all of them do, and differs as soon as one of them differs in a
   fair trial of its own.
5. **Fair trial.** Only a fair trial counts. It has the paper’s sizes, the paper’s training steps,
   at least {rule.seeds} seeds, and a result that no longer moves. The one exception is random
   picks on HotpotQA: nothing is trained there, and counting gives the number.
6. **Statement.** If every reading differs, the statement decides between *contradicted* and *the
   statement holds, the number differs*. A model fails at {FAILURE:.0%} or less, and succeeds at
   {SUCCESS:.0%} or more.

The formulas, and what the rule does near chance and with wide intervals, are
[in detail](ledger-statistics) below.

### Three examples

A column works out one verdict, first for the literal reading and then for the other. The numbers
on the left are those of the rule.

:::{{container}} compact
{_examples({name: entries[name] for name in EXAMPLES if entries[name].findings})}
:::

* In the first and the third example the error of the paper’s number is more than the margin would
  be, at least on the upper side, and takes its place there.
* In the third example a *hit* is a question for which at least one supporting segment was picked.
  The paper’s 12.5% is the chance of one given segment, 2 of 16. Our chance is a little higher,
  since some texts have fewer segments. A hit is more frequent, because most questions have two
  supporting segments or more.
"""


def _examples(entries: Mapping[str, Entry]) -> str:
    """How verdicts come about: a column for each claim, a row for each step, as Markdown."""
    columns = [_worked(entry) for entry in entries.values()]
    titles = [link(entry) for entry in entries.values()]
    lines = [f"| line | {' | '.join(titles)} |", "| --- " * (len(columns) + 1) + "|"]
    for label in columns[0] if columns else ():
        lines.append(f"| {label} | {' | '.join(column[label] for column in columns)} |")
    return "\n".join(lines)


def _worked(entry: Entry) -> dict[str, str]:
    """How the verdict on a claim of two readings comes about, by the rule's lines."""
    claim, judgement = entry.claim, entry.judgement
    cells = {"the paper’s number": str(claim)}
    for order, (protocol, (finding, *_)) in zip(
        ("literal", "other"), entry.by_protocol.items(), strict=True
    ):
        seeds = f"{finding.n} seed{'s' if finding.n > 1 else ''}"
        chance = "" if finding.level is None else claim.write(finding.level.here, math.nan)
        cells |= {
            f"1 {order} reading": _reading(entry, protocol),
            f"2 our number, {order} reading": f"{claim.write(finding.mean, finding.sd)}, {seeds}"
            f"<br>interval {reach(claim, finding.interval)}<br>chance {chance}",
            f"3 what agrees, {order} reading": _zone(finding, claim),
            f"4 answer, {order} reading": _decides(claim, finding),
        }
    cells |= {"5 fair trial": _fairness(entry), "6 statement": "not asked"}
    if claim.behind and judgement.kind in (SUBSTANCE, CONTRADICTED):
        stands = {True: "true", False: "false", None: "undecided"}
        side = stands[directed(claim, entry.findings[0])]
        cells["6 statement"] = f"“{claim.metric} is {claim.behind}” is {side}"
    return cells | {"**verdict**": f"***{judgement.verdict}***"}


def _reading(entry: Entry, protocol: str) -> str:
    """What a reading counts, in words."""
    if protocol in entry.claim.readings:
        return f"`{protocol}`: {entry.claim.readings[protocol].says}"
    if not protocol:
        return EXAMPLES[entry.name]
    return f"`{protocol}`: the query {'may' if protocol == 'all' else 'may not'} be picked"


def _fairness(entry: Entry) -> str:
    """Whether the trials of a claim are fair, and what they lack."""
    if entry.claim.counted:
        return "not needed: the number follows by counting"
    if all(is_fair(finding, STANDARD) for finding in entry.findings):
        return "yes"
    return f"no: it lacks {'; '.join(entry.judgement.missing)}. No answer counts yet"


def title_of(claim: Claim) -> str:
    """A claim's statement without its full stop, with the metric where another claim has it too."""
    twins = sum(other.statement == claim.statement for other in claims().values())
    return claim.statement.rstrip(".") + (f", {claim.metric}" if twins > 1 else "")


def link(entry: Entry) -> str:
    """A link to a claim's row, by its title."""
    return f'<a href="#{entry.name}">{escape(title_of(entry.claim))}</a>'


def _zone(finding: Finding, claim: Claim) -> str:
    """What agrees with the claim's number, at a finding's chance level."""
    return reach(claim, claim.zone(finding.level)[0])


def _decides(claim: Claim, finding: Finding) -> str:
    """Why one reading agrees, differs or is undecided."""
    reading = compared(claim, finding)
    if reading is False:
        return "*differs*: the whole interval lies outside"
    if reading is None:
        return "*undecided*: the interval does not tell"
    agreeing, _ = claim.zone(finding.level)
    if finding.level is None or finding.level.here not in agreeing:
        return "*agrees*: the mean lies inside"
    return "*agrees*: chance lies inside, and our interval contains chance"


def reach(claim: Claim, values: Interval) -> str:
    """An interval in the claim's unit; a share ends at 0 and 1."""
    low, high = values.low, values.high
    if claim.unit == "share":
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{claim.write(low, math.nan)} to {claim.write(high, math.nan)}"


def points(share: float) -> str:
    """A share as percentage points."""
    return f"{100 * share:g} points"
