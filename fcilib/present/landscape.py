"""The figure of the landscape: approaches by what they pick, each kind beside its own chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fcilib.present.figures import NARROW, UNCLAIMED, look, outcome_color, outcome_lines


def landscape_figure(
    comparison: pd.DataFrame, groups: Mapping[str, Sequence[str]], floors: Mapping[str, float]
) -> Figure:
    """Paper (hollow), measured (filled, with its spread) and chance, a panel for each kind of pick.

    In a panel the best is on top; the dashed line is the mean chance of its rows, and the dotted
    one what positions alone give.

    Args:
        comparison: as `compare` gives it, under one protocol.
        groups: conditions by the panel they stand in, under the panel's title.
        floors: by the same titles, the precision of positions alone; a panel may have none.

    Raises KeyError for a condition that was not compared.
    """
    lines = comparison.set_index("condition")
    panels = {
        title: lines.loc[list(names)].sort_values("mean", kind="stable")
        for title, names in groups.items()
    }
    heights = [len(part) + 1 for part in panels.values()]
    with look():
        fig, axes = plt.subplots(
            len(panels),
            1,
            sharex=True,
            squeeze=False,
            figsize=(NARROW, 1.2 + 0.22 * sum(heights) + 0.1 * len(panels)),
            gridspec_kw={"height_ratios": heights},
            layout="constrained",
        )
        for ax, (title, part) in zip(axes[:, 0], panels.items(), strict=True):
            _rows(ax, part)
            ax.tick_params(labelsize=8.5)
            ax.axvline(100 * part.chance.mean(), color="#555555", lw=1, ls="--")
            if title in floors:
                ax.axvline(100 * floors[title], color="#555555", lw=1.4, ls=":")
            ax.set_title(title, loc="left", fontsize=9.5)
        axes[-1, 0].set_xlabel("precision (%)")
        axes[-1, 0].set_xlim(-4, 104)
        fig.legend(handles=_marks(comparison), loc="outside upper left", ncols=2, fontsize=8.5)
    return fig


def _rows(ax: Axes, part: pd.DataFrame) -> None:
    for y, line in enumerate(part.itertuples()):
        color = outcome_color(line)
        paper, mean = 100 * line.paper, 100 * line.mean
        ax.plot([paper, mean], [y, y], color=color, lw=2, alpha=0.6)
        ax.plot(paper, y, "o", mfc="white", mec=color, ms=7, mew=1.5)
        error = 0 if np.isnan(line.sd) else 100 * line.sd
        ax.errorbar(mean, y, xerr=error, fmt="o", color=color, ms=5.5, capsize=3)
    labels = [
        fill(str(name).removeprefix("segments: ").removeprefix("by class: "), 45)
        for name in part.index
    ]
    ax.set_yticks(range(len(part)), labels, fontsize=8.5)
    ax.set_ylim(-0.6, len(part) - 0.4)
    ax.grid(axis="y", visible=False)


def _marks(comparison: pd.DataFrame) -> list[Line2D]:
    """The legend's entries, of marks that occur."""
    marks = [
        Line2D([], [], marker="o", mfc="white", mec=UNCLAIMED, ls="", ms=7, label="paper"),
        Line2D([], [], marker="o", color=UNCLAIMED, ls="", ms=5.5, label="measured"),
        Line2D([], [], color="#555555", lw=1, ls="--", label="chance"),
        Line2D([], [], color="#555555", lw=1.4, ls=":", label="positions alone"),
    ]
    return marks + outcome_lines(comparison, "agree")
