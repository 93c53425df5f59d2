"""Runs on a Ray cluster: computed on its nodes, shown and recorded here.

A node needs fcilib, of the same numerics, and nothing else that is here: it is sent a run's
description and sends back its record and its weights. While it computes, checkpoints lie in its own
cache folder, `fcilib.storage.places.cache_folder`.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import socket
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import cloudpickle
import torch
from filelock import FileLock, Timeout

from fcilib.execution.failures import Failures, portable
from fcilib.execution.pool import POLL
from fcilib.storage.files import storing, write_atomic
from fcilib.storage.places import cache_folder
from fcilib.system.machine import cores
from fcilib.system.network import ANSWER_SECONDS, within
from fcilib.training.experiment import Experiment
from fcilib.training.records import Record, Records
from fcilib.training.run import run_one
from fcilib.training.state import RunState, end_run, tell_run

# In a kernel, Ray and the bar it imports say that they miss ipywidgets, which nothing here uses.
logging.getLogger("ray.widgets").setLevel(logging.WARNING)
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "IProgress not found")
    import ray

RETRIES = 3
"""Times that a run is tried again after its worker, or its node, died."""

AHEAD = 2
"""Runs handed to the cluster for each it has room for: no node waits for the driver."""

VARIABLE = "FCI_GPUS_PER_RUN"
"""GPUs that a run asks for if it uses one; 1 if not set, 0 to use none, 0.25 to share one."""


def on_ray(
    experiments: Iterator[Experiment],
    records: Records,
    tick: Callable[[int], None],
    address: str,
    device: str,
) -> Failures:
    """Run every experiment on a cluster and write its record here; gives those that failed.

    Args:
        experiments: what to run, in this order as far as there is room.
        records: where the records go.
        tick: called with how many are finished.
        address: the cluster's, as `ray.init` takes it; empty for `$RAY_ADDRESS`, or else a cluster
            of this machine, which ends with the runs.
        device: `cpu`, `cuda`, or `auto` for GPUs where the cluster has any. Which of a node's GPUs
            a run gets is for Ray to choose.

    Raises:
        ValueError: `$FCI_GPUS_PER_RUN` is no number; or the device is a GPU of a certain number, or
            any GPU on a cluster that has none.
        ConnectionError: no cluster answers at that address.
        StoreError: the records can't be written here; whatever is not finished is given up.
    """
    with _connected(address):
        sweep = _Sweep(experiments, records, _gpus(device))
        try:
            while sweep.submit():
                sweep.collect()
                sweep.show()
                tick(sweep.done)
            tick(sweep.done)
        finally:
            sweep.stop()
    return sweep.failures


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """A connection; one that the caller has opened is used, and left open."""
    if ray.is_initialized() and not address:
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS", "")
    _reach(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    with ExitStack() as closing:
        # Nothing else keeps Ray from printing, into a chapter's output, that a worker died.
        closing.callback(setattr, ray._private.worker, "_worker_logs_enabled", True)
        ray._private.worker._worker_logs_enabled = False
        if address:
            ray.init(address, **quiet)
        else:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            short = os.environ.get("RAY_TMPDIR", "/tmp")  # the paths of sockets have a limit
            folder = tempfile.TemporaryDirectory("", "fci-ray-", short, ignore_cleanup_errors=True)
            own: dict[str, Any] = {"num_cpus": cores(), "include_dashboard": False}
            own["_temp_dir"] = closing.enter_context(folder)
            ray.init("local", **own, **quiet)
        closing.callback(ray.shutdown)
        yield


def _reach(address: str) -> None:
    """Knock where the address leads to a port: Ray itself would try for many minutes.

    "auto" is the cluster that Ray has a note of on this machine; the note may be all that is left.
    """
    if address == "auto":
        try:
            address = ray._private.services.canonicalize_bootstrap_address(address) or ""
        except ConnectionError:
            raise ConnectionError(
                "executor: no Ray cluster runs on this machine; start one (ray start --head), "
                "or write its address"
            ) from None
    scheme, _, place = address.rpartition("://")
    host, _, port = place.rpartition(":")
    if not port.isdigit():
        if scheme in ("", "ray") and address not in ("", "local"):
            example = "ray://HOST:10001" if scheme else "HOST:6379"
            raise ConnectionError(
                f"executor: a Ray cluster's address ends in a port, as {example} does; "
                f"{address!r} has none"
            )
        return
    fault = within(ANSWER_SECONDS, lambda: _knock(host.strip("[]"), int(port)))
    if fault:
        raise ConnectionError(f"executor: no Ray cluster answers at {address} ({fault})")


HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a client opens HTTP/2, which Ray's servers speak: the preface and empty settings."""


def _knock(host: str, port: int) -> None:
    """Return if a server of HTTP/2 listens there; it answers a greeting with its settings.

    Raises:
        OSError: nothing listens there, or something else does.
    """
    with socket.create_connection((host, port), ANSWER_SECONDS) as connection:
        if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
            return  # the greeting would have to be encrypted
        connection.settimeout(ANSWER_SECONDS)
        connection.sendall(HTTP2_GREETING)
        answer = b""
        while len(answer) < 4:
            piece = connection.recv(64)
            if not piece:
                break
            answer += piece
    if answer[3:4] != b"\x04":  # the type of a frame, behind the three bytes of its length
        raise NotRayError("something that is not Ray listens there")


class NotRayError(OSError):
    """A server that does not speak as Ray's do."""


class _Sweep:
    """Runs that wait here, and runs that are with the cluster."""

    def __init__(self, experiments: Iterator[Experiment], records: Records, gpus: float) -> None:
        self.records, self.gpus = records, gpus
        self.upcoming = experiments
        self.elsewhere: list[Experiment] = []
        """Runs that another driver has."""
        self.done = 0
        self.away: dict[ray.ObjectRef, tuple[Experiment, FileLock]] = {}
        self.failures: Failures = {}
        self.board = _Board.remote()  # type: ignore[attr-defined]
        self.news = self.board.read.remote()

    def submit(self) -> bool:
        """Hand over as many runs as there is room for, but none that another driver has.

        Returns whether anything is left to do.
        """
        needs, room = _needs(self.gpus)
        again, self.elsewhere = deque(self.elsewhere), []
        while len(self.away) < AHEAD * room:
            experiment = again.popleft() if again else next(self.upcoming, None)
            if experiment is None:
                break
            lock = self._locked(experiment)
            if lock is None:
                self.elsewhere.append(experiment)
            elif self.records.path(experiment).exists():
                lock.release()
                self.done += 1
            else:
                # By value, if need be: a node can't import a router that a notebook's cell defines.
                description = experiment.identity, cloudpickle.dumps(experiment)
                device = "cuda" if self.gpus else "cpu"
                task = _task.options(**needs).remote(*description, self.board, device)
                self.away[task] = experiment, lock
        self.elsewhere += again
        return bool(self.away or self.elsewhere)

    def _locked(self, experiment: Experiment) -> FileLock | None:
        """The lock that `run_one` takes here; None where another process holds it."""
        workspace = self.records.workspace(experiment)
        with storing(workspace):
            workspace.mkdir(parents=True, exist_ok=True)
            try:
                return FileLock(workspace / "lock").acquire(timeout=0).lock
            except Timeout:
                return None

    def collect(self) -> None:
        """Wait a little, and record what has come back."""
        if not self.away:
            time.sleep(POLL)
            return
        tasks = list(self.away)
        finished, _ = ray.wait(tasks, num_returns=len(tasks), timeout=POLL)
        for task in finished:
            experiment, lock = self.away.pop(task)
            try:
                answer = ray.get(task)
                if isinstance(answer, Exception):
                    self.failures[experiment] = answer
                else:
                    self._record(experiment, answer)
            except ray.exceptions.RayError as error:
                self.failures[experiment] = error
            finally:
                end_run(self.records.workspace(experiment))
                lock.release()
                self.done += 1

    def _record(self, experiment: Experiment, answer: dict[str, bytes]) -> None:
        weights = self.records.workspace(experiment) / "weights.safetensors"
        write_atomic(weights, answer["weights"])
        self.records.add(Record.model_validate_json(answer["record"]))

    def show(self) -> None:
        """Put what the nodes say of their runs where a run of this machine would have."""
        if not ray.wait([self.news], timeout=0)[0]:
            return
        try:
            said = ray.get(self.news)
        except ray.exceptions.RayError:  # its node died; it is started again
            said = {}
        for experiment, _ in self.away.values():
            if state := said.get(experiment.identity):
                tell_run(self.records.workspace(experiment), state)
        self.news = self.board.read.remote()

    def stop(self) -> None:
        """Give up whatever is not finished."""
        for experiment, lock in self.away.values():
            end_run(self.records.workspace(experiment))
            lock.release()
        for task in self.away:
            ray.cancel(task, force=True)
        ray.kill(self.board)


def _gpus(device: str) -> float:
    """How much of a GPU each run asks for: nothing where it will not use one."""
    if ":" in device:
        raise ValueError(f"device: Ray chooses among GPUs, so write 'cuda', not {device!r}")
    if device == "cpu" or not (share := _gpus_per_run()):
        return 0.0
    if ray.cluster_resources().get("GPU"):
        return share
    if device == "cuda":
        raise ValueError("device: the Ray cluster has no GPU; use --device cpu, or auto")
    return 0.0


def _needs(gpus: float) -> tuple[dict[str, float], int]:
    """What a run asks for, and how many such runs the cluster has room for: at least one."""
    has = ray.cluster_resources()
    needs = {"num_cpus": 1.0}
    room = has.get("CPU", 0.0)
    if gpus:
        needs["num_gpus"] = gpus
        room = min(room, has.get("GPU", 0.0) / gpus)
    return needs, max(1, int(room))


def _gpus_per_run() -> float:
    text = os.environ.get(VARIABLE, "1")
    try:
        share = float(text)
    except ValueError:
        raise ValueError(f"{VARIABLE}: {text!r} is no number") from None
    if not (0 <= share <= 1 or (share > 1 and share.is_integer())):
        raise ValueError(f"{VARIABLE}: {text!r} is neither a share of a GPU nor a number of them")
    return share


@ray.remote(num_cpus=0, max_restarts=-1)
class _Board:
    """Where nodes say how far their runs are."""

    def __init__(self) -> None:
        self.states: dict[str, RunState] = {}

    def tell(self, identity: str, state: RunState) -> None:
        self.states[identity] = state

    def read(self) -> dict[str, RunState]:
        """What was said since the last time."""
        states, self.states = self.states, {}
        return states


@ray.remote(max_retries=RETRIES)
def _task(
    identity: str, description: bytes, board: Any, device: str
) -> dict[str, bytes] | Exception:
    """One run, on a node: its record and its weights, or why it failed."""
    torch.set_num_threads(1)
    try:
        experiment = pickle.loads(description)
        if experiment.identity != identity:
            raise RuntimeError("the node has an fcilib of other numerics than the driver's")
        here = Records(cache_folder() / "runs")

        def tell(state: RunState) -> None:
            board.tell.remote(identity, state)

        record = run_one(experiment, here, tell, device)
        workspace = here.workspace(experiment)
        weights = (workspace / "weights.safetensors").read_bytes()
        here.path(experiment).unlink(missing_ok=True)
        shutil.rmtree(workspace, ignore_errors=True)
        return {"record": record.model_dump_json().encode(), "weights": weights}
    except Exception as error:
        return portable(error)
