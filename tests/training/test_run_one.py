"""What a run leaves behind, with a training whose outcome is known."""

import json
import os

import pytest
import torch

from fcilib.representations import Embedding
from fcilib.routers import Investigator
from fcilib.specs.identity import NUMERICS
from fcilib.storage.tensors import unseal_tensors
from fcilib.study.profiles import PROFILES
from fcilib.training import run
from fcilib.training.experiment import Experiment
from fcilib.training.loop import DivergedError, Outcome
from fcilib.training.records import Records
from fcilib.training.run import run_one

SMOKE = PROFILES["smoke"]
SPEC = Experiment(
    task=SMOKE.evidence,
    width=SMOKE.width,
    representation=Embedding(),
    router=Investigator(),
    training=SMOKE.training,
)


def outcome(**changed):
    start = {
        "metrics": {"accuracy": 1 / 3, "precision": 2 / 3},
        "curve": [{"loss": 2 / 7, "precision": 0.25}, {"loss": 1 / 7, "precision": 2 / 3}],
        "probes": {"rank_90": 5, "singular_values": [1 / 3, 0.5], "cosine_gap": 1 / 9},
        "parameters": 123,
        "seconds": 4.26,
        "captured": False,
        "model": torch.nn.Linear(2, 3),
    }
    return Outcome(**{**start, **changed})


class Training:
    """In the place of `train`: keeps what it is given, and the word of it in its folder."""

    def __init__(self, result, reports=()):
        self.result, self.reports, self.calls = result, reports, []
        self.progress, self.epochs = None, 1

    def __call__(self, experiment, checkpoint, report, device):
        self.calls.append((experiment, checkpoint, device))
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        if self.epochs:
            checkpoint.write_bytes(b"half way")
        for state in self.reports:
            report(*state)
        if (progress := checkpoint.parent / "progress.json").exists():
            self.progress = json.loads(progress.read_text())
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def training(monkeypatch):
    it = Training(outcome())
    monkeypatch.setattr(run, "train", it)
    return it


@pytest.fixture
def clock(monkeypatch):
    """Tells the times that are put into it, the last one for ever."""
    times = [1000.0]
    monkeypatch.setattr(run.time, "monotonic", lambda: times.pop(0) if len(times) > 1 else times[0])
    return times


def test_a_record_holds_what_was_measured(training, tmp_path):
    records = Records(tmp_path)
    record = run_one(SPEC, records)
    workspace = tmp_path / ".cache" / SPEC.identity
    assert training.calls == [(SPEC, workspace / "checkpoint.safetensors", "cpu")]
    assert (record.identity, record.numerics) == (SPEC.identity, NUMERICS)
    assert record.experiment == SPEC
    assert record.metrics == {"accuracy": 0.3333333, "precision": 0.6666667}
    assert record.curve == {"loss": [0.2857143, 0.1428571], "precision": [0.25, 0.6666667]}
    assert record.probes == {
        "rank_90": 5,
        "singular_values": [0.3333333, 0.5],
        "cosine_gap": 0.1111111,
    }
    assert (record.parameters, record.seconds) == (123, 4.3)
    assert record.threads == torch.get_num_threads()
    assert record.device.startswith("cpu: ")
    assert record.step is None
    assert records.find(SPEC) == record


def test_the_weights_are_kept_and_the_checkpoint_is_not(training, tmp_path):
    records = Records(tmp_path)
    run_one(SPEC, records)
    workspace = records.workspace(SPEC)
    assert {path.name for path in workspace.iterdir()} == {"lock", "weights.safetensors"}
    kept, _ = unseal_tensors(workspace / "weights.safetensors", "Start again.")
    trained = training.result.model.state_dict()
    assert kept.keys() == trained.keys()
    assert all(torch.equal(kept[name], trained[name]) for name in trained)


def test_what_is_recorded_is_not_trained_again(training, tmp_path):
    first = run_one(SPEC, Records(tmp_path))
    assert run_one(SPEC, Records(tmp_path)) == first
    assert len(training.calls) == 1
    run_one(SPEC.with_seed(1), Records(tmp_path))
    assert [experiment.seed for experiment, *_ in training.calls] == [0, 1]


def test_a_run_without_an_epoch_has_neither_checkpoint_nor_curve(training, tmp_path):
    training.result, training.epochs = outcome(curve=[]), 0
    assert run_one(SPEC, Records(tmp_path)).curve == {}


def test_the_curve_of_one_epoch_has_one_point(training, tmp_path):
    training.result = outcome(curve=[{"loss": 0.5, "precision": 0.25}])
    assert run_one(SPEC, Records(tmp_path)).curve == {"loss": [0.5], "precision": [0.25]}


@pytest.mark.parametrize(("captured", "step"), [(True, "captured"), (False, "eager")])
def test_a_run_on_a_gpu_says_which_and_how(training, monkeypatch, tmp_path, captured, step):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Card of {device}")
    training.result = outcome(captured=captured)
    record = run_one(SPEC, Records(tmp_path), device="cuda:1")
    assert training.calls[0][2] == "cuda:1"
    assert record.device == "cuda: Card of cuda:1"
    assert record.step == step


def test_progress_is_told_no_more_than_twice_a_second(training, clock, tmp_path):
    """The clock is looked at once for each report, and once more for each that is told."""
    training.reports = [(n, 9, n / 10) for n in range(1, 6)]
    clock[:] = [0.5, 0.5, 0.9, 1.0, 1.0, 1.4, 1.5]
    told = []
    run_one(SPEC, Records(tmp_path), told.append)
    assert told == [
        {"done": n, "total": 9, "precision": n / 10, "process": os.getpid()} for n in (1, 3, 5)
    ]
    assert training.progress is None


def test_where_nobody_is_told_the_workspace_says_how_far_a_run_is(training, clock, tmp_path):
    records, training.reports = Records(tmp_path), [(3, 8, 0.5)]
    run_one(SPEC, records)
    assert training.progress == {"done": 3, "total": 8, "precision": 0.5, "process": os.getpid()}
    assert not (records.workspace(SPEC) / "progress.json").exists()


def test_a_run_that_fails_leaves_its_checkpoint_and_no_record(training, clock, tmp_path):
    records = Records(tmp_path)
    training.result, training.reports = DivergedError("loss is nan"), [(1, 2, 0.5)]
    with pytest.raises(DivergedError, match="loss is nan"):
        run_one(SPEC, records)
    workspace = records.workspace(SPEC)
    assert {path.name for path in workspace.iterdir()} == {"lock", "checkpoint.safetensors"}
    assert len(records) == 0


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "progress.json"])
def test_what_an_interruption_cut_off_in_the_writing_is_swept_away(
    training, monkeypatch, tmp_path, name
):
    records = Records(tmp_path)
    workspace = records.workspace(SPEC)

    def interrupted(*_):
        (workspace / f".{name}.abc.tmp").touch()
        raise KeyboardInterrupt

    training.reports = [()]
    monkeypatch.setattr(run, "_reporter", lambda _: interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_one(SPEC, records)
    assert {path.name for path in workspace.iterdir()} == {"lock", "checkpoint.safetensors"}


def test_what_killed_writers_left_is_swept_away(training, tmp_path):
    records = Records(tmp_path)
    workspace = records.workspace(SPEC)
    workspace.mkdir(parents=True)
    names = ("checkpoint.safetensors", "weights.safetensors", "progress.json")
    left = [workspace / f".{name}.abc.tmp" for name in names]
    left.append(tmp_path / f".{SPEC.identity}.json.abc.tmp")
    for path in left:
        path.touch()
    run_one(SPEC, records)
    assert not any(path.exists() for path in left)


def test_freed_memory_is_kept_where_something_is_trained_and_nowhere_else(
    training, monkeypatch, tmp_path
):
    kept = []
    monkeypatch.setattr(run, "keep_freed_memory", lambda: kept.append(len(training.calls)))
    for _ in range(2):
        run_one(SPEC, Records(tmp_path))
    assert kept == [0]
