"""Showing how far a set of runs is: a bar here, or a file that another process shows.

Runs write their own progress into their workspaces; this module gathers it. Where the environment
variable `FCI_PROGRESS` names a file, the state goes there, as the JSON of `State`; else to a bar.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypedDict

from tqdm import tqdm

from fcilib.storage.files import write_atomic
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records
from fcilib.training.state import STATE_FILE

VARIABLE = "FCI_PROGRESS"


class Running(TypedDict):
    """One run under way."""

    name: str
    epoch: int
    epochs: int
    precision: float
    """As in `RunState`."""


class State(TypedDict):
    """Where a set of runs stands."""

    done: int
    total: int
    running: list[Running]


class Progress:
    """Shows how much of some work is done; a context manager.

    Args:
        total: runs, or whatever `unit` says, in all.
        running: asked at each `show` what is under way.
        unit: what is counted.
    """

    def __init__(
        self, total: int, running: Callable[[], list[Running]] = list, unit: str = "run"
    ) -> None:
        self.total, self.running = total, running
        target = os.environ.get(VARIABLE)
        self.file = Path(target) if target else None
        self.bar = None if self.file else tqdm(total=total, unit=unit, leave=False)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, done: int) -> None:
        """Show that `done` runs are finished, and how far the others are."""
        running = self.running()
        if self.file:
            state = State(done=done, total=self.total, running=running)
            write_atomic(self.file, json.dumps(state).encode())
        else:
            self.bar.update(done - self.bar.n)
            self.bar.set_postfix_str(", ".join(map(describe, running)))


def running(names: Mapping[str, Experiment], records: Records) -> list[Running]:
    """What the runs under way say of themselves."""
    found = []
    for name, experiment in names.items():
        try:
            text = (records.workspace(experiment) / STATE_FILE).read_text()
        except OSError:
            continue
        state = json.loads(text)
        epochs = experiment.training.epochs
        epoch = min(epochs, 1 + epochs * state["done"] // state["total"])
        found.append(Running(name=name, epoch=epoch, epochs=epochs, precision=state["precision"]))
    return found


def describe(run: Running) -> str:
    """One run in a few words: `attention, 1 layer: epoch 3/5, precision 91%`."""
    text = f"{run['name']}: epoch {run['epoch']}/{run['epochs']}"
    return text if math.isnan(run["precision"]) else f"{text}, precision {run['precision']:.0%}"
