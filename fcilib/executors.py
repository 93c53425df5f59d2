"""Where runs happen: in this process, or in a pool of processes."""

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
from typing import Literal

import cloudpickle
import torch

from fcilib.experiment import Experiment
from fcilib.machine import cores
from fcilib.records import Records
from fcilib.run import run_one

ExecutorName = Literal["inline", "process"]

Tick = Callable[[int], None]
"""Called often while runs are under way, with how many are finished."""

DEATHS = 3
"""Times in a row that workers may die without a single run finishing, before giving up."""

POLL = 0.5
"""Seconds between two ticks."""


def execute(
    experiments: Sequence[Experiment], records: Records, executor: ExecutorName, tick: Tick
) -> None:
    """Run every experiment and write its record.

    Args:
        experiments: what to run.
        records: where the records go.
        executor: `"inline"`, one after another in this process; `"process"`, as many at a time as
            there are cores, in processes of one thread each.
        tick: told of progress.

    Raises:
        ValueError: no executor has that name.
        RuntimeError: workers died again and again without finishing a run.
    """
    if executor not in _EXECUTORS:
        raise ValueError(f"executor: {executor!r} is none of {', '.join(sorted(_EXECUTORS))}")
    if experiments:
        _EXECUTORS[executor](sorted(experiments, key=_size, reverse=True), records, tick)


def _size(experiment: Experiment) -> int:
    """Parameters to train: large models go first, so that no core waits for a late one."""
    with torch.device("meta"):
        return sum(p.numel() for p in experiment.build().parameters())


def _inline(experiments: Sequence[Experiment], records: Records, tick: Tick) -> None:
    for done, experiment in enumerate(experiments):
        tick(done)
        run_one(experiment, records)
    tick(len(experiments))


def _pool(experiments: Sequence[Experiment], records: Records, tick: Tick) -> None:
    """A worker that dies costs its unfinished run's last epoch: the run is tried again."""
    left, deaths = list(experiments), 0
    while True:
        try:
            return _one_pool(left, records, tick, len(experiments) - len(left))
        except BrokenProcessPool:
            still = [e for e in left if not records.path(e).exists()]
            left, deaths = still, deaths + 1 if len(still) == len(left) else 0
            if deaths == DEATHS:
                raise RuntimeError(
                    f"workers died {DEATHS} times in a row without finishing a run; "
                    f"{len(left)} runs are left (is there enough memory?)"
                ) from None


def _one_pool(left: Sequence[Experiment], records: Records, tick: Tick, before: int) -> None:
    if not left:
        return
    context = multiprocessing.get_context("spawn")
    workers = min(cores(), len(left))
    theirs, ours = context.Pipe(duplex=False)
    with theirs, ProcessPoolExecutor(workers, context, _become_worker, (theirs,)) as pool, ours:
        # By value, if need be: a worker can't import a router that a notebook's cell defines.
        packed = [cloudpickle.dumps((_run, e, records)) for e in left]
        with _interruptions_held():  # workers inherit it: Ctrl-C is for this process to pass on
            waiting: set[Future] = {pool.submit(_call, call) for call in packed}
        try:
            while waiting:
                finished, waiting = wait(waiting, timeout=POLL, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
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


def _become_worker(asked: Connection) -> None:
    """One thread; and no life of its own: it ends with whoever asked for it, who holds the pipe."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_when_dismissed, args=(asked,), daemon=True).start()


def _end_when_dismissed(asked: Connection) -> None:
    """At the end of the pipe the run under way is interrupted, as by Ctrl-C, and no other begun."""
    wait_for([asked])
    with _Worker.gate:
        _Worker.dismissed = True
        if _Worker.busy:
            _thread.interrupt_main()
    multiprocessing.parent_process().join()
    os._exit(1)


def _call(packed: bytes) -> None:
    with _Worker.gate:
        if _Worker.dismissed:
            raise KeyboardInterrupt
        _Worker.busy = True
    try:
        function, *arguments = pickle.loads(packed)
        function(*arguments)
    finally:
        with _Worker.gate:
            _Worker.busy = False


def _run(experiment: Experiment, records: Records) -> None:
    run_one(experiment, records)


_EXECUTORS = {"inline": _inline, "process": _pool}
