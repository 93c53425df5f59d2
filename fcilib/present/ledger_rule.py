"""The ledger's rule for readers: how a verdict is made, worked examples, what other rules give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from fcilib.ledger.agreement import STANDARD, Rule
from fcilib.ledger.claims import FAILURE, SUCCESS, Claim
from fcilib.ledger.intervals import Interval
from fcilib.ledger.ledger import Entry, near_borders, sensitive
from fcilib.ledger.verdict import (
    ALTERNATIVES,
    CONTRADICTED,
    HOLDS,
    NOT_HERE,
    OPEN,
    SUBSTANCE,
    UNDER,
    compared,
)

SAID_WHEN = {
    HOLDS: "The paper's literal protocol agrees, in a fair trial.",
    f"{UNDER} …": "The literal protocol differs, and the readings that are named agree.",
    SUBSTANCE: "Every reading differs, and the statement behind the number holds under the literal "
    "protocol: what is said to fail fails, or what is said to succeed succeeds.",
    CONTRADICTED: "Every reading differs, and under the literal protocol the statement behind the "
    "number fails too.",
    OPEN: "A trial was not fair, an interval is too wide or lies on both sides of the statement’s "
    "line, or the paper leaves the method undefined. What is missing stands beside the verdict.",
    NOT_HERE: "It needs weights that can't be had offline. The command that would test it stands "
    "beside the verdict.",
}

EXAMPLES = ("raw", "one-layer", "hotpotqa-random")
"""Claims whose verdicts are worked out on the page."""

REASONS = {
    "hotpotqa-random": "A question has two supporting segments or more, and one of them among the "
    "two picks is a hit. 2 of 16 is the chance of any single one, which is what segment recall "
    "counts."
}
"""What an example needs said besides its numbers."""


def rule_page(entries: Mapping[str, Entry]) -> str:
    """The rule in Markdown, with the verdicts, three worked examples and the effect of other rules.

    `entries`: of each claim the one that decides.
    """
    verdicts = "\n".join(f"| *{verdict}* | {when} |" for verdict, when in SAID_WHEN.items())
    examples = "\n".join(f"* {_worked(entries[name])}" for name in EXAMPLES)
    changes = "\n".join(f"* {_changed(entries, other)}" for other in ALTERNATIVES)
    rule = STANDARD
    return f"""A verdict is made in four steps.

1. **Two intervals.** Ours: a mean over seeds gets a 95% interval that joins two errors, of the
   seeds (Student's) and of the finite test sets (Wilson's). A spread over seeds gets chi-square's.
   The paper's number is a measurement too. It may be off by half of the last place that is printed,
   and we assume that it rests on one seed and {rule.paper_examples:,} test sequences, since the
   paper does not say. It gets the Wilson interval of that.
2. **Agreement.** Two numbers agree if our mean lies within a *margin* of the paper's number; they
   differ if no part of our interval does. The margin is {_points(rule.margin)}, but never more than
   half the way to chance, and never less than the paper's own interval. Where chance is another at
   our size, the paper's number is first moved to lie as far above it (corrected for guessing).
   * *At chance.* If the margin reaches to chance, the paper's number could not be told from it.
     Ours agrees if its interval holds chance and leaves out {rule.told:g} times chance, so that a
     number so far above would have been noticed. Any other number agrees only if our interval
     leaves chance out.
   * *Too wide.* An interval that reaches farther than {rule.widest:g} margins from its mean decides
     nothing, unless all of it agrees or none.
   * *Other kinds.* A bound agrees on its side. A threshold has no margin. Ranks, ratios and cosines
     have one of their own. Random picks give no number for {_without_chance(entries)}, which have
     no chance level.
3. **A fair trial.** It has the paper's sizes, its number of training steps, at least
   {rule.seeds} seeds, as many as the paper reports, and a curve at rest: the last tenth of the
   training lies no more than {100 * rule.at_rest:g} point above or below the tenth before it. A
   claim about several conditions holds if a fair trial of each agrees, and fails by one that does
   not. What follows by counting needs no trial.
4. **Readings.** Every sensible reading of the protocol counts. Under `all`, the paper's literal
   text, the query itself may be picked; under `others` it may not. A reading of which there are no
   runs decides nothing, but for the literal one, without which nothing is contradicted.

Claims share runs, seeds and test sets. Their verdicts are therefore not independent, and some
of many intervals at 95% miss by chance.

| verdict | said when |
| --- | --- |
{verdicts}

**The statement behind a number.** The paper says that a router *succeeds* or *fails*, and gives a
number for it. The number may differ while the statement holds, so the rule needs a line for each,
and takes both from the paper. It says of its failures that they fall "below 35%" (§5); a failure is
therefore at most {FAILURE:.0%}. The lowest of the successes in its Table 3 are the indices that
learn nothing, at 82% to 91%; a success is therefore at least {SUCCESS:.0%}, rounded down. Between
the two lines neither is said. {_lines(entries)}

Three examples, computed from the records:

{examples}

Other rules would be reasonable too. These verdicts would change:

{changes}

{_undecided(entries)}

{_near(entries)}
"""


def _lines(entries: Mapping[str, Entry]) -> str:
    """How many claims each line decides, and which have a line of their own."""
    known = {n: e.claim.direction for n, e in entries.items() if e.claim.direction}
    ends = {n: direction.value for n, direction in known.items()}
    own = [_link(n) for n, value in ends.items() if value not in (FAILURE, SUCCESS)]
    fails, succeeds = (sum(v == line for v in ends.values()) for line in (FAILURE, SUCCESS))
    return (
        f"{fails} claims have the first line and {succeeds} the second. Others have a line that "
        f"their own statement names: {', '.join(own)}."
    )


def _undecided(entries: Mapping[str, Entry]) -> str:
    """Why claims stay open under the widest margin that a narrower one decides."""
    narrow, wide = ALTERNATIVES
    names = [
        name
        for name, entry in entries.items()
        if entry.judged(narrow).kind != OPEN and entry.judged(wide).kind == OPEN
    ]
    if not names:
        return "No claim that the first of these rules decides stays open under the second."
    entry = entries[names[0]]
    claim, (finding, *_) = entry.claim, entry.by_protocol[entry.claim.literal or ""]
    agreeing, _ = claim.zone(finding.level, wide)
    decided, ours = entry.judged(narrow).verdict, claim.write(finding.mean, finding.sd)
    others = ", ".join(map(_link, names[1:])) or "no other"
    return f"""A wider margin can leave open what a narrower one decides. The first of these rules
decides {_link(names[0])} (*{decided}*), and under the second it stays open. Under
`{finding.protocol}`, the literal reading, {finding.n} seeds gave {ours}, with an interval from
{_reach(claim, finding.interval)}. With two points all of it lies outside what agrees, so that the
literal reading differs. With five points what agrees begins at
{claim.write(agreeing.low, math.nan)}, inside the interval and above its mean. The number is then
neither near enough to agree nor far enough to differ, and a claim whose literal reading is
undecided stays open. The same goes for {others}, which rest on the same runs."""


def _without_chance(entries: Mapping[str, Entry]) -> str:
    """Links to the claims that have no chance level."""
    return " and ".join(_link(name) for name, entry in entries.items() if not entry.claim.chance)


NEAR = 0.005
"""So near to a border, as a share, an answer is named on the page."""


def _near(entries: Mapping[str, Entry]) -> str:
    """The claims that lie near a border of the rule, and what moving the borders would turn."""
    near = near_borders(entries, NEAR)
    names = ", ".join(f"{_link(name)} ({', '.join(which)})" for name, which in near.items())
    turned = {
        name: verdict
        for by in (-NEAR, NEAR)
        for name, verdict in sensitive(entries, replace(STANDARD, slack=by)).items()
    }
    verdicts = ", ".join(f"{_link(name)} (*{verdict}*)" for name, verdict in turned.items())
    return f"""**Near a border.** With all borders moved by half a point, outwards or inwards, what
some run says changes for {len(near)} of the {len(entries)} claims. In brackets: whether it is the
border of agreement, of the statement behind the number, or of a curve at rest. They are
{names or "none"}. Verdicts that change with them: {verdicts or "none"}."""


def _link(name: str) -> str:
    return f'<a href="#{name}"><code>{name}</code></a>'


def _changed(entries: Mapping[str, Entry], other: Rule) -> str:
    """The verdicts that another rule would change, each behind a link to its row."""
    verdicts = sensitive(entries, other).items()
    rows = [f"{_link(name)} ({verdict})" for name, verdict in verdicts]
    return f"If {other.name}: {', '.join(rows) or 'none'}."


def _worked(entry: Entry) -> str:
    """How the verdict on a claim comes about, reading by reading, in sentences."""
    claim = entry.claim
    parts = [f"**{claim.statement}** The paper has {claim}."]
    for protocol, (finding, *_) in entry.by_protocol.items():
        agreeing, _ = claim.zone(finding.level)
        side = {True: "agrees", False: "does not agree", None: "is too wide to say"}
        under = f"Under `{protocol}`" if protocol else "Here"
        seeds = f"{finding.n} seed{'s' if finding.n > 1 else ''}"
        parts += [
            f"{under}, {seeds} gave {claim.write(finding.mean, finding.sd)}.",
            f"What agrees reaches from {_reach(claim, agreeing)};",
            f"the interval, from {_reach(claim, finding.interval)},",
            f"{side[compared(claim, finding)]}.",
        ]
    if claim.behind:
        parts.append(f"The statement behind the number is: {claim.behind}.")
    if claim.counted:
        parts.append("It follows by counting, so that neither size nor seeds matter.")
    parts += [REASONS[entry.name]] if entry.name in REASONS else []
    judgement = entry.judgement
    missing = f"; missing: {'; '.join(judgement.missing)}" if judgement.missing else ""
    return " ".join([*parts, f"The verdict is *{judgement.verdict}*{missing}."])


def _reach(claim: Claim, values: Interval) -> str:
    """An interval in the claim's unit; a share ends at 0 and 1."""
    low, high = values.low, values.high
    if claim.unit == "share":
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{claim.write(low, math.nan)} to {claim.write(high, math.nan)}"


def _points(share: float) -> str:
    return f"{100 * share:g} points"
