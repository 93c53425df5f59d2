"""The store of finished runs: one small JSON each, named by its experiment, with a checksum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from fcilib.specs.identity import NUMERICS
from fcilib.storage.files import write_atomic
from fcilib.storage.sealed import REMEDY, RecordError, seal_model, unseal_model
from fcilib.training.experiment import Experiment


class Record(BaseModel):
    """What one finished run leaves behind."""

    model_config = ConfigDict(extra="forbid", strict=True)

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
    peak_memory_mb: float
    device: str
    threads: int
    finished: str
    """UTC, to the second."""
    versions: dict[str, str]


class Records:
    """Records in a folder, `<identity>.json`; working files lie in `.cache` beside them.

    The records of a profile lie in a folder of its name: `Records(root / "quick")`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def path(self, experiment: Experiment) -> Path:
        return self.folder / f"{experiment.identity}.json"

    def workspace(self, experiment: Experiment) -> Path:
        """Where the run keeps its lock, its checkpoint, its progress and its weights."""
        return self.folder / ".cache" / experiment.identity

    def find(self, experiment: Experiment) -> Record | None:
        """The record of an experiment, or None. Raises RecordError where it can't be trusted."""
        path = self.path(experiment)
        if not path.exists():
            return None
        record = read(path)
        if record.experiment != experiment:
            raise RecordError(f"{path}: holds another experiment than its name says. {REMEDY}")
        return record

    def add(self, record: Record) -> None:
        """Write a record so that a crash leaves either none or all of it."""
        write_atomic(self.path(record.experiment), seal_model(record))

    def __iter__(self) -> Any:
        """Every record of the folder, by identity. Raises RecordError at one that is damaged."""
        return (read(path) for path in sorted(self.folder.glob("*.json")))

    def __len__(self) -> int:
        return len(list(self.folder.glob("*.json")))


def read(path: Path) -> Record:
    """One record from its file. Raises RecordError naming the file and what is wrong with it."""
    record = unseal_model(path, Record)
    if record.numerics == NUMERICS and not (
        record.identity == record.experiment.identity == path.stem
    ):
        raise RecordError(f"{path}: holds another experiment than its name says. {REMEDY}")
    return record
