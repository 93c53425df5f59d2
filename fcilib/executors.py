"""Where runs happen: in this process, in a pool of processes, or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec

import torch

from fcilib.experiment import Experiment
from fcilib.machine import cores
from fcilib.records import Records
from fcilib.run import run_one

Tick = Callable[[int], None]
"""Called often while runs are under way, with how many are finished."""

Failures = dict[Experiment, Exception]
"""Why runs failed, for those that did."""

DEATHS = 3
"""Times in a row that workers may die without a single run finishing, before giving up."""

POLL = 0.5
"""Seconds between two ticks."""

NAMES = ("inline", "process", "ray")


class RunsFailed(RuntimeError):
    """Some runs failed; all others are recorded. The message has each one's spec and error."""

    def __init__(self, failures: Mapping[Experiment, Exception], total: int) -> None:
        self.failures = dict(failures)
        head = f"{len(failures)} of {total} runs failed; all others are recorded:"
        super().__init__("\n".join([head, *(_line(*item) for item in failures.items())]))


def _line(experiment: Experiment, error: Exception) -> str:
    return f"  {experiment.canonical()}\n    {type(error).__name__}: {error}"


def parse(text: str) -> tuple[str, str]:
    """An executor's name, and the address of its cluster: empty where none is given.

    Args:
        text: `"inline"`, `"process"`, `"ray"` or `"ray:ADDRESS"`.

    Raises:
        ValueError: it is none of these.
    """
    name, colon, address = text.partition(":")
    if name not in NAMES or (colon and (name != "ray" or not address)):
        raise ValueError(f"executor: {text!r} is none of {', '.join(NAMES)}, ray:ADDRESS")
    if address.startswith("//"):
        raise ValueError(f"executor: {text!r} is an address alone; write 'ray:{text}'")
    return name, address


def execute(experiments: Sequence[Experiment], records: Records, executor: str, tick: Tick) -> None:
    """Run every experiment and write its record. A run that fails does not stop the others.

    Args:
        experiments: what to run.
        records: where the records go.
        executor: `"inline"`, one after another in this process; `"process"`, as many at a time as
            there are cores, in processes of one thread each; `"ray"`, on a Ray cluster of this
            machine or the one `$RAY_ADDRESS` names; `"ray:ADDRESS"`, on that cluster.
        tick: told of progress.

    Raises:
        ValueError: there is no such executor.
        ModuleNotFoundError: it is Ray, which is not installed.
        RunsFailed: some runs failed; raised once all others are recorded.
    """
    name, address = parse(executor)
    if not experiments:
        return
    ordered = sorted(experiments, key=_size, reverse=True)
    if name == "ray":
        failures = _ray(ordered, records, tick, address)
    else:
        failures = {"inline": _inline, "process": _pool}[name](ordered, records, tick)
    if failures:
        raise RunsFailed(failures, len(experiments)) from next(iter(failures.values()))


def _size(experiment: Experiment) -> int:
    """Parameters to train: large models go first, so that no core waits for a late one.

    Nothing for a model that can't be built: the run itself says why.
    """
    try:
        with torch.device("meta"):
            return sum(p.numel() for p in experiment.build().parameters())
    except Exception:
        return 0


def _inline(experiments: Sequence[Experiment], records: Records, tick: Tick) -> Failures:
    failures: Failures = {}
    for done, experiment in enumerate(experiments):
        tick(done)
        try:
            run_one(experiment, records)
        except Exception as error:
            failures[experiment] = error
    tick(len(experiments))
    return failures


def _pool(experiments: Sequence[Experiment], records: Records, tick: Tick) -> Failures:
    """A worker that dies costs its unfinished run's last epoch: the run is tried again."""
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
    left: Sequence[Experiment], records: Records, failures: Failures, tick: Tick, before: int
) -> None:
    context = multiprocessing.get_context("spawn")
    workers = min(cores(), len(left))
    with ProcessPoolExecutor(workers, context, initializer=_become_worker) as pool:
        waiting: dict[Future, Experiment] = {pool.submit(_run, e, records): e for e in left}
        try:
            while waiting:
                finished, _ = wait(waiting, timeout=POLL, return_when=FIRST_COMPLETED)
                for future in finished:
                    experiment = waiting.pop(future)
                    if error := future.result():
                        failures[experiment] = error
                tick(before + len(left) - len(waiting))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _become_worker() -> None:
    """One thread; and no life of its own: a worker ends when the process that asked for it does."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _run(experiment: Experiment, records: Records) -> Exception | None:
    try:
        run_one(experiment, records)
    except Exception as error:
        return portable(error)


def portable(error: Exception) -> Exception:
    """The error being handled, fit to be sent to another process, with its traceback as a note.

    One that can't be pickled becomes a RuntimeError that says the same.
    """
    note = traceback.format_exc()
    try:
        sent = pickle.loads(pickle.dumps(error))
    except Exception:
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    sent.add_note(note)
    return sent


def _ray(experiments: Sequence[Experiment], records: Records, tick: Tick, address: str) -> Failures:
    if find_spec("ray") is None:
        raise ModuleNotFoundError(
            "executor: Ray is not installed; it is the extra cluster: "
            "pip install -c constraints.txt -e '.[cluster]'"
        )
    from fcilib.ray_executor import on_ray

    return on_ray(experiments, records, tick, address)
