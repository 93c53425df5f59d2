"""What a sweep begins, in which order, when it ends, and that nothing is trained twice or lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fcilib.backbones import PYTHIA_1B
from fcilib.cli import app
from fcilib.ledger import hybrids
from fcilib.ledger import sweep as sweeps
from fcilib.ledger.agreement import STANDARD
from fcilib.ledger.catalogue import catalogue
from fcilib.ledger.estimates import Estimates
from fcilib.ledger.sweep import missing, sweep
from fcilib.ledger.wanted import CONTROLS, OTHERS, Wanted, coverage, wanted
from fcilib.representations import Embedding, Frozen
from fcilib.routers import Investigator
from fcilib.study.profiles import PROFILES
from fcilib.training.experiment import Experiment, Training
from fcilib.training.loop import DivergedError
from fcilib.training.records import Records
from fcilib.training.run import run_one

SMOKE = PROFILES["smoke"]


def run(seed, name="raw", **more):
    training = Training(**{"sequences": 64, "epochs": 2, "held_out": 32, **more})
    parts = {"representation": Embedding(), "router": Investigator(), "training": training}
    experiment = Experiment(task=SMOKE.evidence, width=SMOKE.width, seed=seed, **parts)
    return Wanted(name, "all", "01", experiment)


class Known:
    """Estimates that are what a test says."""

    def __init__(self, times, checkpoints=()):
        self.times, self.checkpoints = times, checkpoints

    def seconds(self, run):
        return self.times[run.experiment.seed]

    def epoch(self, run):
        seconds = self.seconds(run)
        return None if seconds is None else seconds / run.experiment.training.epochs

    def has_checkpoint(self, run):
        return run.experiment.seed in self.checkpoints


def start(runs, monkeypatch):
    monkeypatch.setattr(sweeps, "wanted", lambda sizes: runs)


def estimates(records, profile="smoke"):
    return Estimates(records, Records(records.folder / "none"), PROFILES[profile], "cpu")


def test_what_the_catalogue_declares_and_todays_methods_are_wanted_once_in_order_of_importance():
    runs = wanted(SMOKE)
    deciders = [d for c in catalogue(SMOKE).values() for d in c.under.values()]
    declared = {d for d in deciders if isinstance(d, Experiment)}
    today = [*hybrids.representations(SMOKE), *hybrids.routers()]
    declared |= {hybrids.on_evidence(SMOKE, method) for method in today}
    assert {r.experiment for r in runs} == {
        d.with_seed(n) for d in declared for n in range(STANDARD.seeds)
    }
    assert len({r.experiment.identity for r in runs}) == len(runs)
    seeds = [r.experiment.seed for r in runs]
    assert seeds == sorted(seeds)
    first = [r for r in runs if r.experiment.seed == 0]
    assert [(r.condition, r.protocol) for r in first[:2]] == [("raw", "all"), ("raw", "others")]
    place = {r.condition: n for n, r in enumerate(first)}
    ordered = ["raw", "attention-4", "attention-rank-one", "sparse", "mqar-raw", "causal-2"]
    ordered += ["contrastive-tuned", "plain-far", "semantic-anchors", "closed-loop-1"]
    ordered += ["Mamba-2", "LSH"]
    assert [place[name] for name in ordered] == sorted(place[name] for name in ordered)
    chapters = {r.condition: r.chapter for r in runs}
    assert chapters["raw"] == "01"
    assert chapters["attention-rank-one"] == "07"
    assert chapters["plain-far"] == OTHERS
    assert chapters["closed-loop-1"] == CONTROLS
    assert chapters["LSH"] == "12"


def test_coverage_counts_by_chapter(tmp_path):
    records = Records(tmp_path)
    before = coverage(records, SMOKE)
    assert list(before) == [f"0{n}" for n in (1, 3, 4, 5, 6, 7)] + ["12", CONTROLS, OTHERS]
    assert {have for have, _ in before.values()} == {0}
    first = wanted(SMOKE)[0]
    records.path(first.experiment).touch()
    after = coverage(records, SMOKE)
    assert after == {**before, first.chapter: (1, before[first.chapter][1])}


times = st.lists(st.none() | st.floats(0.1, 100), min_size=1, max_size=8)


@given(times, st.floats(0.1, 100), st.sets(st.integers(0, 7)))
def test_nothing_is_begun_that_can_neither_be_finished_nor_kept(times, left, checkpoints):
    runs = [run(seed) for seed in range(len(times))]
    turn = [r.experiment.seed for r in sweeps._in_turn(runs, Known(times, checkpoints), left)]
    fitting = [n for n, seconds in enumerate(times) if seconds is None or seconds <= left]
    assert turn[: len(fitting)] == fitting  # in order of importance
    rest = turn[len(fitting) :]
    assert all(left < times[n] <= 2 * left for n in rest)  # a run has two epochs
    assert rest == sorted(rest, key=lambda n: (n not in checkpoints, n))
    assert len(set(turn)) == len(turn)


def test_without_a_limit_everything_is_begun_in_order():
    runs = [run(seed) for seed in range(3)]
    assert list(sweeps._in_turn(runs, Known([1e9, None, 1]), None)) == runs


@pytest.mark.parametrize("executor", ["inline", "process:2"])
def test_a_sweep_trains_what_is_missing(tmp_path, monkeypatch, executor):
    runs, records = [run(seed) for seed in range(4)], Records(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    start(runs, monkeypatch)
    run_one(runs[1].experiment, records)
    assert missing(records, SMOKE) == [runs[0], *runs[2:]]
    swept = sweep(records, SMOKE, estimates(records), executor, "cpu", 5)
    assert (swept.left, swept.recorded, swept.failures) == ([], 3, None)
    assert all(records.find(r.experiment) for r in runs)
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_run_that_fails_does_not_stop_the_others(tmp_path, monkeypatch):
    runs, records = [run(0), run(1, learning_rate=1e38), run(2)], Records(tmp_path)
    start(runs, monkeypatch)
    swept = sweep(records, SMOKE, estimates(records), "inline", "cpu")
    assert swept.left == [runs[1]]
    assert isinstance(swept.failures.failures[runs[1].experiment], DivergedError)


def test_what_another_process_has_is_left_to_it(tmp_path, monkeypatch):
    runs, records = [run(seed) for seed in range(3)], Records(tmp_path)
    start(runs, monkeypatch)
    held = []
    for seed, name in enumerate(("lock", "claim")):
        folder = records.workspace(runs[seed].experiment)
        folder.mkdir(parents=True)
        held.append(FileLock(folder / name))
        held[-1].acquire()
    swept = sweep(records, SMOKE, estimates(records), "inline", "cpu")
    assert swept.left == runs[:2]


def test_time_up_keeps_the_checkpoint_and_the_next_sweep_goes_on(tmp_path, monkeypatch):
    long = run(0, sequences=2048, epochs=400)
    records = Records(tmp_path)
    start([long], monkeypatch)
    begun = time.monotonic()
    swept = sweep(records, SMOKE, estimates(records), "inline", "cpu", 5 / 60)
    assert 5 <= time.monotonic() - begun
    assert (swept.left, swept.recorded) == ([long], 0)
    known = estimates(records)
    assert known.has_checkpoint(long)
    assert known.seconds(long) > known.epoch(long) > 0
    names = {path.name for path in records.workspace(long.experiment).iterdir()}
    assert names <= {"checkpoint.safetensors", "lock", "claim"}
    # With time for not even an epoch it is left alone.
    assert list(sweeps._in_turn([long], known, known.epoch(long) / 2)) == []
    assert list(sweeps._in_turn([long], known, 2 * known.epoch(long))) == [long]


def test_a_backbone_whose_weights_are_not_here_is_left_out(tmp_path, monkeypatch):
    asked = []

    def folder(self):
        asked.append(self.name)
        raise sweeps.BackboneError("no weights; fetch them")

    monkeypatch.setattr(type(PYTHIA_1B), "folder", folder)
    frozen = [
        Wanted("f", "", "07", run(n).experiment.model_copy(
            update={"representation": Frozen(backbone=PYTHIA_1B)}
        ))
        for n in range(2)
    ]  # fmt: skip
    records = Records(tmp_path)
    start([*frozen, run(0)], monkeypatch)
    swept = sweep(records, SMOKE, estimates(records), "inline", "cpu", 5)
    assert swept.left == frozen
    assert swept.unavailable == {PYTHIA_1B.name: "no weights; fetch them"}
    assert asked == [PYTHIA_1B.name]


def test_estimates_come_from_the_nearest_runs(tmp_path):
    records, quick = Records(tmp_path / "paper"), Records(tmp_path / "quick")
    paper = PROFILES["paper"]
    runs = {(r.condition, r.protocol, r.experiment.seed): r for r in wanted(paper)}
    raw, flow = runs["raw", "all", 0], runs["flow-1", "all", 0]
    model = run_one(run(0).experiment, Records(tmp_path / "any"))

    def add(store, experiment, seconds, device="cpu: some"):
        parts = {"identity": experiment.identity, "experiment": experiment}
        store.add(model.model_copy(update={**parts, "seconds": seconds, "device": device}))

    def estimate(of, device="cpu"):
        return Estimates(records, quick, paper, device).seconds(of)

    assert estimate(raw) is None
    twin = catalogue(PROFILES["quick"])["raw"].under["others"]
    add(quick, twin, 10.0)
    assert estimate(raw) == pytest.approx(10 * (64 * 128) ** 0.5)
    assert estimate(raw, "cuda") == pytest.approx(estimate(raw) / 20)
    add(records, runs["raw", "others", 2].experiment, 300.0)
    add(records, runs["raw", "all", 1].experiment, 500.0)
    add(records, runs["raw", "all", 2].experiment, 30.0, "cuda: some")
    assert estimate(raw) == 400.0  # another seed, or other candidates
    assert estimate(raw, "cuda:1") == 30.0  # on the same kind of device
    assert estimate(flow) == pytest.approx(2 * 400)  # one layer more


PROGRAM = """\
import sys
from fcilib.ledger import sweep
from fcilib import cli
everything = sweep.wanted
sweep.wanted = lambda sizes: everything(sizes)[:4]
cli.app(["sweep", "--profile", "smoke", "--minutes", "3", "--device", "cpu", *sys.argv[1:]])
"""


def begin(folder, executor):
    command = [sys.executable, "-c", PROGRAM, "--records", str(folder), "--executor", executor]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_records(folder, number, process):
    while len(list(folder.glob("*.json"))) < number and process.poll() is None:
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("executor", "end", "status"),
    [
        ("process:2", signal.SIGKILL, -signal.SIGKILL),
        ("inline", signal.SIGTERM, 130),
    ],
)
def test_a_sweep_that_was_ended_is_gone_on_with(tmp_path, executor, end, status):
    folder = tmp_path / "smoke"
    first = begin(tmp_path, executor)
    wait_for_records(folder, 1, first)
    first.send_signal(end)
    said = first.communicate(timeout=60)[1]
    assert first.returncode == status
    if status == 130:
        assert "finished runs are kept" in said.splitlines()[-1]
    both = [begin(tmp_path, "inline") for _ in range(2)]
    out, err = zip(*(p.communicate(timeout=200) for p in both), strict=True)
    assert [p.returncode for p in both] == [0, 0], err
    assert any("nothing is missing" in text for text in out)
    records = Records(folder)
    assert len(list(records)) == 4  # each is read, and trusted
    assert {r.experiment for r in records} == {r.experiment for r in wanted(SMOKE)[:4]}
    assert list(folder.rglob("*.tmp")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--profile", "large"], "profile: 'large' is none of smoke, quick, paper"),
        (["--minutes", "0"], "--minutes: 0 is not above 0"),
        (["--minutes", "nan"], "--minutes: nan is not above 0"),
        (["--device", "gpu"], "device: 'gpu' is none of auto, cpu, cuda, cuda:N"),
        (["--device", "cuda:99"], "device: torch sees "),
        (
            ["--executor", "process:0"],
            "executor: 'process:0' is none of inline, process, ray, process:N, ray:ADDRESS",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(tmp_path, arguments, said):
    result = CliRunner().invoke(app, ["sweep", "--records", str(tmp_path / "r"), *arguments])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"fci: {said}")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_the_list_trains_nothing(tmp_path):
    result = CliRunner().invoke(
        app, ["sweep", "--list", "--profile", "smoke", "--records", str(tmp_path)]
    )
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert len(lines) == 1 + len(wanted(SMOKE)) + 1
    assert lines[1].split() == ["raw", "all", "0", "01", "unknown"]
    assert f"{len(wanted(SMOKE))} are missing" in lines[-1]
    assert list(Path(tmp_path).rglob("*")) == []
