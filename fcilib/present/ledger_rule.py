"""The ledger's rule for readers: how a verdict is made, worked examples, what other rules give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from html import escape

from fcilib.ledger.agreement import STANDARD
from fcilib.ledger.claims import FAILURE, SUCCESS, Claim, claims
from fcilib.ledger.findings import Finding
from fcilib.ledger.intervals import Interval
from fcilib.ledger.ledger import BORDERS, Entry, near_borders, sensitive
from fcilib.ledger.verdict import (
    ALTERNATIVES,
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

SAID_WHEN = {
    HOLDS: "The literal reading agrees.",
    f"{UNDER} …": "The literal reading differs, and another one, which is named, agrees.",
    SUBSTANCE: "Every reading differs. But the statement holds under the literal reading: what is "
    "said to fail fails, or what is said to succeed succeeds.",
    CONTRADICTED: "Every reading differs, and under the literal one the statement fails too.",
    OPEN: "Too little is known: a trial was not fair, an interval leaves a reading or the "
    "statement undecided, or the paper does not define the method. What is missing stands beside "
    "the verdict.",
    NOT_HERE: "It needs weights that can't be had offline. The command that would test it stands "
    "beside the verdict.",
}

EXAMPLES = ("raw", "one-layer", "hotpotqa-random")
"""Claims whose verdicts are worked out on the page."""

REASONS = {
    "raw": "What agrees reaches farther up than down: here the margin is the paper’s own error, "
    "and a count near zero errs farther upwards.",
    "hotpotqa-random": "The paper’s number is that of segment recall: 2 of 16 is the chance of any "
    "one segment (some questions have fewer than 16). A hit is more frequent, because a question "
    "has two supporting segments or more, and one of them is enough.",
}
"""What an example needs said besides its numbers."""


def rule_page(entries: Mapping[str, Entry]) -> str:
    """The rule in Markdown: its steps, three worked examples, details, the effect of other rules.

    `entries`: of each claim the one that decides.
    """
    verdicts = "\n".join(f"| *{verdict}* | {when} |" for verdict, when in SAID_WHEN.items())
    examples = "\n".join(
        f"* {_worked(entries[name])}" for name in EXAMPLES if entries[name].findings
    )
    rule = STANDARD
    return f"""A verdict says whether the records of our runs bear out a claim. It takes six steps.

1. **Find the statement behind the number.** Most claims are a statement with a number: raw
   embeddings *fail* (1.2%). Our number may differ from the paper's while the statement still holds,
   so each is judged by itself. For the statement we need a line, and we take it from the paper. Its
   failures fall "below 35%" (§5), so what fails is at most {FAILURE:.0%}. The lowest successes in
   its Table 3, the indices that learn nothing, have 82% to 91%, so what succeeds is at least
   {SUCCESS:.0%}. What lies between the two lines neither fails nor succeeds.
2. **List the readings.** The paper does not say whether the router may pick the query itself. Each
   sensible answer is a *reading* of its text: under `all`, the literal one, the router may; under
   `others` it may not. Each has runs of its own. Some claims have further readings, which count the
   same runs in another way. Steps 3 to 5 are gone through once for each reading.
3. **Put an interval around our number.** Other seeds and other test sequences would have given
   another mean. The interval allows for both: of intervals made like this, about 95% contain the
   true value.
4. **Compare.** What *agrees* with the paper's number is everything within the *margin* around it.
   The margin is {_points(rule.margin)}, or half the way to chance if that is less, because two
   points are little at 80% and everything at 1%. If the paper's own error is larger than that, it
   is the margin instead. There are three answers:
   * the reading *agrees* if our mean lies within the margin;
   * it *differs* if our whole interval lies outside;
   * otherwise it is *undecided*. It also is if our interval is very wide, or if we can't tell our
     number from chance as we can the paper's.
5. **Ask whether the trial was fair.** A number counts only if the paper's author could not wave it
   away. It needs the paper's sizes, its number of training steps, and at least {rule.seeds} seeds,
   as many as the paper names for its key results. Training must also have come to rest: over its
   last tenth the metric lies no more than {100 * rule.at_rest:g} point above or below the tenth
   before it. Without a fair trial the reading is undecided. A number that follows by counting
   needs none. A claim about several models agrees if each does, and differs as soon as one does.
6. **Read off the verdict.** The table says how.

| verdict | said when |
| --- | --- |
{verdicts}

### Three examples

They are computed from the records.

{examples}

### In detail

**The lines.** {_lines(entries)}

**Our interval.** The error over seeds is Student's, with one value for each seed. The error of the
test sets is Wilson's interval of the mean, counted over the test sequences of all seeds. The two
are independent, so they are joined by the root of the sum of their squares, above and below the
mean apart. A standard deviation over seeds gets the interval that the chi-square distribution gives
for normal values.

**The paper's own error.** Its number $p$ may be off by half of its last printed place. We assume
that it rests on one seed and {rule.paper_examples:,} test sequences, since the paper does not
say which numbers rest on more. Its error is Wilson's interval of a share counted over so many, from
the lowest number that is rounded to $p$ to the highest.

**The margin.** Let $c$ be chance at our size and $c_0$ at the paper's. If they differ, $p$ is
corrected for guessing: what we expect is $e = c + (p - c_0)(1 - c) / (1 - c_0)$, which covers the
same part of the way from chance to 1. Let $m$ be the smaller of {_points(rule.margin)} and
${rule.way:g}\\,|e - c|$. On each side of $e$ the margin is $m$ or the paper's own error on that
side, whichever is larger.

**Near chance.** If chance itself lies within the margin, the paper's number can't be told from it.
Our number then agrees only if its interval contains chance and stays below {rule.told:g} times
chance, so that a number so far above would have been noticed. If chance lies outside the margin,
ours agrees only if its interval leaves chance out. (Bounds and thresholds are exempt.) Where the
statement is "at chance", it is judged by the same test.

**Too wide.** An interval that reaches farther than {rule.widest:g} margins from its mean decides
nothing, unless all of it agrees or none.

**Other kinds of claims.** "At most" and "at least" agree on their side, and on the other up to the
margin. A threshold, such as "less than 2% over three seeds", is the same without a margin. Ranks,
ratios, cosines, epochs and counts have a margin of their own, which `fcilib/ledger/claims.yaml`
names. Two kinds of number have no chance level, because random picks give none:
{_without_chance(entries)}.

**Readings.** Without runs under the literal reading a claim stays open. Other readings count if
there are runs. Where the text describes none of the readings, a claim holds only if all agree.

**Independence.** Claims share runs, seeds and test sets, so their verdicts are not independent. Of
many intervals at 95% some miss by chance.

### If the rule were another

Other rules would be reasonable too.

{_alternatives(entries)}

{_undecided(entries)}

{_near(entries)}
"""


def _lines(entries: Mapping[str, Entry]) -> str:
    """How many claims each line decides, which have a line of their own, how many have none."""
    known = {n: e.claim.direction for n, e in entries.items() if e.claim.direction}
    ends = {n: direction.value for n, direction in known.items()}
    own = [_link(entries[n]) for n, value in ends.items() if value not in (FAILURE, SUCCESS)]
    fails, succeeds = (sum(v == line for v in ends.values()) for line in (FAILURE, SUCCESS))
    return (
        f"{fails} claims speak of a failure and {succeeds} of a success. {len(own)} have a line "
        f"that their own statement names: {'; '.join(own)}. For the other "
        f"{len(entries) - len(known)} the number, or the bound, is itself the statement."
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
    others = "; ".join(_link(entries[name]) for name in names[1:]) or "none"
    return f"""**A wider margin need not decide more.** The first of these rules decides
{_link(entry)} (*{decided}*); the second, with the wider margin, leaves it open. Under
`{finding.protocol}`, the literal reading, {finding.n} seeds gave {ours}, with an interval from
{_reach(claim, finding.interval)}. With the narrow margin all of this interval lies outside what
agrees, so the reading differs. With the wide one what agrees begins at
{claim.write(agreeing.low, math.nan)}. The mean still lies outside, but the upper end of the
interval lies inside, so the reading is undecided. The same goes for these, which rest on the same
runs: {others}."""


def _without_chance(entries: Mapping[str, Entry]) -> str:
    """Links to the claims that have no chance level."""
    return "; ".join(_link(entry) for entry in entries.values() if not entry.claim.chance)


NEAR = 0.005
"""So near to a border, as a share, an answer is named on the page."""


def _near(entries: Mapping[str, Entry]) -> str:
    """What moving the borders of the rule would turn, and the claims that lie near one."""
    near = near_borders(entries, NEAR)
    turned = {
        name: verdict
        for by in (-NEAR, NEAR)
        for name, verdict in sensitive(entries, replace(STANDARD, slack=by)).items()
    }
    by_border = {
        f"at the border of {border}": [entries[n] for n, which in near.items() if border in which]
        for border in BORDERS
    }
    verdicts = _folded(f"{len(turned)} verdicts change", _by_verdict(entries, turned))
    return f"""**Near a border.** Suppose that every border of the rule moved by half a point,
outwards or inwards. For {len(near)} of the {len(entries)} claims some run would then give another
answer: in step 4, about the statement, or about rest.

{_folded(f"These {len(near)} claims", by_border)}

{verdicts if turned else "No verdict would change."}"""


def _alternatives(entries: Mapping[str, Entry]) -> str:
    """How many verdicts each other rule would change, and which, folded."""
    parts = []
    for other in ALTERNATIVES:
        verdicts = sensitive(entries, other)
        title = f"If {other.name}: {len(verdicts)} verdicts would change"
        parts.append(_folded(title, _by_verdict(entries, verdicts)))
    return "\n".join(parts)


def _by_verdict(
    entries: Mapping[str, Entry], verdicts: Mapping[str, str]
) -> dict[str, list[Entry]]:
    """Claims by the verdict that they would have."""
    return {
        verdict: [entries[name] for name, other in verdicts.items() if other == verdict]
        for verdict in dict.fromkeys(verdicts.values())
    }


def _folded(title: str, parts: Mapping[str, list[Entry]]) -> str:
    """A title that unfolds to links to claims, a line for each part that has any."""
    items = "".join(
        f"<li><em>{part}</em>: {'; '.join(map(_link, members))}</li>"
        for part, members in parts.items()
        if members
    )
    return f'<details class="ledger-folded"><summary>{title}</summary><ul>{items}</ul></details>'


def _link(entry: Entry) -> str:
    """A link to a claim's row, by its statement, with the metric where another claim has it too."""
    claim = entry.claim
    twins = sum(other.statement == claim.statement for other in claims().values())
    title = claim.statement.rstrip(".") + (f", {claim.metric}" if twins > 1 else "")
    return f'<a href="#{entry.name}">{escape(title)}</a>'


def _worked(entry: Entry) -> str:
    """How the verdict on a claim comes about, reading by reading, in sentences."""
    claim, judgement = entry.claim, entry.judgement
    readings, unfair, zone = [], [], _zone(entry.findings[0], claim)
    for protocol, (finding, *_) in entry.by_protocol.items():
        under = f"Under `{protocol}`" if protocol else "Here"
        seeds = f"{finding.n} seed{'s' if finding.n > 1 else ''}"
        other = _zone(finding, claim)
        agreeing = "" if other == zone else f" Numbers from {other} agree."
        ours = claim.write(finding.mean, finding.sd)
        readings.append(f"{under}, {seeds} gave {ours}.{agreeing} {_decides(claim, finding)}")
        if not (claim.counted or is_fair(finding, STANDARD)):
            unfair.append(f"under `{protocol}`" if protocol else "here")
    end = []
    if claim.counted:
        end.append("The number follows by counting; the seeds only check the count.")
    end += [REASONS[entry.name]] if entry.name in REASONS else []
    if unfair:
        end.append(f"The trial is not fair yet {' and '.join(unfair)}, and does not count.")
    if claim.behind and judgement.kind in (SUBSTANCE, CONTRADICTED):
        first = entry.by_protocol[claim.literal or ""][0]
        stands = {True: "holds", False: "fails too", None: "is undecided"}
        end.append(
            "Since every reading differs, the statement behind the number decides. It is that "
            f"{claim.metric} is {claim.behind}, and under `{first.protocol}`, the literal reading, "
            f"it {stands[directed(claim, first)]}."
        )
    missing = f"; missing: {'; '.join(judgement.missing)}" if judgement.missing else ""
    end.append(f"The verdict is *{judgement.verdict}*{missing}.")
    head = f"**{claim.statement}** The paper has {claim}. Numbers from {zone} agree with it."
    return "\n  * ".join([head, *readings]) + f"\n\n  {' '.join(end)}"


def _zone(finding: Finding, claim: Claim) -> str:
    """What agrees with the claim's number, at a finding's chance level."""
    return _reach(claim, claim.zone(finding.level)[0])


def _decides(claim: Claim, finding: Finding) -> str:
    """In a sentence, why one reading agrees, differs or is undecided."""
    answer, reach = compared(claim, finding), _reach(claim, finding.interval)
    if answer is False:
        return f"The whole interval, from {reach}, lies outside: the number differs."
    if answer is None:
        return f"The interval, from {reach}, leaves it undecided."
    agreeing, _ = claim.zone(finding.level)
    if finding.level is None or finding.level.here not in agreeing:
        return f"The mean lies inside: the number agrees. (The interval is from {reach}.)"
    chance = claim.write(finding.level.here, math.nan)
    return (
        f"Chance, {chance}, lies inside as well. The interval, from {reach}, contains chance and "
        f"stays below {STANDARD.told:g} times chance: the number agrees."
    )


def _reach(claim: Claim, values: Interval) -> str:
    """An interval in the claim's unit; a share ends at 0 and 1."""
    low, high = values.low, values.high
    if claim.unit == "share":
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{claim.write(low, math.nan)} to {claim.write(high, math.nan)}"


def _points(share: float) -> str:
    return f"{100 * share:g} points"
