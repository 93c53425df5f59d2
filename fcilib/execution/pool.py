"""Runs in a pool of processes of this machine, as many at a time as there are cores."""

from __future__ import annotations

import _thread
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for

import cloudpickle
import torch

from fcilib.execution.failures import Failures, portable
from fcilib.execution.guard import demand_guard
from fcilib.storage.files import StoreError
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records
from fcilib.training.run import run_one

DEATHS = 3
"""Times in a row that workers may die without a single run finishing, before giving up."""

POLL = 0.5
"""Seconds between two ticks."""

INTERRUPTIONS = 4
"""How often a run is interrupted, if it does not end: C code may drop an interruption."""

INTERRUPTED_EVERY = 3
"""Seconds between two interruptions, in which a run has time to tidy up on a busy machine."""


def in_pool(
    experiments: Iterator[Experiment],
    records: Records,
    tick: Callable[[int], None],
    workers: int,
    device: str,
) -> Failures:
    """Run every experiment and write its record; gives those that failed.

    A worker that dies costs its unfinished run's last epoch: the run is tried again.

    Args:
        experiments: what to run, in this order; asked for the next one when a worker is free.
        records: where the records go.
        tick: called with how many are finished.
        workers: runs at a time.
        device: where models are trained, as torch names it.

    Raises:
        RuntimeError: it is called from a script without the guard that worker processes need.
        StoreError: the records can't be written; no other run is begun.
    """
    demand_guard()
    work = _Work(experiments)
    deaths = 0
    while True:
        before = work.done
        try:
            _one_pool(work, records, tick, workers, device)
            return work.failures
        except BrokenProcessPool:
            for experiment in list(work.under_way):
                if records.path(experiment).exists():
                    work.finish(experiment)
            work.again += work.under_way
            work.under_way.clear()
            deaths = deaths + 1 if work.done == before else 0
            if deaths == DEATHS:
                error = RuntimeError(
                    f"workers died {DEATHS} times in a row without finishing a run "
                    f"(is there enough memory?)"
                )
                return work.failures | dict.fromkeys([*work.again, *work.upcoming], error)


class _Work:
    """Runs that are to come, under way, and done."""

    def __init__(self, upcoming: Iterator[Experiment]) -> None:
        self.upcoming = upcoming
        self.again: list[Experiment] = []
        """Runs whose worker died."""
        self.under_way: list[Experiment] = []
        self.done = 0
        self.failures: Failures = {}

    def begin(self) -> Experiment | None:
        """The next run, from now on under way; None where there is none."""
        experiment = self.again.pop(0) if self.again else next(self.upcoming, None)
        if experiment is not None:
            self.under_way.append(experiment)
        return experiment

    def finish(self, experiment: Experiment, error: Exception | None = None) -> None:
        """The run has its record, or has failed."""
        self.under_way.remove(experiment)
        self.done += 1
        if error is not None:
            self.failures[experiment] = error


def _one_pool(
    work: _Work, records: Records, tick: Callable[[int], None], workers: int, device: str
) -> None:
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    with theirs, ProcessPoolExecutor(workers, context, _become_worker, (theirs,)) as pool, ours:
        waiting: dict[Future, Experiment] = {}
        try:
            while True:
                while len(waiting) < workers and (experiment := work.begin()) is not None:
                    # By value, if need be: a worker can't import a router that a notebook's cell
                    # defines.
                    call = cloudpickle.dumps(partial(run_one, experiment, records, device=device))
                    with _interruptions_held():  # workers inherit it: Ctrl-C is for us to pass on
                        waiting[pool.submit(_call, call)] = experiment
                if not waiting:
                    return
                finished, _ = wait(waiting, timeout=POLL, return_when=FIRST_COMPLETED)
                for future in finished:
                    experiment = waiting.pop(future)
                    error = future.result()
                    if isinstance(error, StoreError):
                        raise error
                    work.finish(experiment, error)
                tick(work.done)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _interruptions_held() -> Iterator[None]:
    """SIGINT waits, here and in processes that are started meanwhile, until the block ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """What this process does, if it is a worker."""

    gate = threading.Lock()
    idle = threading.Event()
    dismissed = False
    terminated = False
    """Whether SIGTERM dismissed it: it then leaves without an answer, and not with its driver."""


def _become_worker(driver: Connection) -> None:
    """Have one thread, and end with the driver, which holds the other end of this pipe."""
    torch.set_num_threads(1)
    # What a shell's & starts ignores SIGINT, and so would its workers.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A kernel that shuts down sends SIGTERM, several times, to all that it started; so does a pool
    # in which another worker died. The handler, which may run at any point, only closes a pipe.
    terminations, terminator = multiprocessing.Pipe(duplex=False)
    signal.signal(signal.SIGTERM, lambda *_: terminator.close())
    _Worker.idle.set()
    threading.Thread(target=_end_when_dismissed, args=(driver, terminations), daemon=True).start()


def _end_when_dismissed(driver: Connection, terminations: Connection) -> None:
    """When either pipe ends, interrupt the run under way, as Ctrl-C does, and begin no other."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    # A forked worker holds the other end of the driver's pipe itself.
    ended = wait_for([driver, terminations, parent.sentinel])
    with _Worker.gate:
        _Worker.dismissed = True
        _Worker.terminated = terminations in ended
    sys.unraisablehook = _interrupt_again
    for _ in range(INTERRUPTIONS):
        _interrupt_run()
        if _Worker.idle.wait(INTERRUPTED_EVERY):
            break
    wait_for([terminations, parent.sentinel])
    os._exit(1)


def _interrupt_run() -> None:
    with _Worker.gate:
        if not _Worker.idle.is_set():
            _thread.interrupt_main()


def _interrupt_again(dropped: sys.UnraisableHookArgs) -> None:
    """Send an interruption again that met a destructor, in which Python drops it."""
    if issubclass(dropped.exc_type, KeyboardInterrupt):
        threading.Timer(0.05, _interrupt_run).start()  # outside of the destructor
    else:
        sys.__unraisablehook__(dropped)


def _call(packed: bytes) -> Exception | None:
    """Make the run that is packed; gives why it failed, if it did."""
    with _Worker.gate:
        if _Worker.dismissed:
            raise KeyboardInterrupt
        _Worker.idle.clear()
    try:
        pickle.loads(packed)()
        return None
    except Exception as error:
        return portable(error)
    finally:
        with _Worker.gate:
            _Worker.idle.set()
            if _Worker.terminated:
                os._exit(1)
