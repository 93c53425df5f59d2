"""Training what the ledger lacks, the most important first, within a number of minutes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType

from filelock import FileLock, Timeout

from fcilib.backbones.hub import BackboneError, HubModel
from fcilib.execution.executors import execute
from fcilib.execution.failures import RunsFailed
from fcilib.execution.progress import Progress, running
from fcilib.ledger.estimates import Estimates
from fcilib.ledger.wanted import Wanted, wanted
from fcilib.representations import Frozen
from fcilib.storage.files import storing
from fcilib.study.profiles import Profile
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records


class TimeUp(BaseException):
    """The sweep's minutes are over; like an interruption, it ends the runs under way."""


@dataclass
class Swept:
    """How a sweep ended."""

    left: list[Wanted]
    """What is still not recorded."""
    recorded: int
    """Runs that were recorded meanwhile, by this sweep or another."""
    failures: RunsFailed | None = None
    unavailable: dict[str, str] = field(default_factory=dict)
    """Why a backbone's weights can't be had here, by its name."""


def missing(records: Records, sizes: Profile) -> list[Wanted]:
    """What the ledger lacks, in order of importance. Raises RecordError at a damaged record."""
    return [run for run in wanted(sizes) if records.find(run.experiment) is None]


def sweep(
    records: Records,
    sizes: Profile,
    estimates: Estimates,
    executor: str,
    device: str,
    minutes: float | None = None,
) -> Swept:
    """Train what the ledger lacks until nothing is left, nothing fits any more, or time is up.

    Several sweeps may share a folder: each takes runs that no other process has. A run under way
    when time is up keeps its checkpoint, and the next sweep goes on from there.

    Args:
        records: the profile's folder.
        sizes: the profile.
        estimates: how long runs take.
        executor: as `execution.executors.execute` takes it.
        device: as torch names it.
        minutes: after so many it ends by itself; None for no limit.

    Raises:
        RecordError: a record can't be trusted.
        StoreError: the records can't be written.
        ModuleNotFoundError, ConnectionError: the executor is Ray, which is not installed, or no
            cluster answers.
        KeyboardInterrupt: on SIGINT or SIGTERM; finished runs are kept.
    """
    seconds = None if minutes is None else 60 * minutes
    deadline = None if seconds is None else time.monotonic() + seconds
    todo = missing(records, sizes)
    swept = Swept(todo, 0)
    names = {str(run): run.experiment for run in todo}

    def left() -> list[Wanted]:
        return [run for run in todo if not records.path(run.experiment).exists()]

    with (
        ExitStack() as reservations,
        Progress(len(todo), lambda: running(names, records)) as progress,
    ):
        next_runs = _next_runs(todo, records, estimates, deadline, reservations, swept)
        try:
            with _ending(seconds):
                execute(
                    next_runs,
                    records,
                    executor,
                    lambda _: progress.show(len(todo) - len(left())),
                    device,
                )
        except TimeUp:
            pass
        except RunsFailed as failures:
            swept.failures = failures
    swept.left = left()
    swept.recorded = len(todo) - len(swept.left)
    return swept


def _next_runs(
    todo: Sequence[Wanted],
    records: Records,
    estimates: Estimates,
    deadline: float | None,
    reservations: ExitStack,
    swept: Swept,
) -> Iterator[Experiment]:
    """What to begin now, each time that there is room for a run; ends when nothing is left.

    Reserves each run for this process until `reservations` closes, or the process ends in any way.
    """
    waiting = list(todo)
    while waiting:
        left = None if deadline is None else deadline - time.monotonic()
        for run in _in_turn(waiting, estimates, left):
            waiting.remove(run)
            if records.path(run.experiment).exists() or not _has_weights(run, swept):
                continue
            if _reserve(run.experiment, records, reservations):
                yield run.experiment
                break
        else:
            return


def _in_turn(
    waiting: Sequence[Wanted], estimates: Estimates, left: float | None
) -> Iterator[Wanted]:
    """Runs that can be finished in the seconds left; after them those that can be begun.

    Of the latter, which end as a checkpoint, first those that have one, and only what has the time
    for an epoch. Where nothing is known of a run, it is begun: it is how something is learned.
    """
    if left is None:
        yield from list(waiting)
        return
    times = {run.experiment: estimates.seconds(run) for run in waiting}
    fitting = [r for r in waiting if (s := times[r.experiment]) is None or s <= left]
    yield from fitting
    rest = [run for run in waiting if run not in fitting]
    for run in sorted(rest, key=lambda run: not estimates.has_checkpoint(run)):
        epoch = estimates.epoch(run)
        if epoch is not None and epoch <= left:
            yield run


def _reserve(experiment: Experiment, records: Records, reservations: ExitStack) -> bool:
    """Whether the run is this process's: nobody else has reserved it, and nobody trains it."""
    workspace = records.workspace(experiment)
    with storing(workspace):
        workspace.mkdir(parents=True, exist_ok=True)
        claim = FileLock(workspace / "claim")
        try:
            claim.acquire(timeout=0)
        except Timeout:
            return False
        try:
            FileLock(workspace / "lock").acquire(timeout=0).lock.release()
        except Timeout:
            claim.release()
            return False
    reservations.callback(claim.release)
    return True


def _has_weights(run: Wanted, swept: Swept) -> bool:
    """Whether a frozen backbone's weights can be had here; looked up once for each."""
    representation = run.experiment.representation
    if not isinstance(representation, Frozen) or not isinstance(representation.backbone, HubModel):
        return True
    backbone = representation.backbone
    if backbone.name not in swept.unavailable:
        try:
            backbone.folder()
        except BackboneError as error:
            swept.unavailable[backbone.name] = str(error)
    return backbone.name not in swept.unavailable


@contextmanager
def _ending(seconds: float | None) -> Iterator[None]:
    """Raise TimeUp here after so many seconds, and KeyboardInterrupt on SIGTERM and SIGINT.

    A shell has what it starts in the background ignore SIGINT; a sweep minds it there as well.
    """

    def time_up(number: int, frame: FrameType | None) -> None:
        raise TimeUp

    def interrupted(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    handlers: dict[int, Callable] = {
        signal.SIGTERM: interrupted,
        signal.SIGINT: interrupted,
        signal.SIGALRM: time_up,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    if seconds is not None:
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
