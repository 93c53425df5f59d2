"""What a router picks, and what its score is made of, by step: figures of the phase transition."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fcilib.present.figures import look
from fcilib.study.results import Results
from fcilib.training.records import Record

SHARES = {
    "precision": ("picks the evidence", "#0072B2", "-"),
    "picked_query": ("picks the query itself", "#D55E00", "-"),
    "precision_others": ("picks the evidence, query taken out", "#0072B2", ":"),
}
"""How often a router is right, by name: label, colour and line."""

PARTS = {
    "token_match": ("evidence above other tokens", "#000000"),
    "token": ("evidence above query: tokens", "#E69F00"),
    "position": ("evidence above query: positions", "#009E73"),
    "layers": ("evidence above query: layers", "#CC79A7"),
}
"""What the score is made of, by name: label and colour."""


def by_step(record: Record) -> pd.DataFrame:
    """A run with the probing "mechanism", a row per measurement: what was picked, and the parts.

    The index is the number of training steps done. Before training the shares are NaN but for the
    precision among the others. `token`, `position` and `layers` are what each of them puts the
    evidence's score above the query's own by, in standard deviations of the other scores.

    Raises KeyError where the run was not watched.
    """
    steps, probes = record.experiment.training.steps_of_epoch, record.probes
    table = pd.DataFrame(
        {
            "token_match": probes["token_match_by_epoch"],
            "token_form": probes["token_form_by_epoch"],
            "position_form": probes.get("position_form_by_epoch", np.nan),
            "precision_others": probes["precision_others_by_epoch"],
            **{p: -np.array(probes[f"self_{p}_by_epoch"]) for p in ("token", "position", "layers")},
        }
    )
    for name in ("precision", "picked_query"):
        table[name] = [np.nan, *record.curve[name]]
    return table.set_index(steps * table.index).rename_axis("step")


def picks_figure(results: Results, names: Sequence[str]) -> Figure:
    """A panel per condition: how often a router picks the evidence and the query, against steps.

    Lines are means over seeds; a band is one standard deviation, where there are several seeds.
    """
    with look():
        fig, axes = _panels(names, ylabel="sequences (%)")
        for ax, name in zip(axes, names, strict=True):
            tables = _tables(results, name)
            for share, (label, color, line) in SHARES.items():
                _line(ax, [100 * t[share] for t in tables], label, color, line)
            ax.set_ylim(-4, 104)
        _legend(fig)
    return fig


def parts_figure(results: Results, names: Sequence[str]) -> Figure:
    """A panel per condition: the parts of the score, against steps. Lines as in `picks_figure`."""
    with look():
        fig, axes = _panels(names, ylabel="s.d. of scores")
        for ax, name in zip(axes, names, strict=True):
            tables = _tables(results, name)
            for part, (label, color) in PARTS.items():
                if any(t[part].abs().max() > 1e-3 for t in tables):
                    _line(ax, [t[part] for t in tables], label, color)
            ax.axhline(0, color="#777777", lw=0.8)
        _legend(fig)
    return fig


def _tables(results: Results, name: str) -> list[pd.DataFrame]:
    return [by_step(r) for (label, _), r in results.records.items() if label == name]


def _panels(names: Sequence[str], ylabel: str) -> tuple[Figure, Sequence[Axes]]:
    fig, axes = plt.subplots(
        1, len(names), sharey=True, squeeze=False, figsize=(8.4, 3.1), layout="constrained"
    )
    for ax, name in zip(axes[0], names, strict=True):
        ax.set_title(name, loc="left", fontsize=10)
        ax.set_xlabel("steps")
    axes[0][0].set_ylabel(ylabel)
    return fig, axes[0]


def _legend(fig: Figure) -> None:
    """Every label once, over the panels."""
    handles: dict[str, Artist] = {}
    for ax in fig.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    fig.legend(
        list(handles.values()), list(handles), loc="outside upper left", ncols=2, fontsize=10
    )


def _line(ax: Axes, runs: Sequence[pd.Series], label: str, color: str, line: str = "-") -> None:
    together = pd.concat(list(runs), axis=1)
    mean, sd = together.mean(axis=1), together.std(axis=1)
    ax.plot(mean.index, mean, line, color=color, lw=1.8, label=label)
    if len(runs) > 1:
        ax.fill_between(mean.index, mean - sd, mean + sd, color=color, alpha=0.18, lw=0)
