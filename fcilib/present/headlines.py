"""The book's first figure: the paper's five headlines, at both sizes, beside chance."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fcilib.ledger.claims import Claim
from fcilib.ledger.findings import Finding
from fcilib.ledger.ledger import BOOK, PAPER, Entry
from fcilib.ledger.verdict import CONTRADICTED, HOLDS, NOT_HERE, OPEN, SUBSTANCE, UNDER
from fcilib.present.figures import look

HEADLINES = {
    "raw": "no layer in front of the router",
    "unidirectional-flow": "a recurrence that reads left to right",
    "one-layer": "one layer of attention",
    "bidirectional-mamba-rank-one": "a recurrence both ways, one number per token",
    "segment-bidirectional-flow": "a recurrence both ways, picking segments",
}
"""The claims of the paper's abstract that people build on, and what each is about."""

PROTOCOL = "others"
"""The query itself is no candidate: the protocol of the figure."""

SIZES = {PAPER: "the paper’s sizes", BOOK: "the small size"}
"""What the text for those who cannot see the figure calls the profiles."""

EXCLUDED = "holds if the query is excluded"
"""What the figure says of a claim that holds under its protocol only."""

COLOURS = {
    HOLDS: "#0072b2",
    UNDER: "#2f7ba0",
    SUBSTANCE: "#00795a",
    CONTRADICTED: "#c04f00",
    OPEN: "#6b6b6b",
    NOT_HERE: "#4a4a4a",
}
"""The colour of each kind of verdict, the same as on the ledger's page."""


@dataclass(frozen=True)
class Headline:
    """One row of the figure."""

    title: str
    claim: Claim
    kind: str
    """The kind of the ledger's verdict."""
    sizes: Mapping[str, Finding]
    """What was measured, by profile; a profile without records is left out."""
    label: str
    """The verdict as the figure has it."""


def headlines(entries: Mapping[str, Mapping[str, Entry]]) -> list[Headline]:
    """The five rows, from the ledger's entries by profile."""
    rows = []
    for name, title in HEADLINES.items():
        measured = {
            profile: finding
            for profile in (PAPER, BOOK)
            for finding in entries[profile][name].findings
            if finding.protocol == PROTOCOL
        }
        entry = entries[PAPER][name]
        kind, verdict = entry.judgement.kind, entry.judgement.verdict
        label = EXCLUDED if verdict == f"{UNDER} {PROTOCOL}" else verdict
        rows.append(Headline(title, entry.claim, kind, measured, label))
    return rows


def headlines_figure(rows: list[Headline]) -> Figure:
    """A line from 0 to 100% for each headline, its title above it.

    The paper's number is hollow. What was measured is filled, with one standard deviation over
    seeds: a circle at the paper's sizes, a square at the book's. The tick is chance at the paper's
    sizes. The figure is narrow enough to be read on a phone.
    """
    with look(), plt.rc_context({"font.size": 10}):
        fig, ax = plt.subplots(figsize=(4.7, 0.75 + 0.6 * len(rows)), layout="constrained")
        for y, row in enumerate(rows):
            _draw(ax, -y, row)
        ax.set_xlim(-3, 103)
        ax.set_ylim(0.75 - len(rows), 0.75)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("sequences in which the router picks the right token (%)")
        fig.legend(handles=_legend(rows), loc="outside upper left", ncols=4, columnspacing=1)
    return fig


def _draw(ax: Axes, y: float, row: Headline) -> None:
    colour = COLOURS[row.kind]
    ax.text(-3, y + 0.3, row.title, ha="left", va="bottom", fontsize=10)
    ax.text(103, y + 0.3, row.label, ha="right", va="bottom", fontsize=10, color=colour)
    paper = 100 * row.claim.value
    for profile, marker, size, shift in ((BOOK, "s", 5, -0.13), (PAPER, "o", 7, 0.1)):
        if profile not in row.sizes:
            continue
        finding = row.sizes[profile]
        mean, sd = 100 * finding.mean, 0 if math.isnan(finding.sd) else 100 * finding.sd
        if profile == PAPER:
            ax.plot([paper, mean], [y + shift] * 2, color=colour, lw=2, alpha=0.6)
        ax.errorbar(mean, y + shift, xerr=sd, fmt=marker, color=colour, ms=size, capsize=3)
    ax.plot(paper, y + 0.1, "o", mfc="white", mec=colour, ms=9, mew=1.6)
    known = [f.level.there for f in row.sizes.values() if f.level]
    if known:
        ax.plot(100 * known[0], y, "|", color="#333333", ms=16, mew=1.6)


def _legend(rows: list[Headline]) -> list[Line2D]:
    """The marks that occur."""
    dark = "#333333"
    sizes = {profile for row in rows for profile in row.sizes}
    marks = [Line2D([], [], marker="o", mfc="white", mec=dark, ls="", ms=9, label="paper")]
    if PAPER in sizes:
        marks.append(Line2D([], [], marker="o", color=dark, ls="", ms=7, label="ours"))
    if BOOK in sizes:
        marks.append(Line2D([], [], marker="s", color=dark, ls="", ms=5, label="ours, small"))
    return [*marks, Line2D([], [], marker="|", color=dark, ls="", ms=13, label="chance")]


def headlines_svg(rows: list[Headline]) -> str:
    """The figure as SVG; the same rows give the same text."""
    written = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "headlines"}):
        figure = headlines_figure(rows)
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines()) + "\n"


def headlines_alt(rows: list[Headline]) -> str:
    """The figure in words."""
    said = []
    for row in rows:
        ours = [
            f"ours {row.claim.write(finding.mean, finding.sd)} at {SIZES[profile]}"
            for profile, finding in row.sizes.items()
        ]
        numbers = f"paper {row.claim}, {', '.join(ours) or 'not measured'}"
        said.append(f"{row.title.capitalize()}: {numbers}; verdict: {row.label}")
    return ". ".join(said) + "."
