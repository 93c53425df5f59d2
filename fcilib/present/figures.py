"""One look for all figures: colours, markers, and the book's signature figure."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fcilib.ledger.agreement import NEAR_CHANCE, RULE
from fcilib.ledger.catalogue import styles

STYLES: Mapping[str, tuple[str, str]] = {
    **styles(),
    "Investigator": ("#0072B2", "o"),
    "Investigator, every query": ("#56B4E9", "v"),
    "Investigator, all pairs": ("#56B4E9", "v"),
    "rank-1": ("#D55E00", "P"),
    "rank-1, every query": ("#E69F00", "X"),
    "rank-1, all pairs": ("#E69F00", "X"),
    "numba": ("#D55E00", "P"),
    "torch": ("#009E73", "X"),
    "reference": ("#000000", "s"),
    "slicing": ("#CC79A7", "D"),
    "mambapy": ("#0072B2", "o"),
    "arithmetic": ("#777777", "_"),
    "our Transformer": ("#0072B2", "o"),
    "our Mamba": ("#D55E00", "P"),
    "SmolLM2": ("#56B4E9", "v"),
    "MiniLM": ("#009E73", "X"),
    "Hyena": ("#E69F00", "s"),
    "RWKV-4": ("#CC79A7", "D"),
    "BaseConv": ("#009E73", "^"),
    "Based": ("#56B4E9", "v"),
    "Mamba": ("#D55E00", "P"),
}
"""Colour and marker of whatever a label begins with, the same in every figure of the book: the
catalogue's conditions, and beside them what the book times, reads with and compares in recall."""

AGREES, DISAGREES, NEAR, UNCLAIMED = "#0072B2", "#D55E00", "#888888", "#333333"

NARROW = 5.0
"""Inches: the width of a figure that a phone can show whole, at no less than 0.6 of its size."""

MEASURED = ("o", "s", "D")
"""Marks of what was measured, by protocol, the last protocol's first."""


@contextmanager
def look() -> Iterator[None]:
    """The book's settings: opaque white, thin axes, text that stays readable on a page."""
    with plt.rc_context(
        {
            "figure.facecolor": "white",
            "axes.facecolor": "white",
            "savefig.facecolor": "white",
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e5e5e5",
            "axes.axisbelow": True,
            "legend.frameon": False,
            "figure.dpi": 110,
        }
    ):
        yield


def style(condition: str) -> dict[str, str]:
    """Colour and marker of a condition: those of the longest family name it begins with."""
    families = [name for name in STYLES if condition.startswith(name)]
    color, marker = STYLES[max(families, key=len)] if families else ("#555555", "o")
    return {"color": color, "marker": marker}


def outcome_color(line: Any) -> str:
    """The colour of a comparison's row, a named tuple with `agrees` and `verdict`."""
    if line.verdict == NEAR_CHANCE:
        return NEAR
    return UNCLAIMED if line.agrees is None else AGREES if line.agrees else DISAGREES


def outcome_lines(comparison: pd.DataFrame, agree: str) -> list[Line2D]:
    """A legend's entries for the colours that occur, with what agreement is called."""
    near = comparison.verdict == NEAR_CHANCE
    answers = set(comparison.agrees[~near])
    return [
        Line2D([], [], color=color, lw=3, label=text)
        for occurs, color, text in (
            (True in answers, AGREES, agree),
            (False in answers, DISAGREES, "differ"),
            (near.any(), NEAR, NEAR_CHANCE),
        )
        if occurs
    ]


def claims_figure(comparison: pd.DataFrame) -> Figure:
    """Precision by the paper (hollow), as measured (filled, with its spread), and chance (tick).

    A row per condition, sorted by what was measured under the last protocol, with the largest on
    top. Protocols share a row, one below the other, each with its own mark. The line from paper to
    measured is blue where they agree and orange where they do not; a row whose verdict is
    `NEAR_CHANCE` is grey. What the paper makes no claim about is black, without a hollow mark. The
    figure is narrow enough to be read on a phone.

    Args:
        comparison: as `compare` gives it, of claims on precision.
    """
    protocols = list(dict.fromkeys(comparison.protocol))[::-1]
    first = comparison[comparison.protocol == protocols[0]]
    order = list(first.sort_values("mean", kind="stable").condition)
    step = 0.36 if len(protocols) == 1 else 0.42
    with look():
        fig, ax = plt.subplots(figsize=(NARROW, 1.5 + step * len(order)), layout="constrained")
        for i, protocol in enumerate(protocols):
            part = comparison[comparison.protocol == protocol].set_index("condition").loc[order]
            shift = 0.0 if len(protocols) == 1 else 0.2 - 0.4 * i / (len(protocols) - 1)
            _claims_lines(ax, part, shift, MEASURED[i % len(MEASURED)])
        ax.set_xlim(-4, 104)
        ax.set_xlabel("routing precision (%)")
        ax.set_ylim(-0.6, len(order) - 0.4)
        ax.set_yticks(range(len(order)), [fill(name, 24) for name in order], fontsize=9)
        ax.grid(axis="y", visible=False)
        _claims_legend(fig, comparison, protocols)
    return fig


def _claims_lines(ax: Axes, part: pd.DataFrame, shift: float, marker: str) -> None:
    """The lines of one protocol, `shift` above the middle of their rows."""
    for row, line in enumerate(part.itertuples()):
        y = row + shift
        color = outcome_color(line)
        paper, mean, chance = (100 * value for value in (line.paper, line.mean, line.chance))
        ax.plot([paper, mean], [y, y], color=color, lw=2, alpha=0.6)
        ax.plot(paper, y, "o", mfc="white", mec=color, ms=10, mew=1.4)
        error = 0 if np.isnan(line.sd) else 100 * line.sd
        ax.errorbar(mean, y, xerr=error, fmt=marker, color=color, ms=5.5, capsize=3)
        ax.plot(chance, y, "|", color="#555555", ms=9, mew=1.6)


def _claims_legend(fig: Figure, comparison: pd.DataFrame, protocols: list[str]) -> None:
    """The marks that occur."""
    spread = " ± s.d." if comparison.sd.notna().any() else ""
    handles = []
    if comparison.paper.notna().any():
        hollow: dict[str, Any] = {
            "marker": "o",
            "mfc": "white",
            "mec": UNCLAIMED,
            "ls": "",
            "ms": 10,
            "mew": 1.4,
        }
        handles.append(Line2D([], [], label="paper", **hollow))
    for protocol, marker in zip(protocols, MEASURED, strict=False):
        name = ", ".join(filter(None, (f"measured{spread}", protocol and f"“{protocol}”")))
        handles.append(Line2D([], [], marker=marker, color=UNCLAIMED, ls="", ms=5.5, label=name))
    if comparison.chance.notna().any():
        thin: dict[str, Any] = {"color": "#555555", "ms": 11, "mew": 1.6}
        handles.append(Line2D([], [], marker="|", ls="", label="chance", **thin))
    handles += outcome_lines(comparison, f"agree within {RULE}")
    fig.legend(handles=handles, loc="outside upper left", ncols=2, fontsize=9)


def growth_figure(measured: pd.DataFrame, length: str = "n") -> Figure:
    """Time and, below it, memory against length, all axes logarithmic, a line per workload.

    Args:
        measured: as `fcilib.cost.report.frame` gives it; points are means over repetitions, the
            shade their range.
        length: the symbol of the length, for the axis.
    """
    with look():
        fig, axes = plt.subplots(2, 1, figsize=(NARROW, 8.2), layout="constrained")
        for ax, quantity, scale, unit in (
            (axes[0], "seconds", 1000, "time (ms)"),
            (axes[1], "megabytes", 1, "peak memory of tensors (MB)"),
        ):
            for name, part in measured.groupby("workload", sort=False):
                found = scale * part.groupby("length")[quantity].agg(["mean", "min", "max"])
                found = found[found["mean"] > 0]
                kind = style(name)
                ax.plot(found.index, found["mean"], label=name, ms=5, lw=1.4, **kind)
                ax.fill_between(
                    found.index, found["min"], found["max"], color=kind["color"], alpha=0.18, lw=0
                )
            ax.set_xscale("log", base=2)
            ax.set_yscale("log")
            ax.set_xlabel(f"length {length}")
            ax.set_ylabel(unit)
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside upper left", ncols=2, fontsize=9)
    return fig


def inline(figure: Figure, alt: str) -> str:
    """The figure as an HTML image that needs no file: for pages that show another page's figure."""
    written = io.BytesIO()
    figure.savefig(written, format="png", metadata={"Software": None})
    data = base64.b64encode(written.getvalue()).decode()
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}" />'


def panels(number: int) -> tuple[Figure, np.ndarray]:
    """Axes one below the other, in a figure that a phone can show whole: figure and `(number,)`."""
    size = (NARROW, 0.6 + 2.5 * number)
    fig, axes = plt.subplots(
        number, sharex=True, sharey="row", squeeze=False, figsize=size, layout="constrained"
    )
    return fig, axes[:, 0]


def band(ax: Axes, x: Any, mean: pd.Series, sd: pd.Series, name: str, **more: Any) -> None:
    """A line through the means in percent, with one standard deviation shaded on either side."""
    mean, sd = 100 * np.asarray(mean), 100 * np.nan_to_num(np.asarray(sd, dtype=float))
    kind = {**style(name), "label": name, "ms": 6, "lw": 1.6, **more}
    ax.plot(x, mean, **kind)
    ax.fill_between(x, mean - sd, mean + sd, color=kind["color"], alpha=0.18, lw=0)


def chance_line(ax: Axes, chance: float, label: str = "chance (random router)") -> None:
    """The chance level, a dashed line across."""
    ax.axhline(100 * chance, color="#777777", ls="--", lw=1.2, label=label)


def heat_map(table: pd.DataFrame, spreads: pd.DataFrame, low: float) -> Figure:
    """Shares as a coloured table, each cell with mean and standard deviation in percent.

    Args:
        table, spreads: means and standard deviations, a row per condition, a column per task.
        low: the lower end of the colour scale, chance; the upper one is all.
    """
    with look():
        fig, ax = plt.subplots(
            figsize=(2.6 + 1.35 * table.shape[1], 0.9 + 0.36 * len(table)), layout="constrained"
        )
        image = ax.imshow(table, cmap="cividis", vmin=low, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(table.to_numpy()):
            sd = spreads.to_numpy()[row, column]
            text = f"{100 * value:.0f}" + ("" if np.isnan(sd) else f" ± {100 * sd:.0f}")
            color = "white" if value < low + 0.55 * (1 - low) else "black"
            ax.text(column, row, text, ha="center", va="center", color=color)
        ax.set_xticks(range(table.shape[1]), table.columns)
        ax.set_yticks(range(len(table)), table.index)
        ax.xaxis.tick_top()
        ax.grid(visible=False)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        scale = fig.colorbar(image, ax=ax, shrink=0.8)
        scale.set_ticks([low, 1], labels=[f"chance\n{100 * low:.0f}%", "100%"])
    return fig
