"""Runs on a cluster of two nodes, simulated on this machine; one of them is killed."""

import json
import os
import pickle
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest.mock
from importlib.util import find_spec
from pathlib import Path

import nbformat
import psutil
import pytest
import torch
from filelock import FileLock

from fcilib.execution import executors
from fcilib.execution.failures import RunsFailed
from fcilib.execution.progress import VARIABLE, running
from fcilib.publish.chapters import execute_chapter
from fcilib.publish.project import Project
from fcilib.representations import Attention, Embedding
from fcilib.routers import Investigator
from fcilib.study import Study
from fcilib.study.profiles import PROFILES
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records
from fcilib.training.run import run_one

# Ray reads RAY_AUTH_MODE when it is imported, so nothing here imports it before `cluster` does.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs ray: the extra cluster")

SMOKE = PROFILES["smoke"]
STORE = 80 * 2**20
"""Bytes of a node's object store; Ray's least is 75 MiB."""

# A node that is gone is noticed within a second, not half a minute.
NOTICE = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 200,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


def experiment(seed=0, **training):
    return Experiment(
        task=SMOKE.evidence,
        width=SMOKE.width,
        representation=Attention(),
        router=Investigator(),
        training=SMOKE.training.model_copy(update=training),
        seed=seed,
    )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The head, a node of one core. Nothing of it stays, and nobody else can use it."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("RAY_TMPDIR", folder)
        (Path(folder) / "ray").mkdir()
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("FCI_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")
        from ray.cluster_utils import Cluster

        shared = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
        made = Cluster(True, head_node_args={**shared, "_system_config": NOTICE})
        made.shared = shared
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def address(cluster):
    return f"ray:{cluster.address}"


@pytest.fixture
def second(cluster):
    """Another node, for one test."""
    node = cluster.add_node(**cluster.shared)
    yield node
    if node in cluster.worker_nodes:
        cluster.remove_node(node)


def is_on(node, state):
    """Whether the process that reports itself so is the node's."""
    (raylet,) = node.all_processes["raylet"]
    try:
        return psutil.Process(state["process"]).ppid() == raylet.process.pid
    except psutil.NoSuchProcess:
        return False


def reports(records):
    """What runs under way say of themselves, by identity."""
    found = records.folder.glob(".cache/*/progress.json")
    return {path.parent.name: json.loads(path.read_text()) for path in found}


def measured(record):
    return record.metrics, record.curve, record.probes


def alone(spec, folder):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    record = run_one(spec, Records(folder))
    torch.set_num_threads(before)
    return record


def test_a_node_that_is_killed_costs_only_its_unfinished_runs(
    tmp_path, cluster, second, address, capfd
):
    records = Records(tmp_path / "records")
    specs = [experiment(seed, sequences=4096, epochs=6) for seed in range(5)]
    names = {f"seed {spec.seed}": spec for spec in specs}
    ticks, shown, lost, kept, after = [], [], set(), {}, set()

    def tick(done):
        ticks.append(done)
        shown.extend(running(names, records))
        under_way = reports(records)
        if lost:
            after.update(i for i, s in under_way.items() if i not in lost)
            return
        there = {i for i, state in under_way.items() if is_on(second, state)}
        if there and len(records):
            lost.update(there)
            kept.update({p.stem: p.read_bytes() for p in records.folder.glob("*.json")})
            cluster.remove_node(second, allow_graceful=False)

    executors.execute(specs, records, address, tick)
    assert lost
    assert kept
    assert capfd.readouterr().out == "", "a chapter would show it"
    assert all(records.find(spec) for spec in specs)
    assert len(records) == 5
    for identity, content in kept.items():
        assert (records.folder / f"{identity}.json").read_bytes() == content
        assert identity not in after, "was finished, and computed again"
    assert ticks == sorted(ticks)
    assert ticks[-1] == 5
    assert {run.name for run in shown} <= set(names)
    assert any(run.epoch > 1 for run in shown)
    assert not reports(records)
    for spec in specs:
        if spec.identity in lost:
            assert measured(alone(spec, tmp_path / "alone")) == measured(records.find(spec))
    weights = records.workspace(specs[0]) / "weights.safetensors"
    assert weights.stat().st_size > 0


def test_a_worker_that_is_killed_goes_on_from_its_checkpoint(tmp_path, cluster, address, capfd):
    records = Records(tmp_path / "records")
    spec = experiment(sequences=4096, epochs=8)
    steps, seen, killed = 4096 // 32, [], []

    def tick(done):
        for state in reports(records).values():
            if state["process"] not in killed:
                seen.append(state)
                if not killed and state["done"] > 2 * steps:
                    killed.append(state["process"])
                    seen.clear()
                    psutil.Process(state["process"]).kill()

    executors.execute([spec], records, address, tick)
    assert killed
    assert capfd.readouterr() == ("", ""), "a chapter would show it"
    assert seen[0]["done"] > steps, "it began anew"
    assert measured(alone(spec, tmp_path / "alone")) == measured(records.find(spec))


def test_a_node_of_other_numerics_is_found_out(cluster):
    from fcilib.execution.ray_executor import _task

    error = _task._function("0" * 16, pickle.dumps(experiment()), None, "cpu")
    assert isinstance(error, RuntimeError)
    assert "other numerics" in str(error)


def test_a_run_that_fails_says_which_and_why_and_the_rest_go_on(tmp_path, address):
    records = Records(tmp_path)
    bad = experiment().model_copy(update={"representation": Embedding(), "width": 10})
    good = [experiment(seed) for seed in range(2)]
    with pytest.raises(RunsFailed) as caught:
        executors.execute([good[0], bad, good[1]], records, address, lambda done: None)
    assert str(caught.value).splitlines() == [
        "1 of 3 runs failed; all others are recorded:",
        f"  {bad.canonical()}",
        "    ValueError: heads: 4 does not divide the width 10",
    ]
    assert "in build" in caught.value.__cause__.__notes__[0]
    assert all(records.find(spec) for spec in good)
    assert len(records) == 2


def test_a_run_that_another_driver_has_is_left_to_it(tmp_path, address):
    records = Records(tmp_path / "records")
    theirs, ours = experiment(0), experiment(1)
    record = alone(theirs, tmp_path / "alone")
    workspace = records.workspace(theirs)
    workspace.mkdir(parents=True)
    lock = FileLock(workspace / "lock").acquire()

    def tick(done):
        assert theirs.identity not in reports(records)
        if records.find(ours) and not records.find(theirs):
            assert done == 1
            records.add(record)
            lock.lock.release()

    executors.execute([theirs, ours], records, address, tick)
    assert records.find(theirs) == record
    assert not (workspace / "weights.safetensors").exists(), "it was computed all the same"


def test_an_interrupt_stops_everything(tmp_path, address):
    records, workers = Records(tmp_path), []
    spec = experiment(sequences=8192, epochs=50)

    def tick(done):
        if under_way := reports(records):
            workers.extend(state["process"] for state in under_way.values())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        executors.execute([spec], records, address, tick)
    _, alive = psutil.wait_procs([psutil.Process(w) for w in workers if psutil.pid_exists(w)], 20)
    assert not alive
    assert not reports(records)
    with FileLock(records.workspace(spec) / "lock", timeout=0):
        pass


def test_a_study_shows_one_progress_and_computes_nothing_twice(
    tmp_path, monkeypatch, capfd, address
):
    progress = tmp_path / "progress.json"
    monkeypatch.setenv(VARIABLE, str(progress))
    here = Study("smoke", (0, 1), address, Records(tmp_path / "smoke"))
    conditions = {"embedding": here.experiment(representation=Embedding(), router=Investigator())}
    first = here.run(conditions)
    state = json.loads(progress.read_text())
    assert (state["done"], state["total"], state["running"]) == (2, 2, [])
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr("fcilib.study.study.execute", None)
    assert here.run(conditions).frame.equals(first.frame)


CHAPTER = """\
# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% tags=["parameters"]
profile = "smoke"
seeds = 1
executor = "inline"
records = ""

# %%
from typing import Literal
from fcilib.representations import Embedding
from fcilib.routers import Investigator
from fcilib.study import Study

study = Study.from_parameters(globals())

# %%
class Own(Investigator):
    kind: Literal["own-of-a-cell"] = "own-of-a-cell"

    def build(self, size):
        return super().build(size)


raw = study.experiment(representation=Embedding(), router=Own())
print(study.run({"raw": raw}).frame[["condition", "seed"]].to_string())
"""


def test_a_chapter_starts_a_cluster_of_its_own_machine(tmp_path, monkeypatch):
    """And ends it: nothing is left on disk, nor on the pages. Nodes run a cell's own router."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
    monkeypatch.setenv("FCI_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    scratch = Path(tempfile.mkdtemp())  # near the root: the paths of Ray's sockets have a limit
    monkeypatch.setenv("RAY_TMPDIR", str(scratch))
    project = Project(tmp_path)
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "01_small.py").write_text(CHAPTER)
    given = {"executor": "ray", "records": str(tmp_path / "records")}
    execute_chapter(project, project.chapter("01"), tmp_path / "01.ipynb", given)
    cells = nbformat.read(tmp_path / "01.ipynb", as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert [o["text"] for o in outputs if o["name"] == "stderr"] == []
    assert outputs[0]["text"].split() == ["condition", "seed", "0", "raw", "0"]
    (record,) = (tmp_path / "records" / "smoke").glob("*.json")
    assert json.loads(record.read_text())["experiment"]["router"]["kind"] == "own-of-a-cell"
    assert not list(scratch.glob("fci-ray-*"))
    shutil.rmtree(scratch)
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(scratch) in str(p.info)]


@pytest.mark.parametrize(
    ("device", "has", "share", "needs", "room"),
    [
        ("cpu", {"CPU": 64.0}, None, {"num_cpus": 1.0}, 64),
        ("cpu", {"CPU": 64.0, "GPU": 8.0}, None, {"num_cpus": 1.0}, 64),
        ("auto", {"CPU": 64.0}, None, {"num_cpus": 1.0}, 64),
        ("auto", {"CPU": 64.0, "GPU": 8.0}, None, {"num_cpus": 1.0, "num_gpus": 1.0}, 8),
        ("cuda", {"CPU": 64.0, "GPU": 8.0}, None, {"num_cpus": 1.0, "num_gpus": 1.0}, 8),
        ("cuda", {"CPU": 64.0, "GPU": 8.0}, "0.25", {"num_cpus": 1.0, "num_gpus": 0.25}, 32),
        ("cuda", {"CPU": 4.0, "GPU": 8.0}, "0.25", {"num_cpus": 1.0, "num_gpus": 0.25}, 4),
        ("cuda", {"CPU": 64.0, "GPU": 8.0}, "0", {"num_cpus": 1.0}, 64),
        ("cpu", {}, None, {"num_cpus": 1.0}, 1),
    ],
)
def test_a_run_asks_for_a_gpu_exactly_if_it_will_use_one(
    cluster, monkeypatch, tmp_path, device, has, share, needs, room
):
    """A stand-in for a cluster that advertises GPUs; its tasks only say what they were sent."""
    from fcilib.execution import ray_executor

    sent = []

    class Task:
        def options(self, **asked):
            self.asked = asked
            return self

        def remote(self, *arguments):
            sent.append((self.asked, arguments[-1]))
            return object()

    monkeypatch.setattr(ray_executor.ray, "cluster_resources", lambda: has)
    monkeypatch.setattr(ray_executor, "_task", Task())
    monkeypatch.setattr(ray_executor, "_Board", unittest.mock.Mock())
    if share is not None:
        monkeypatch.setenv(ray_executor.VARIABLE, share)
    gpus = ray_executor._gpus(device)
    assert ray_executor._needs(gpus) == (needs, room)
    sweep = ray_executor._Sweep(iter([experiment()]), Records(tmp_path), gpus)
    assert sweep.submit()
    assert sent == [(needs, "cuda" if "num_gpus" in needs else "cpu")]


@pytest.mark.parametrize(
    ("device", "said"), [("cuda", "the Ray cluster has no GPU"), ("cuda:1", "write 'cuda'")]
)
def test_a_gpu_that_ray_can_not_give_is_an_error(tmp_path, cluster, address, device, said):
    with pytest.raises(ValueError, match=f"device: .*{said}"):
        executors.execute([experiment()], Records(tmp_path), address, print, device)


def test_a_share_of_a_gpu_is_a_number(tmp_path, monkeypatch, cluster, address):
    node = cluster.add_node(**{**cluster.shared, "num_gpus": 1})
    monkeypatch.setenv("FCI_GPUS_PER_RUN", "half")
    with pytest.raises(ValueError, match="FCI_GPUS_PER_RUN: 'half' is no number"):
        executors.execute([experiment()], Records(tmp_path), address, print, "auto")
    cluster.remove_node(node)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_that_nobody_answers_at_is_refused_at_once(tmp_path, cluster, scheme):
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(ConnectionError, match=f"no Ray cluster answers at {closed} "):
        executors.execute([experiment()], Records(tmp_path), f"ray:{closed}", print)


AUTO = """
import sys
from ray._private import services
services.find_gcs_addresses = set  # whatever else runs on this machine
from fcilib.execution.ray_executor import _connected
try:
    with _connected(sys.argv[1]):
        print("connected to nothing")
except ConnectionError as error:
    print(error)
"""


@pytest.mark.parametrize("variable", ["", "auto"])
@pytest.mark.parametrize("note", ["127.0.0.1:1", None])
def test_auto_with_a_stale_note_or_none_ends_with_one_sentence(tmp_path, variable, note):
    """Ray itself would try for many minutes to reach what the note says."""
    if note:
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(note)
    env = {**os.environ, "RAY_TMPDIR": str(tmp_path), "RAY_ADDRESS": variable}
    command = [sys.executable, "-c", AUTO, "" if variable else "auto"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("executor: no Ray cluster"), done
    assert done.stdout.count("\n") == 1
