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
    HOLDS: "The literal reading agrees. (Where the paper’s text describes none of the readings, "
    "all of them agree.)",
    f"{UNDER} …": "The literal reading differs, and another one, which is named, agrees.",
    SUBSTANCE: "Every reading differs, but under the literal one the statement behind the number "
    "is true.",
    CONTRADICTED: "Every reading differs, and under the literal one the statement is false as "
    "well, or there is no statement besides the number.",
    OPEN: "Too little is known: there is no fair trial yet, or an interval leaves a reading or the "
    "statement undecided, or the paper does not define the method, or the number is a cost, which "
    "no training run decides. What is missing stands below the verdict.",
    NOT_HERE: "It needs weights that can't be had offline. The command that would test it stands "
    "below the verdict.",
}

EXAMPLES = ("raw", "one-layer", "hotpotqa-random")
"""Claims whose verdicts are worked out on the page."""

REASONS = {
    "raw": "Here the margin is the paper’s own error, which reaches farther up than down, because "
    "no share is below zero.",
    "hotpotqa-random": "A hit is a question of which at least one supporting segment was picked. "
    "The paper’s number is the chance of one given segment, 2 of 16 (some questions have fewer "
    "than 16). A hit is more frequent, because a question has two supporting segments or more.",
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
   embeddings *fail* (1.2%). Our number may differ from the paper's while the statement is true, so
   each is judged by itself. For the statement we need a line, and we take it from the paper. Its
   failures lie "below 35%" (§5), so to fail is to have at most {FAILURE:.0%}. The lowest successes
   in its Table 3, the indices that learn nothing, have 82% to 91%, so to succeed is to have at
   least {SUCCESS:.0%}. What lies between the two lines neither fails nor succeeds.
2. **List the readings.** The paper does not say whether the router may pick the query itself. Each
   sensible answer is a *reading* of its text: under `all`, the literal one, the router may; under
   `others` it may not. We trained separate models for each of the two. Some claims have a further
   reading, which takes the models of one of these and counts their picks in another way.
   Steps 3 to 5 are taken for each reading.
3. **Put an interval around our number.** Other seeds and other test sequences would have given
   another mean. The interval allows for both: of intervals made like this, about 95% contain the
   true value.
4. **Compare.** The *margin* is how far from the paper's number a number may lie and still agree.
   It is {_points(rule.margin)}. Where chance is less than {_points(rule.margin / rule.way)} away
   from the paper's number, it is half of that distance, because two points are little at 80% and
   everything at 1%. And it is never less than the error of the paper's own number. There are three
   answers:
   * the reading *agrees* if our mean lies within the margin;
   * it *differs* if our whole interval lies outside;
   * otherwise it is *undecided*. It is undecided as well if our interval is several margins wide,
     or if it contains chance while chance lies outside the margin.
5. **Ask whether the trial was fair.** A trial is fair if it has the paper's sizes, the paper's
   number of training steps, and at least {rule.seeds} seeds, as many as the paper names for its key
   results. Training must also have come to rest: over its last tenth the metric lies no more than
   {100 * rule.at_rest:g} point above or below the tenth before it. Without a fair trial the reading
   is undecided. A number that follows by counting needs no trial. A claim about several models
   agrees if all of them do, and differs if one of them does.
6. **Read off the verdict.**

| verdict | said when |
| --- | --- |
{verdicts}

### Three examples

They are computed from the records.

{examples}

### In detail

* **Lines.** {_lines(entries)}
* **Our interval.** Let $x$ be our mean over the seeds, $s$ half the width of Student's interval
  around it, with one value for each seed, and $w_-$ and $w_+$ the ends of Wilson's interval of $x$,
  counted over the test sequences of all seeds. Our interval goes from
  $x - \\sqrt{{s^2 + (x - w_-)^2}}$ to $x + \\sqrt{{s^2 + (w_+ - x)^2}}$. For a standard deviation
  over seeds it is the interval of the chi-square distribution.
* **The paper's own error.** The paper does not say how many test sequences stand behind a number
  $p$. We assume one seed and {rule.paper_examples:,} test sequences. Let $h$ be half of the last
  place that it prints. The error reaches from the lower end of Wilson's interval of $p - h$ to the
  upper end of that of $p + h$.
* **The margin.** Let $c$ be chance at our size and $c_0$ at the paper's. The number that we expect
  is $e = c + (p - c_0)(1 - c) / (1 - c_0)$, which is $p$ if the two are equal. Let $m$ be the
  smaller of {_points(rule.margin)} and ${rule.way:g}\\,|e - c|$. The margin above $e$ is $m$, or
  the paper's own error upwards if that is larger. The margin below $e$ is made in the same way.
* **Near chance.** If chance lies within the margin, a reading agrees only if our interval contains
  chance and stays below {rule.told:g} times chance. If chance lies outside the margin, a reading
  agrees only if our interval does not contain chance. Neither is asked of a bound. The statement
  "is at chance" is true if our interval does not lie above chance and stays below {rule.told:g}
  times chance.
* **Too wide.** If our interval reaches farther than {rule.widest:g} margins from our mean, the
  reading is undecided, unless the whole interval lies within the margin, or the whole outside.
* **Bounds.** With "at most $b$" everything up to $b$ plus the margin agrees, with "at least $b$"
  everything from $b$ minus the margin. A threshold, such as "less than 2% over three seeds", has no
  margin.
* **Numbers that are no shares.** Ranks, ratios, cosines, epochs and counts have a margin of their
  own, which `fcilib/ledger/claims.yaml` names. Some numbers have no chance level, because random
  picks have no such number: {_without_chance(entries)}.
* **Readings without runs.** Without runs under the literal reading a claim stays open. Another
  reading counts only if there are runs.
* **Independence.** Claims share runs, seeds and test sets, so their verdicts are not independent.
  Of many intervals at 95% some miss the true value.

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
        f"{fails} claims say that something fails, and {succeeds} that something succeeds. "
        f"{len(own)} have a line that their own statement names: {'; '.join(own)}. The other "
        f"{len(entries) - len(known)} have no statement besides their number or bound."
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
{_reach(claim, finding.interval)}. The narrow margin leaves all of this interval outside, so the
reading differs. The wide one begins at {claim.write(agreeing.low, math.nan)}, inside the interval
and above its mean, so the reading is undecided. The same goes for these, which rest on the same
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
    at = {b: [entries[n] for n, which in near.items() if b in which] for b in BORDERS}
    counts = " and ".join(f"for {len(part)} {CHANGES[b]}" for b, part in at.items() if part)
    verdicts = _folded(f"{len(turned)} verdicts change", _by_verdict(entries, turned))
    return f"""**Near a border.** Suppose that every border of the rule moved by half a point,
outwards or inwards. For {len(near)} of the {len(entries)} claims some answer would then change:
{counts or "for none"}.

{_folded(f"These {len(near)} claims", {CHANGES[b]: part for b, part in at.items()})}

{verdicts if turned else "No verdict would change."}"""


CHANGES = {
    "agreement": "whether a reading agrees",
    "the statement": "whether the statement is true",
    "rest": "whether training has come to rest",
}
"""What changes at each border of the rule."""


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


def title_of(claim: Claim) -> str:
    """A claim's statement without its full stop, with the metric where another claim has it too."""
    twins = sum(other.statement == claim.statement for other in claims().values())
    return claim.statement.rstrip(".") + (f", {claim.metric}" if twins > 1 else "")


def _link(entry: Entry) -> str:
    """A link to a claim's row, by its title."""
    return f'<a href="#{entry.name}">{escape(title_of(entry.claim))}</a>'


def _worked(entry: Entry) -> str:
    """How the verdict on a claim comes about, reading by reading, in sentences."""
    claim, judgement = entry.claim, entry.judgement
    readings, unfair, zone = [], [], _zone(entry.findings[0], claim)
    for protocol, (finding, *_) in entry.by_protocol.items():
        under = f"Under `{protocol}`" if protocol else "Under the literal reading"
        if protocol in claim.readings:
            under += f" ({claim.readings[protocol].says})"
        seeds = f"{finding.n} seed{'s' if finding.n > 1 else ''}"
        other = _zone(finding, claim)
        agreeing = "" if other == zone else f" Numbers from {other} agree."
        ours = claim.write(finding.mean, finding.sd)
        readings.append(f"{under}, {seeds} gave {ours}.{agreeing} {_decides(claim, finding)}")
        if not (claim.counted or is_fair(finding, STANDARD)):
            unfair.append(f"under `{protocol}`" if protocol else "under the literal reading")
    end = []
    if claim.counted:
        end.append("The number follows by counting; the seeds only check the count.")
    end += [REASONS[entry.name]] if entry.name in REASONS else []
    if unfair:
        end.append(f"The trial is not fair yet {' and '.join(unfair)}, and does not count.")
    if claim.behind and judgement.kind in (SUBSTANCE, CONTRADICTED):
        first = entry.by_protocol[claim.literal or ""][0]
        stands = {True: "true", False: "false", None: "undecided"}
        end.append(
            "Since every reading differs, the statement behind the number decides. It says that "
            f"{claim.metric} is {claim.behind}. Under `{first.protocol}`, the literal reading, it "
            f"is {stands[directed(claim, first)]}."
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
        return f"The whole interval, from {reach}, lies outside: the reading differs."
    if answer is None:
        return f"The interval, from {reach}, leaves the reading undecided."
    agreeing, _ = claim.zone(finding.level)
    if finding.level is None or finding.level.here not in agreeing:
        return f"The mean lies inside: the reading agrees. (The interval is from {reach}.)"
    chance = claim.write(finding.level.here, math.nan)
    return (
        f"Chance, {chance}, lies inside as well. The interval, from {reach}, contains chance and "
        f"stays below {STANDARD.told:g} times chance: the reading agrees."
    )


def _reach(claim: Claim, values: Interval) -> str:
    """An interval in the claim's unit; a share ends at 0 and 1."""
    low, high = values.low, values.high
    if claim.unit == "share":
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{claim.write(low, math.nan)} to {claim.write(high, math.nan)}"


def _points(share: float) -> str:
    return f"{100 * share:g} points"
