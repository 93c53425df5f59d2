"""Runs in processes that are killed, that race each other, and that die in a pool."""

import json
import os
import signal
import subprocess
import sys
import time
import types
from contextlib import contextmanager

import pytest
import torch

from fcilib.execution import executors, pool
from fcilib.execution.failures import RunsFailed, portable
from fcilib.representations import Attention, Embedding
from fcilib.routers import Investigator
from fcilib.study.profiles import PROFILES
from fcilib.training.experiment import Experiment
from fcilib.training.loop import DivergedError
from fcilib.training.records import Records
from fcilib.training.run import run_one

SMOKE = PROFILES["smoke"]


def experiment(seed=0, **training):
    return Experiment(
        task=SMOKE.evidence,
        width=SMOKE.width,
        representation=Attention(),
        router=Investigator(),
        training=SMOKE.training.model_copy(update=training),
        seed=seed,
    )


RUN = """
import sys
from pathlib import Path
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records
from fcilib.training.run import run_one
from fcilib.training import run
trained = []
original = run.train
def train(*a, **k):
    print("training", flush=True)
    return original(*a, **k)
run.train = train
run_one(Experiment.model_validate_json(sys.argv[1]), Records(Path(sys.argv[2])))
"""


def start(spec, folder):
    command = [sys.executable, "-c", RUN, spec.model_dump_json(), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@contextmanager
def of_threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    yield
    torch.set_num_threads(before)


def measured(record):
    return record.metrics, record.curve, record.probes


def test_sigkill_at_several_moments_then_the_same_metrics_and_one_record(tmp_path):
    """Killed again and again, each time a little later after its training began."""
    spec = experiment(sequences=2048, epochs=6)
    whole = Records(tmp_path / "whole")
    with start(spec, whole.folder) as process:
        process.communicate()
    assert process.returncode == 0
    expected = whole.find(spec)

    killed = Records(tmp_path / "killed")
    kills = 0
    for delay in (0.0, 0.11, 0.23, 0.37, 0.53):
        with start(spec, killed.folder) as process:
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        kills += process.returncode == -signal.SIGKILL
        assert len(list(killed.folder.glob("*.json"))) <= 1
    assert kills > 0
    with start(spec, killed.folder) as process:
        process.communicate()
    assert process.returncode == 0
    assert measured(killed.find(spec)) == measured(expected)
    assert [p.name for p in killed.folder.glob("*.json")] == [f"{spec.identity}.json"]
    assert killed.read(killed.path(spec))


def test_two_processes_that_want_the_same_run_train_it_once(tmp_path):
    spec = experiment(sequences=1024)
    processes = [start(spec, tmp_path) for _ in range(2)]
    printed = [p.communicate()[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0]
    assert "".join(printed).count("training") == 1
    assert Records(tmp_path).find(spec)


@pytest.mark.parametrize("executor", ["inline", "process"])
def test_executors_write_every_record_and_tell_how_many(tmp_path, executor):
    records, ticks = Records(tmp_path), []
    specs = [experiment(seed) for seed in range(3)]
    executors.execute(specs, records, executor, ticks.append)
    assert len(records) == 3
    assert ticks == sorted(ticks)
    assert ticks[-1] == 3
    # A worker has one thread; on some processors sums over two differ in the last stored digit.
    threads = torch.get_num_threads() if executor == "inline" else 1
    with of_threads(threads):
        again = run_one(specs[2], Records(tmp_path / "alone"))
    assert measured(again) == measured(records.find(specs[2]))


@pytest.mark.parametrize("text", ["cloud", "", "process:0", "ray:", "Ray", "ray://head:10001"])
def test_an_unknown_executor_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match="executor: "):
        executors.execute([experiment()], Records(tmp_path), text, print)


def test_an_executor_may_carry_the_address_of_its_cluster():
    assert executors.parse("inline") == ("inline", "")
    assert executors.parse("ray") == ("ray", "")
    assert executors.parse("ray:10.0.0.1:6379") == ("ray", "10.0.0.1:6379")
    assert executors.parse("ray:ray://head:10001") == ("ray", "ray://head:10001")


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"the extra cluster: pip install .*\[cluster\]"):
        executors.execute([experiment()], Records(tmp_path), "ray", print)


def die_once(spec, records, device):
    """A worker's task that kills its own process the first time any worker runs it."""
    flag = records.folder / "died"
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    run_one(spec, records)


def die(spec, records, device):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_costs_nothing_but_its_run(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "run_one", die_once)
    records = Records(tmp_path)
    specs = [experiment(seed) for seed in range(3)]
    executors.execute(specs, records, "process", lambda done: None)
    assert (tmp_path / "died").exists()
    assert all(records.find(spec) for spec in specs)


def test_workers_that_die_again_and_again_are_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "run_one", die)
    with pytest.raises(RunsFailed, match="workers died 3 times in a row") as caught:
        executors.execute([experiment()], Records(tmp_path), "process", lambda done: None)
    assert list(caught.value.failures) == [experiment()]


POOL = """
import sys
from pathlib import Path
from fcilib.execution.executors import execute
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records
if __name__ == "__main__":
    spec = Experiment.model_validate_json(sys.argv[1])
    specs = [spec.with_seed(s) for s in range(2)]
    execute(specs, Records(Path(sys.argv[2])), "process", lambda done: None)
"""


def test_workers_end_with_the_process_that_asked_for_them(tmp_path):
    spec = experiment(sequences=8192, epochs=50)
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    command = [sys.executable, str(script), spec.model_dump_json(), str(tmp_path)]
    progress = tmp_path / ".cache" / spec.identity / "progress.json"
    with subprocess.Popen(command) as parent:
        while not progress.exists():
            assert parent.poll() is None
            time.sleep(0.05)
        worker = json.loads(progress.read_text())["process"]
        parent.kill()
    for _ in range(200):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail(f"worker {worker} outlived its parent by ten seconds")


def unbuildable(width=10):
    return experiment().model_copy(update={"representation": Embedding(), "width": width})


@pytest.mark.parametrize("executor", ["inline", "process"])
def test_a_run_that_fails_says_which_and_why_and_the_rest_go_on(tmp_path, executor):
    records, ticks = Records(tmp_path), []
    bad, good = unbuildable(), [experiment(seed) for seed in range(2)]
    with pytest.raises(RunsFailed) as caught:
        executors.execute([good[0], bad, good[1]], records, executor, ticks.append)
    assert str(caught.value).splitlines() == [
        "1 of 3 runs failed; all others are recorded:",
        f"  {bad.canonical()}",
        "    ValueError: heads: 4 does not divide the width 10",
    ]
    assert isinstance(caught.value.__cause__, ValueError)
    assert ticks[-1] == 3
    assert len(records) == 2
    assert all(records.find(spec) for spec in good)


def test_every_run_that_fails_is_named(tmp_path, monkeypatch):
    diverging = experiment(learning_rate=1e30, sequences=512, epochs=8)
    specs = [diverging, unbuildable(10), unbuildable(6)]
    with pytest.raises(RunsFailed, match="3 of 3 runs failed") as caught:
        executors.execute(specs, Records(tmp_path), "inline", lambda done: None)
    assert set(caught.value.failures) == set(specs)
    assert isinstance(caught.value.failures[diverging], DivergedError)
    assert all(spec.canonical() in str(caught.value) for spec in specs)
    left = {p.name for p in tmp_path.glob(".cache/*/*")}
    assert "progress.json" not in left, "a run that failed is still shown as under way"


def test_an_interrupt_stops_everything_at_once(tmp_path, monkeypatch):
    def interrupted(spec, records, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr(executors, "run_one", interrupted)
    with pytest.raises(KeyboardInterrupt):
        executors.execute([experiment()], Records(tmp_path), "inline", lambda done: None)


class AwkwardError(Exception):
    """Can't be made again from its message alone, as unpickling would."""

    def __init__(self, code, reason):
        super().__init__(f"{code}: {reason}")


def raises_awkwardly():
    raise AwkwardError(3, "no luck")


def test_an_error_that_cannot_travel_is_told_all_the_same():
    try:
        raises_awkwardly()
    except AwkwardError as error:
        sent = portable(error)
    assert type(sent) is RuntimeError
    assert str(sent) == "AwkwardError: 3: no luck"
    assert "in raises_awkwardly" in sent.__notes__[0]


ONLY_HERE = """
from typing import Literal
from fcilib.routers import Investigator

class OnlyHere(Investigator):
    kind: Literal["only-here"] = "only-here"
"""


def test_a_run_that_no_worker_can_import_is_named_and_the_rest_go_on(tmp_path, monkeypatch):
    module = types.ModuleType("only_here")
    exec(ONLY_HERE, module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    records, good = Records(tmp_path), [experiment(seed) for seed in range(2)]
    parts = {"task": SMOKE.evidence, "width": SMOKE.width, "training": SMOKE.training}
    bad = Experiment(representation=Embedding(), router=module.OnlyHere(), **parts)
    with pytest.raises(RunsFailed, match="No module named 'only_here'") as caught:
        executors.execute([good[0], bad, good[1]], records, "process", lambda done: None)
    assert list(caught.value.failures) == [bad]
    assert all(records.find(e) for e in good)
