"""Showing how far a set of runs is: a bar here, or a file that another process shows.

Runs write their own progress into their workspaces; this module gathers it. Where the environment
variable `FCI_PROGRESS` names a file, the JSON of a `State` goes there; otherwise a bar shows it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from fcilib.storage.files import write_atomic
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records
from fcilib.training.state import STATE_FILE, RunState

VARIABLE = "FCI_PROGRESS"


class Running(BaseModel):
    """One run under way."""

    model_config = ConfigDict(ser_json_inf_nan="constants")  # JSON's null would be no precision

    name: str
    epoch: int
    epochs: int
    precision: float
    """As in `RunState`."""


class State(BaseModel):
    """Where a set of runs stands."""

    done: int
    total: int
    running: list[Running]


class Progress:
    """Shows how much of some work is done; a context manager.

    Args:
        total: runs, or whatever `unit` says, in all.
        running: called at each `show`; returns the runs under way.
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
            write_atomic(self.file, state.model_dump_json())
        elif self.bar is not None:
            self.bar.update(done - self.bar.n)
            self.bar.set_postfix_str(", ".join(map(describe, running)))


def running(names: Mapping[str, Experiment], records: Records) -> list[Running]:
    """What the runs under way say of themselves."""
    runs = []
    for name, experiment in names.items():
        try:
            text = (records.workspace(experiment) / STATE_FILE).read_text()
        except OSError:
            continue
        state: RunState = json.loads(text)
        epochs = experiment.training.epochs
        epoch = min(epochs, 1 + epochs * state["done"] // state["total"])
        runs.append(Running(name=name, epoch=epoch, epochs=epochs, precision=state["precision"]))
    return runs


def describe(run: Running) -> str:
    """One run in a few words: `attention, 1 layer: epoch 3/5, precision 91%`."""
    text = f"{run.name}: epoch {run.epoch}/{run.epochs}"
    return text if math.isnan(run.precision) else f"{text}, precision {run.precision:.0%}"
