"""How long a run will take, judged from the runs that are recorded."""

from __future__ import annotations

import math
import statistics
from contextlib import suppress
from pathlib import Path

from fcilib.execution.executors import size
from fcilib.ledger.catalogue import catalogue
from fcilib.ledger.wanted import Wanted
from fcilib.storage.sealed import UnknownKindError
from fcilib.storage.tensors import TensorsError, unseal_tensors
from fcilib.study.extrapolation import EXTRAPOLATED, GPU_SPEEDUP, MEASURED, factors
from fcilib.study.profiles import Profile
from fcilib.training.experiment import Experiment
from fcilib.training.records import Record, Records


class Estimates:
    """Estimates for one profile on one kind of device; they learn from records as these arrive.

    Args:
        records: the profile's folder.
        smaller: the folder of the profile `quick`, whose times are extrapolated where the profile
            is `paper` and has no record of such a run.
        sizes: the profile.
        device: as torch names it; only records of the same kind of device are compared.
    """

    def __init__(self, records: Records, smaller: Records, sizes: Profile, device: str) -> None:
        self.records, self.smaller, self.sizes = records, smaller, sizes
        self.kind = "cuda" if device.startswith("cuda") else "cpu"
        self.read: dict[Path, Record] = {}
        self.twins = catalogue(MEASURED) if sizes == EXTRAPOLATED else {}

    def seconds(self, run: Wanted) -> float | None:
        """What is left of the run, in seconds; None where nothing recorded compares with it.

        In this order: the pace of its own checkpoint; the median over records that differ in seed
        or candidates alone; the time of the same condition at profile `quick`, with the geometric
        mean of `study.extrapolation.factors`; the pace of records with the same representation.
        """
        started = self._started(run.experiment)
        if started is not None:
            return started
        alike = self._alike()
        if times := alike.get(_cost_of(run.experiment)):
            return statistics.median(times)
        if twin := self._twin(run):
            return twin
        return self._by_size(run.experiment)

    def epoch(self, run: Wanted) -> float | None:
        """The same for one of its epochs."""
        seconds = self.seconds(run)
        epochs = max(run.experiment.training.epochs, 1)
        return None if seconds is None else seconds / epochs

    def has_checkpoint(self, run: Wanted) -> bool:
        """Whether an earlier call began it."""
        return self._checkpoint(run.experiment).exists()

    def _checkpoint(self, experiment: Experiment) -> Path:
        return self.records.workspace(experiment) / "checkpoint.safetensors"

    def _started(self, experiment: Experiment) -> float | None:
        path = self._checkpoint(experiment)
        if not path.exists():
            return None
        try:
            notes = unseal_tensors(path, "")[1]["notes"]
        except (OSError, TensorsError):  # the run itself will say what is wrong
            return None
        done = len(notes["curve"])
        left = experiment.training.epochs - done
        return notes["seconds"] / done * left if done else None

    def _known(self) -> list[Record]:
        """Records of this kind of device; each file is read once."""
        for path in self.records.folder.glob("*.json"):
            if path not in self.read:
                with suppress(UnknownKindError):
                    self.read[path] = self.records.read(path)
        return [r for r in self.read.values() if r.device.startswith(self.kind)]

    def _alike(self) -> dict[Experiment, list[float]]:
        times: dict[Experiment, list[float]] = {}
        for record in self._known():
            times.setdefault(_cost_of(record.experiment), []).append(record.seconds)
        return times

    def _twin(self, run: Wanted) -> float | None:
        """From the profile `quick`, measured on CPUs; a GPU's speed-up is an assumption."""
        if run.condition not in self.twins:
            return None
        times = [
            record.seconds * math.sqrt(math.prod(factors(twin)))
            for twin in self.twins[run.condition].under.values()
            if isinstance(twin, Experiment)
            and (record := self.smaller.find(twin)) is not None
            and record.device.startswith("cpu")
        ]
        if not times:
            return None
        seconds = statistics.median(times)
        return seconds if self.kind == "cpu" else seconds / GPU_SPEEDUP

    def _by_size(self, experiment: Experiment) -> float | None:
        known = self._known()
        kind = experiment.representation.kind
        same = [r for r in known if r.experiment.representation.kind == kind] or known
        paces = [r.seconds / size(r.experiment) for r in same if size(r.experiment)]
        return statistics.median(paces) * size(experiment) if paces else None


def _cost_of(experiment: Experiment) -> Experiment:
    """What the run's time depends on: all but the seed and the candidates."""
    router = experiment.router
    if router is not None:
        router = router.model_copy(update={"candidates": "others"})
    return experiment.model_copy(update={"seed": 0, "router": router})
