"""The tables of chapters, whose rows lead to the ledger and are where the ledger leads back to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd

from fcilib.ledger.catalogue import catalogue
from fcilib.ledger.claims import Claim, claims
from fcilib.ledger.findings import Finding
from fcilib.ledger.ledger import Entry
from fcilib.study.notation import NONE, spread
from fcilib.study.profiles import PROFILES


def labelled(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The frame with a name over its row labels, in the one header line that readers see.

    From then on no table of the notebook cuts a cell off.
    """
    pd.set_option("display.max_colwidth", None)
    return frame.rename_axis(index=None, columns=name)


@dataclass(frozen=True)
class Linked:
    """A table for notebooks: its frame, and the HTML whose row labels lead to the ledger."""

    frame: pd.DataFrame
    html: str

    def __repr__(self) -> str:
        return repr(self.frame)

    def _repr_html_(self) -> str:
        return self.html


def anchor_of(name: str) -> str:
    """The anchor, on a chapter's page, of the row that decides a claim."""
    return f"decides-{name}"


def linked(
    frame: pd.DataFrame,
    names: Mapping[str, str | None],
    title: str,
    earlier: Iterable[Mapping[str, str | None]] = (),
) -> Linked:
    """The frame with a title over its row labels, each linked with the ledger's entry of its claim.

    The first row of a claim on a page is where the ledger leads back to.

    Args:
        names: the claim that a row is about, by its label; None or missing where it is about none.
        earlier: the `names` of tables that stand before this one on the page.

    Raises:
        KeyError: a name is no claim's.
    """
    for claim in filter(None, names.values()):
        claims()[claim]
    met = {name for part in earlier for name in part.values()}
    links = {}
    for label in frame.index:
        links[label] = escape(label)
        if name := names.get(label):
            anchor = "" if name in met else f' id="{anchor_of(name)}"'
            links[label] = f'<a{anchor} href="claims.html#{name}">{escape(label)}</a>'
            met.add(name)
    frame = labelled(frame, title)
    shown = frame.map(lambda cell: escape(str(cell)))
    shown = shown.rename(index=links, columns=escape).rename_axis(columns=escape)
    return Linked(frame, shown.to_html(escape=False))


def comparison_table(
    comparison: pd.DataFrame, title: str = "condition", earlier: pd.DataFrame | None = None
) -> Linked:
    """A comparison for readers: a row per condition; paper, measured and chance.

    A condition without a claim is a share; its paper's number and verdict are dashes. Chance is
    written once where it reads the same under every protocol.

    `earlier`: the comparison of a table that stands before this one on the page.
    """
    rows, heads = {}, list(dict.fromkeys(comparison.protocol))
    for condition, part in comparison.groupby("condition", sort=False):
        claim = claims()[part.name.iloc[0]] if isinstance(part.name.iloc[0], str) else None
        write = claim.write if claim else spread
        by_chance = [write(c, math.nan) for c in part.chance]
        if claim is None or claim.unit == "share":  # one sign for all
            by_chance = [*(text.rstrip("%") for text in by_chance[:-1]), by_chance[-1]]
        same = len({text.rstrip("%") for text in by_chance}) == 1
        rows[condition] = {
            "paper": part.claim.iloc[0],
            **{p.protocol: write(p.mean, p.sd) for p in part.itertuples()},
            "chance": by_chance[-1] if same else " / ".join(by_chance),
            "verdict": part.verdict.iloc[0],
        }
    names, *before = (
        dict(zip(named.condition, named.name, strict=True))
        for part in (comparison, earlier)
        if part is not None
        for named in [part[part.name.notna()]]
    )
    frame = pd.DataFrame.from_dict(rows, orient="index")
    if frame.chance.str.contains(" / ", regex=False).any():
        frame = frame.rename(columns={"chance": f"chance ({' / '.join(heads)})"})
    return linked(frame, names, title, before)


def further(
    entries: Mapping[str, Entry],
    names: Sequence[str],
    earlier: Iterable[Mapping[str, str | None]] = (),
    readings: Mapping[str, str] | None = None,
) -> Linked:
    """A chapter's table of claims that its other tables don't hold whole: a row each, by statement.

    What the paper says, what was measured under each protocol, chance (ranges where several
    experiments decide), and the verdict with its reason. `earlier`: as for `linked`. `readings`:
    the page's own words for protocols, in the order of the columns.
    """
    readings = readings or {}
    found = {protocol for name in names for protocol in entries[name].whole}
    protocols = [p for p in readings if p in found] + sorted(found - {*readings})
    rows, labels = {}, {}
    for name in names:
        entry, claim = entries[name], entries[name].claim
        labels[claim.statement] = name
        known = [f.chance for p in entry.whole.values() for f in p if f.chance is not None]
        rows[claim.statement] = {
            "paper": str(claim),
            **{
                readings.get(p) or (f"“{p}”" if p else "measured"): as_measured(
                    claim, entry.whole.get(p, [])
                )
                for p in protocols
            },
            "chance": claim.span(known) or NONE,
            "verdict": _in_words(_explained(entry), readings),
        }
    return linked(pd.DataFrame.from_dict(rows, orient="index"), labels, "statement", earlier)


def _in_words(verdict: str, readings: Mapping[str, str]) -> str:
    """A verdict with a page's own words for protocols."""
    for protocol, reading in readings.items():
        verdict = verdict.replace(f"under {protocol}", f"with the {reading}")
    return verdict


def as_measured(claim: Claim, part: Sequence[Finding]) -> str:
    """What a claim is about, of one experiment, or of the lowest and the highest of several."""
    if claim.statistic == "mean" and len(part) == 1:
        return claim.write(part[0].mean, part[0].sd)
    values = [f.sd if claim.statistic == "sd" else f.mean for f in part]
    return claim.span(values) or NONE


def _explained(entry: Entry) -> str:
    """The verdict; with it why nothing was tested, or which of several experiments do not agree."""
    found = [f for part in entry.whole.values() for f in part]
    against = dict.fromkeys(f.experiment for f in found if not f.agrees)
    if len(entry.claim.decided_by) > 1 and against:
        known = catalogue(PROFILES["quick"])  # labels are the same at every size
        labels = "; ".join(known[name].label for name in against)
        differ = f"{labels} differ{'s' if len(against) == 1 else ''}"
        failing = [p for p, part in entry.whole.items() if not all(f.agrees for f in part)]
        if len(failing) < len(entry.whole):
            return f"{entry.at_this_size}; under {', '.join(failing)} {differ}"
        return f"{entry.at_this_size}: {differ}"
    return ": ".join(filter(None, (entry.at_this_size, entry.reason)))
