"""Where runs happen: in this process, in a pool of processes, or on a Ray cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from fcilib.execution.failures import Failures, RunsFailed
from fcilib.execution.pool import in_pool
from fcilib.storage.files import StoreError
from fcilib.system.device import check_device, device_here
from fcilib.system.gpu import places, shared
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records
from fcilib.training.run import run_one
from fcilib.training.state import RunState, tell_run

Tick = Callable[[int], None]
"""Called often while runs are under way, with how many are finished."""

NAMES = ("inline", "process", "ray")


def parse(text: str) -> tuple[str, str]:
    """An executor's name, and what follows its colon, empty where the text has none.

    Args:
        text: `"inline"`, `"process"`, `"process:N"`, `"ray"` or `"ray:ADDRESS"`.

    Raises:
        ValueError: it is none of these.
    """
    name, colon, address = text.partition(":")
    number = name == "process" and address.isdecimal() and int(address) > 0
    if name not in NAMES or (colon and not number and (name != "ray" or not address)):
        raise ValueError(
            f"executor: {text!r} is none of {', '.join(NAMES)}, process:N, ray:ADDRESS"
        )
    if address.startswith("//"):
        raise ValueError(f"executor: {text!r} is an address alone; write 'ray:{text}'")
    return name, address


def execute(
    experiments: Iterable[Experiment],
    records: Records,
    executor: str,
    tick: Tick,
    device: str = "cpu",
) -> None:
    """Run every experiment and write its record. A run that fails does not stop the others.

    Args:
        experiments: what to run, the longest first; or an iterator, which is asked for the next one
            whenever there is room for a run, and may end early.
        records: where the records go.
        executor: `"inline"`, one after another in this process; `"process"`, in processes of one
            thread each, as many at a time as there are cores, and room on the GPU; `"process:N"`,
            N at a time; `"ray"`, on a Ray cluster of this machine or the one `$RAY_ADDRESS` names;
            `"ray:ADDRESS"`, on that cluster.
        tick: called with how many are finished.
        device: where models are trained: `"cpu"`, `"cuda"`, `"cuda:N"`, or `"auto"` for a GPU
            where there is one. It is no part of an experiment; the record says which it was.

    Raises:
        ValueError: there is no such executor or device, or `$FCI_GPUS_PER_RUN` is no number.
        ModuleNotFoundError: it is Ray, which is not installed.
        ConnectionError: no cluster answers at the address.
        RunsFailed: some runs failed; raised once all others are recorded.
        StoreError: the records can't be written; raised at once.
    """
    name, address = parse(executor)
    device = check_device(device) if name == "ray" else device_here(device)
    begun = 0

    def counted(upcoming: Iterator[Experiment]) -> Iterator[Experiment]:
        nonlocal begun
        for experiment in upcoming:
            begun += 1
            yield experiment

    count = None
    if isinstance(experiments, Sequence):
        if not experiments:
            return
        count = len(experiments)
        experiments = sorted(experiments, key=size, reverse=True)
    upcoming = counted(iter(experiments))
    if name == "ray":
        failures = _ray(upcoming, records, tick, address, device)
    elif name == "process":
        most = int(address or min(places(device), count or sys.maxsize))
        with shared(device):
            failures = in_pool(upcoming, records, tick, most, device)
    else:
        failures = _inline(upcoming, records, tick, device)
    if failures:
        raise RunsFailed(failures, begun) from next(iter(failures.values()))


def size(experiment: Experiment) -> int:
    """Work to do, from the description alone: long runs go first, so that no core waits for one."""
    training, depth = experiment.training, experiment.representation.depth
    tokens = training.epochs * training.sequences * experiment.task.length
    return tokens * (1 + depth) * experiment.width


def _inline(
    experiments: Iterator[Experiment], records: Records, tick: Tick, device: str
) -> Failures:
    failures: Failures = {}
    done = 0
    tick(done)
    for experiment in experiments:
        workspace = records.workspace(experiment)

        def tell(state: RunState, workspace: Path = workspace, done: int = done) -> None:
            tell_run(workspace, state)
            tick(done)

        try:
            run_one(experiment, records, tell, device)
        except StoreError:
            raise
        except Exception as error:
            failures[experiment] = error
        done += 1
        tick(done)
    return failures


def _ray(
    experiments: Iterator[Experiment], records: Records, tick: Tick, address: str, device: str
) -> Failures:
    if find_spec("ray") is None:
        raise ModuleNotFoundError(
            "executor: Ray is not installed; it is the extra cluster: "
            "pip install -c constraints.txt -e '.[cluster]'"
        )
    from fcilib.execution.ray_executor import on_ray

    return on_ray(experiments, records, tick, address, device)
