"""Where runs happen: in this process, in a pool of processes, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

from fcilib.execution.failures import Failures, RunsFailed
from fcilib.execution.pool import in_pool
from fcilib.storage.files import StoreError
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records
from fcilib.training.run import run_one

Tick = Callable[[int], None]
"""Called often while runs are under way, with how many are finished."""

NAMES = ("inline", "process", "ray")


def parse(text: str) -> tuple[str, str]:
    """An executor's name, and the address of its cluster, empty where the text has none.

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
        tick: called with how many are finished.

    Raises:
        ValueError: there is no such executor, or `$FCI_GPUS_PER_RUN` is no number.
        ModuleNotFoundError: it is Ray, which is not installed.
        ConnectionError: no cluster answers at the address.
        RunsFailed: some runs failed; raised once all others are recorded.
        StoreError: the records can't be written; raised at once.
    """
    name, address = parse(executor)
    if not experiments:
        return
    ordered = sorted(experiments, key=_size, reverse=True)
    if name == "ray":
        failures = _ray(ordered, records, tick, address)
    else:
        failures = {"inline": _inline, "process": in_pool}[name](ordered, records, tick)
    if failures:
        raise RunsFailed(failures, len(experiments)) from next(iter(failures.values()))


def _size(experiment: Experiment) -> int:
    """Work to do, from the description alone: long runs go first, so that no core waits for one."""
    training, depth = experiment.training, experiment.representation.depth
    tokens = training.epochs * training.sequences * experiment.task.length
    return tokens * (1 + depth) * experiment.width


def _inline(experiments: Sequence[Experiment], records: Records, tick: Tick) -> Failures:
    failures: Failures = {}
    for done, experiment in enumerate(experiments):
        tick(done)
        try:
            run_one(experiment, records)
        except StoreError:
            raise
        except Exception as error:
            failures[experiment] = error
    tick(len(experiments))
    return failures


def _ray(experiments: Sequence[Experiment], records: Records, tick: Tick, address: str) -> Failures:
    if find_spec("ray") is None:
        raise ModuleNotFoundError(
            "executor: Ray is not installed; it is the extra cluster: "
            "pip install -c constraints.txt -e '.[cluster]'"
        )
    from fcilib.execution.ray_executor import on_ray

    return on_ray(experiments, records, tick, address)
