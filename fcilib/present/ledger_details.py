"""The ledger's rule in detail: its formulas, its special cases, and what other rules would give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fcilib.ledger.agreement import STANDARD
from fcilib.ledger.claims import FAILURE, SUCCESS, claims
from fcilib.ledger.intervals import student
from fcilib.ledger.ledger import BORDERS, Entry, near_borders, sensitive
from fcilib.ledger.verdict import ALTERNATIVES, OPEN
from fcilib.present.ledger_rule import in_words, link, points


def statistics_part(entries: Mapping[str, Entry]) -> str:
    """The symbols, the formulas and the special cases of the rule, in Markdown.

    `entries`: of each claim the one that decides.
    """
    rule = STANDARD
    cases = "\n".join(f"| {case} | {what} |" for case, what in _cases().items())
    return f"""| symbol | meaning |
| --- | --- |
| $p$, $h$ | the paper’s number, a share from 0 to 1; half a unit of its last printed digit |
| $x$, $n$ | our mean over seeds; the number of seeds |
| $\\sigma$ | the standard deviation of the seeds’ values |
| $N$ | the test sequences of all seeds together |
| $c$, $c_0$ | chance at the size of our runs; chance at the paper’s sizes |

**The error of a counted share.** A share $x$ was counted over $N$ sequences. Wilson’s interval,
from $w_-$ to $w_+$, says how far it may be off. With $z = 1.96$,

$$w_\\pm(x, N) = \\frac{{x + z^2/2N \\pm z\\sqrt{{x(1 - x)/N + z^2/4N^2}}}}{{1 + z^2/N}}.$$

**The error over seeds.** Student’s interval says how far the mean of $n$ seeds may be off. Half its
width is $s = t\\,\\sigma/\\sqrt n$, with $t = {student(1):.1f}$ for two seeds and {student(2):.1f}
for three. One seed does not show this error, and $s$ is 0.

**Our interval** combines the two errors as independent ones, separately below and above the mean.
With $w_\\pm = w_\\pm(x, N)$ it goes from $x - \\sqrt{{s^2 + (x - w_-)^2}}$ to
$x + \\sqrt{{s^2 + (w_+ - x)^2}}$. A rise, the difference of two shares, counts as a share. For a
number that is not a share of sequences, such as a cosine, the interval goes from $x - s$ to
$x + s$. A standard deviation over seeds has the interval of the chi-square distribution.

**The paper’s own error** comes from its rounding and from its test sequences. The paper does not
say how many sequences stand behind a number. We assume one seed and {rule.paper_examples:,} test
sequences. The error reaches from $p_- = w_-(p - h, {rule.paper_examples})$ to
$p_+ = w_+(p + h, {rule.paper_examples})$.

**The expected number** is the paper’s number, moved to our level of chance:
$e = c + (p - c_0)(1 - c)/(1 - c_0)$. If $c = c_0$, as for most claims, then $e = p$.

**The margin.** Let $m$ be the smaller of {points(rule.margin)} and ${rule.way:g}\\,|e - c|$, half
the distance from chance. Two points are little at 80% and everything at 1%; hence the second term.
Numbers from $e - \\max(m, p - p_-)$ to $e + \\max(m, p_+ - p)$ agree.

| case | what the rule does |
| --- | --- |
{cases}

**The lines of the statements.** {_lines(entries)}

**No level of chance.** These claims have no chance level, because their quantity is not defined
for random picks: {_without_chance(entries)}. The table shows no chance for a spread
and for a claim without runs, either.

**Independence.** Claims share runs, seeds and test sets. Of many intervals at 95% some miss the
true value.
"""


def _cases() -> dict[str, str]:
    """What the rule does in special cases, by the case."""
    rule = STANDARD
    return {
        "chance lies within the margin": "The reading differs if our interval lies wholly "
        "outside the margin. It agrees if the interval contains chance and "
        f"stays below {rule.told:g} times chance. "
        "Otherwise it is undecided.",
        "chance lies outside the margin, but in our interval": "The reading differs if our "
        "interval lies wholly outside the margin. Otherwise it is undecided.",
        "our interval is wide": f"If it reaches farther than {rule.widest:g} margins from our "
        "mean, the reading is undecided, unless the interval lies wholly within the margin or "
        "wholly outside. Where the margin is not symmetric, its larger side counts.",
        "“at most $b$”, “at least $b$”": "Every number on that side of $b$ agrees, and so do "
        "numbers up to a margin beyond it, if the claim has one. It does not matter whether "
        "chance lies within the margin.",
        "a bound on a spread, such as “varies by less than 2%”": "It has no margin. "
        "As for every claim, it is enough if the literal reading agrees.",
        "a rise within one epoch": "The first epoch’s rise counts from zero.",
        "epochs": f"They agree if they are within {claims()['mqar-epoch'].tolerance:g}.",
        "ranks, ratios, cosines and counts": "They have a margin of their own, which "
        "`fcilib/ledger/claims.yaml` names.",
        "a share without a level of chance": f"The margin is {points(rule.margin)}.",
        "several models in one claim": "A reading agrees if every model does in a fair trial. It "
        "differs as soon as one model does in a fair trial; the others then need none.",
        "no runs": "Without runs under the literal reading the claim stays open. Another reading "
        "counts only if there are runs.",
        "a number that no longer changes": "The metric’s mean over the last tenth of training is "
        f"no more than {100 * rule.at_rest:g} point above or below its mean over the tenth before.",
        "the statement “is at chance”": "It is true if our interval’s lower end is not above "
        f"chance and its upper end is below {rule.told:g} times chance.",
        "a method that the paper does not define": "The claim is open, whatever our runs give. So "
        "is one whose verdict would be another for another meaning of a word of the paper, or at "
        "another learning rate in trainings of the paper’s length.",
        "a cost": "The claim is open: the ledger compares trainings only.",
    }


def other_rules(entries: Mapping[str, Entry]) -> str:
    """What other rules and other borders would change, in Markdown.

    `entries`: of each claim the one that decides.
    """
    return f"""Other rules would be reasonable too. A wider margin can also reopen a claim. Our
interval under the literal reading may then reach into the margin, so that this reading is
undecided.

{_alternatives(entries)}

{_near(entries)}
"""


def _lines(entries: Mapping[str, Entry]) -> str:
    """Where the lines come from, how many claims each decides, and which claims have their own."""
    known = {n: e.claim.direction for n, e in entries.items() if e.claim.direction}
    ends = {n: direction.value for n, direction in known.items()}
    own = [link(entries[n]) for n, value in ends.items() if value not in (FAILURE, SUCCESS)]
    fails, succeeds = (sum(v == line for v in ends.values()) for line in (FAILURE, SUCCESS))
    return (
        f"The paper’s failures lie “below 35%” (§5), hence the line of {FAILURE:.0%}. The lowest "
        "successes in its Table 3 have 82% to 91%; they are indices that learn nothing. Hence the "
        f"line of {SUCCESS:.0%}. What lies between neither fails nor succeeds. {fails} claims say "
        f"that something fails, and {succeeds} that something succeeds. The "
        f"{len(entries) - len(known)} bare numbers and bounds have no line. The statements of the "
        f"other {len(own)} claims name a line of their own:\n\n"
        + "\n".join(f"* {it}" for it in own)
    )


def _without_chance(entries: Mapping[str, Entry]) -> str:
    """Links to the claims that have no chance level."""
    return "; ".join(link(entry) for entry in entries.values() if not entry.claim.chance)


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
    count = sum(entries[name].judgement.kind == OPEN for name in near)
    opened = "All of these" if count == len(near) else f"{count} of these"
    verdicts = _folded(
        f"{len(turned)} verdicts would change", _by_verdict(entries, turned), "would become "
    )
    return f"""**Near a border.** A border is an end of a margin, or a line such as {FAILURE:.0%}.
If every border of a share moved by half a point, outwards or inwards, the answer for some reading
would change for {len(near)} of the {len(entries)} claims. {opened} are open now. For {len(turned)}
claims the verdict would change too.

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
        told = (
            _folded(title, _by_verdict(entries, verdicts), "would become ")
            if verdicts
            else f"{title}."
        )
        parts.append(told)
    return "\n\n".join(parts)


def _by_verdict(
    entries: Mapping[str, Entry], verdicts: Mapping[str, str]
) -> dict[str, list[Entry]]:
    """Claims by the verdict that they would have."""
    return {
        verdict: [entries[name] for name, other in verdicts.items() if other == verdict]
        for verdict in dict.fromkeys(verdicts.values())
    }


def _folded(title: str, parts: Mapping[str, list[Entry]], before: str = "") -> str:
    """A title that unfolds to links to claims, a line for each part that has any.

    `before`: what stands before the name of a part.
    """
    items = "".join(
        f"<li>{before}<em>{in_words(part)}</em>: {'; '.join(map(link, members))}</li>"
        for part, members in parts.items()
        if members
    )
    return f'<details class="ledger-folded"><summary>{title}</summary><ul>{items}</ul></details>'
