"""The store of finished runs: one small JSON each, named by its experiment, with a checksum."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from fcilib.specs.identity import NUMERICS
from fcilib.storage.sealed import REMEDY, RecordError
from fcilib.storage.store import BaseRecord, Store
from fcilib.training.experiment import Experiment


class Record(BaseRecord):
    """What one finished run leaves behind."""

    subject = "experiment"

    identity: str
    numerics: int
    experiment: Experiment
    metrics: dict[str, float]
    """On held-out sequences, after the last epoch."""
    curve: dict[str, list[float]]
    """The same, and the training loss, by epoch."""
    probes: dict[str, float | int | list[float]]
    parameters: int
    seconds: float
    peak_memory_mb: float | None = Field(default=None, exclude_if=lambda value: value is None)
    """Only in older records, and of no use there: the most memory that the process had held, other
    runs' included. It is not written any more."""
    threads: int
    step: Literal["captured", "eager"] | None = Field(None, exclude_if=lambda step: step is None)
    """On a GPU, whether a training step was a replay of one CUDA graph; left out on a CPU."""


class Records(Store[Record]):
    """The runs of a profile, in a folder of its name: `Records(root / "quick")`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Record)

    def workspace(self, experiment: Experiment) -> Path:
        """Where the run keeps its lock, its checkpoint, its progress and its weights."""
        return self.folder / ".cache" / experiment.identity

    def read(self, path: Path) -> Record:
        """The run in a file, which must bear its name.

        Raises RecordError where it can't be trusted.
        """
        record = super().read(path)
        if record.numerics == NUMERICS and not (
            record.identity == record.experiment.identity == path.stem
        ):
            raise RecordError(f"{path}: holds another experiment than its name says. {REMEDY}")
        return record
