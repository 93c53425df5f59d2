"""What a router's score is made of, by step: the figure of the phase transition."""

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
    training, probes = record.experiment.training, record.probes
    steps = -(-training.sequences // training.batch)
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


def mechanism_figure(results: Results, names: Sequence[str]) -> Figure:
    """A row per condition: left, what is picked; right, the parts of the score, against steps.

    Lines are means over seeds; a band is one standard deviation, where there are several seeds.
    """
    with look():
        fig, axes = plt.subplots(
            len(names),
            2,
            sharex=True,
            sharey="col",
            squeeze=False,
            figsize=(8.4, 1.2 + 1.9 * len(names)),
            layout="constrained",
        )
        for (left, right), name in zip(axes, names, strict=True):
            tables = [by_step(r) for (label, _), r in results.records.items() if label == name]
            for share, (label, color, line) in SHARES.items():
                _line(left, [100 * t[share] for t in tables], label, color, line)
            for part, (label, color) in PARTS.items():
                if any(t[part].abs().max() > 1e-3 for t in tables):
                    _line(right, [t[part] for t in tables], label, color)
            right.axhline(0, color="#777777", lw=0.8)
            left.set_title(name, loc="left", fontsize=10)
        left.set_xlabel("steps")
        right.set_xlabel("steps")
        axes[0][0].set_ylim(-4, 104)
        for left, right in axes:
            left.set_ylabel("sequences (%)")
            right.set_ylabel("s.d. of scores")
        handles: dict[str, Artist] = {}
        for ax in axes.flat:
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        fig.legend(
            list(handles.values()), list(handles), loc="outside upper left", ncols=2, fontsize=10
        )
    return fig


def _line(ax: Axes, runs: Sequence[pd.Series], label: str, color: str, line: str = "-") -> None:
    together = pd.concat(list(runs), axis=1)
    mean, sd = together.mean(axis=1), together.std(axis=1)
    ax.plot(mean.index, mean, line, color=color, lw=1.8, label=label)
    if len(runs) > 1:
        ax.fill_between(mean.index, mean - sd, mean + sd, color=color, alpha=0.18, lw=0)
