"""Routing scores over training: a slider by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fcilib.model.film import FILMED, film_group
from fcilib.present.interactive.widget import Widget, select
from fcilib.study.results import Results
from fcilib.training.records import Record


def film(name: str, results: Mapping[str, Results], chance: Mapping[str, float]) -> Widget:
    """How a router divides its softmax over the positions of a sequence, epoch by epoch.

    Args:
        name: the figure's id on its page.
        results: by protocol, runs of one task whose experiments have `probing="by-epoch"`; of each
            condition the run of the first seed is shown.
        chance: the precision of a random router, by protocol.

    Raises:
        KeyError: a run kept no scores by epoch.
    """
    protocols = list(results)
    conditions = list(dict.fromkeys(c for r in results.values() for c, _ in r.records))
    records = [[_first(results[p], condition) for p in protocols] for condition in conditions]
    runs = [[_run(record) for record in row] for row in records]
    shown = records[0][0].experiment
    epochs = shown.training.epochs
    group = film_group(shown.task.length, epochs)
    grey = f" Grey bars are means over {group} neighbours." if group > 1 else ""
    held_out = shown.task.draw(shown.training.held_out, shown.seed, "test")
    sequences = [
        {"query": int(held_out.query[i]), "evidence": int(held_out.evidence[i])}
        for i in range(FILMED)
    ]
    menus = {
        "condition": ("in front of the router", conditions),
        "protocol": ("candidates", protocols),
        "sequence": ("sequence", [str(i + 1) for i in range(len(sequences))]),
    }
    slider = (
        f'<label class="fci-wide">epoch <input type="range" name="epoch" min="0" max="{epochs}" '
        f'value="{epochs}" step="1"><output></output></label>'
    )
    return Widget(
        name=name,
        script="film.js",
        controls="".join(select(n, *menu) for n, menu in menus.items()) + slider,
        caption=(
            "Interactive. The router's softmax over the positions of a held-out sequence, before "
            "training and after each epoch, one seed, on a square-root scale. Orange: the query's "
            f"own position; blue: the evidence; dashed: equal shares.{grey}"
        ),
        alt="Bars over the positions of a sequence, the query's and the evidence's in colour.",
        data={
            "runs": runs,
            "sequences": sequences,
            "length": shown.task.length,
            "group": group,
            "held_out": f"{len(held_out):,}",
            "chance": [chance[p] for p in protocols],
        },
    )


def _first(results: Results, condition: str) -> Record:
    return next(record for (name, _), record in results.records.items() if name == condition)


def _run(record: Record) -> dict[str, Any]:
    """Shares by epoch and sequence: the evidence's, the query's, the other groups'."""
    spec, flat = record.experiment, record.probes["shares_by_epoch"]
    assert isinstance(flat, list)
    assert spec.router
    one = len(flat) // (FILMED * (spec.training.epochs + 1))
    rows = [flat[i : i + one] for i in range(0, len(flat), one)]
    return {
        "shares": [rows[i : i + FILMED] for i in range(0, len(rows), FILMED)],
        "candidates": spec.task.length - (spec.router.candidates == "others"),
        "precision": record.curve["precision"],
        "picked_query": record.curve["picked_query"],
    }
