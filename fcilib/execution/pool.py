"""Runs in a pool of processes of this machine, as many at a time as there are cores."""

from __future__ import annotations

import _thread
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for

import cloudpickle
import torch

from fcilib.execution.failures import Failures, portable
from fcilib.storage.files import StoreError
from fcilib.system.machine import cores
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records
from fcilib.training.run import run_one

DEATHS = 3
"""Times in a row that workers may die without a single run finishing, before giving up."""

POLL = 0.5
"""Seconds between two ticks."""


def in_pool(
    experiments: Sequence[Experiment], records: Records, tick: Callable[[int], None]
) -> Failures:
    """Run every experiment and write its record; gives those that failed.

    A worker that dies costs its unfinished run's last epoch: the run is tried again.

    Args:
        experiments: what to run, in this order.
        records: where the records go.
        tick: called with how many are finished.

    Raises:
        StoreError: the records can't be written; no other run is begun.
    """
    left, failures, deaths = list(experiments), Failures(), 0
    while left:
        try:
            _one_pool(left, records, failures, tick, len(experiments) - len(left))
            break
        except BrokenProcessPool:
            still = [e for e in left if e not in failures and not records.path(e).exists()]
            left, deaths = still, deaths + 1 if len(still) == len(left) else 0
            if deaths == DEATHS:
                error = RuntimeError(
                    f"workers died {DEATHS} times in a row without finishing a run "
                    f"(is there enough memory?)"
                )
                return failures | dict.fromkeys(left, error)
    return failures


def _one_pool(
    left: Sequence[Experiment],
    records: Records,
    failures: Failures,
    tick: Callable[[int], None],
    before: int,
) -> None:
    context = multiprocessing.get_context("spawn")
    workers = min(cores(), len(left))
    theirs, ours = context.Pipe(duplex=False)
    with theirs, ProcessPoolExecutor(workers, context, _become_worker, (theirs,)) as pool, ours:
        # By value, if need be: a worker can't import a router that a notebook's cell defines.
        packed = {e: cloudpickle.dumps((_run, e, records)) for e in left}
        with _interruptions_held():  # workers inherit it: Ctrl-C is for this process to pass on
            waiting: dict[Future, Experiment] = {
                pool.submit(_call, call): e for e, call in packed.items()
            }
        try:
            while waiting:
                finished, _ = wait(waiting, timeout=POLL, return_when=FIRST_COMPLETED)
                for future in finished:
                    experiment = waiting.pop(future)
                    error = future.result()
                    if isinstance(error, StoreError):
                        raise error
                    if error:
                        failures[experiment] = error
                tick(before + len(left) - len(waiting))
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
    busy = False
    dismissed = False


def _become_worker(driver: Connection) -> None:
    """Have one thread, and end with the driver, which holds the other end of this pipe."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_when_dismissed, args=(driver,), daemon=True).start()


def _end_when_dismissed(driver: Connection) -> None:
    """When the pipe ends, interrupt the run under way, as Ctrl-C does, and begin no other."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for([driver, parent.sentinel])  # a forked worker holds the other end of the pipe itself
    with _Worker.gate:
        _Worker.dismissed = True
        if _Worker.busy:
            _thread.interrupt_main()
    parent.join()
    os._exit(1)


def _call(packed: bytes) -> Exception | None:
    with _Worker.gate:
        if _Worker.dismissed:
            raise KeyboardInterrupt
        _Worker.busy = True
    try:
        function, *arguments = pickle.loads(packed)
        return function(*arguments)
    except Exception as error:  # what it takes can't be imported here
        return portable(error)
    finally:
        with _Worker.gate:
            _Worker.busy = False


def _run(experiment: Experiment, records: Records) -> Exception | None:
    """Run it; gives why it failed, if it did."""
    try:
        run_one(experiment, records)
        return None
    except Exception as error:
        return portable(error)
