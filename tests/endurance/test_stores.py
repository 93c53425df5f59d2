"""A store that is full, or that is read-only: one sentence, and nothing that is half-written."""

import errno
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from fcilib import cost, retrieval
from fcilib.backbones import ByteLM, cached, pretrained
from fcilib.backbones.byte_lm import Corpus
from fcilib.cli import app
from fcilib.cost import Bench
from fcilib.cost.workloads import Route
from fcilib.execution.executors import execute
from fcilib.representations import Embedding
from fcilib.retrieval import Keywords, Retrieval, hotpotqa
from fcilib.routers import Investigator
from fcilib.storage.files import StoreError, write_atomic
from fcilib.study import Study
from fcilib.study.profiles import PROFILES
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records

SMOKE = PROFILES["smoke"]
SPECS = [
    Experiment(
        task=SMOKE.evidence,
        width=SMOKE.width,
        representation=Embedding(),
        router=Investigator(),
        training=SMOKE.training,
        seed=seed,
    )
    for seed in range(2)
]
BENCH = Bench(workloads={"route": Route(router=Investigator())}, lengths=(8,), rounds=1)
RETRIEVAL = Retrieval(retriever=Keywords(), questions=hotpotqa.STANDIN.digest)


def nothing(*_):
    pass


def fails(number):
    def call(*_, **__):
        raise OSError(number, os.strerror(number))

    return call


# Without a real disk: the system's answers, one by one.

ANSWERS = {
    errno.ENOSPC: "no space left on device",
    errno.EDQUOT: "disk quota exceeded",
    errno.EROFS: "read-only file system",
    errno.EACCES: "permission denied",
    errno.EIO: "input/output error",
}


@pytest.mark.parametrize("number", ANSWERS)
@pytest.mark.parametrize("where", ["tempfile.mkstemp", "os.fsync", "os.replace"])
def test_what_the_system_says_is_one_sentence_and_the_old_content_stays(
    tmp_path, monkeypatch, where, number
):
    path = tmp_path / "record.json"
    write_atomic(path, "old")
    monkeypatch.setattr(f"fcilib.storage.files.{where}", fails(number))
    with pytest.raises(StoreError) as refusal:
        write_atomic(path, "new")
    assert str(refusal.value) == f"{path} can't be written: {ANSWERS[number]}"
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("at", range(5))
def test_a_disk_that_is_full_at_any_moment_of_a_run_leaves_no_half_of_it(tmp_path, monkeypatch, at):
    """Progress, two checkpoints, weights, the record: the write that fails is the first, the
    second, …; after room was made the run goes on.
    """
    whole, records = Records(tmp_path / "whole"), Records(tmp_path / "full")
    execute(SPECS[:1], whole, "inline", nothing)
    written, sync = [], os.fsync

    def full(handle):
        written.append(handle)
        if len(written) > at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr("fcilib.storage.files.os.fsync", full)
        with pytest.raises(StoreError, match=r"can't be written: no space left on device$"):
            execute(SPECS[:1], records, "inline", nothing)
    assert len(written) == at + 1
    assert len(records) == 0
    assert not list(records.folder.rglob("*.tmp"))
    execute(SPECS[:1], records, "inline", nothing)
    found, expected = (store.find(SPECS[0]) for store in (records, whole))
    assert (found.metrics, found.curve) == (expected.metrics, expected.curve)


# With a real one, where this process may mount.


@contextmanager
def mounted(folder, size):
    """A file system of that size in memory; skips where none can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs the command mount")
    if done.returncode:
        pytest.skip(f"needs to mount a file system: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def read_only(folder):
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


@pytest.mark.parametrize("executor", ["inline", "process"])
def test_a_full_disk_is_one_sentence_from_either_executor(tmp_path, executor):
    with mounted(tmp_path / "small", "16k") as folder:
        records = Records(folder / "smoke")
        with pytest.raises(StoreError) as refusal:
            execute(SPECS, records, executor, nothing)
        said = str(refusal.value)
        assert said.startswith(str(folder))
        assert said.endswith(" can't be written: no space left on device")
        assert "\n" not in said
        assert len(records) == 0


@pytest.mark.parametrize("executor", ["inline", "process"])
def test_a_store_that_is_read_only_is_one_sentence_from_either_executor(tmp_path, executor):
    with mounted(tmp_path / "fixed", "1m") as folder:
        records = Records(folder / "smoke")
        execute(SPECS[:1], records, "inline", nothing)
        read_only(folder)
        with pytest.raises(StoreError) as refusal:
            execute(SPECS, records, executor, nothing)
        workspace = records.workspace(SPECS[1])
        assert str(refusal.value) == f"{workspace}/lock can't be written: read-only file system"


def everything(folder):
    """Records of every kind, made or read."""
    execute(SPECS, Records(folder), "inline", nothing)
    retrieval.retrieve(RETRIEVAL, folder / "retrievals", hotpotqa.standin)
    cost.measure_cost(BENCH, folder / "costs")
    cached({}, torch.arange(12).view(3, 4), lambda tokens: tokens.float(), folder / "states")


def test_a_read_only_store_that_holds_all_records_is_read(tmp_path):
    with mounted(tmp_path / "fixed", "4m") as folder:
        everything(folder / "smoke")
        # As from version control, which holds no workspace.
        subprocess.run(["rm", "-r", folder / "smoke" / ".cache"], check=True)
        read_only(folder)
        everything(folder / "smoke")
        study = Study("smoke", (0, 1), "process", Records(folder / "smoke"))
        assert len(study.run({"one": SPECS[0]}).frame) == 2
        for other, missing in (
            (lambda: cost.measure_cost(BENCH.with_seed(1), folder / "smoke" / "costs"), "costs"),
            (
                lambda: retrieval.retrieve(
                    RETRIEVAL.with_seed(1), folder / "smoke" / "retrievals", hotpotqa.standin
                ),
                "retrievals",
            ),
        ):
            with pytest.raises(StoreError, match=f"{missing}.* can't be written: read-only"):
                other()


@pytest.mark.parametrize("size", ["4k", "16k", "36k"])
def test_a_disk_too_small_for_the_weights_of_ours_is_one_sentence(tmp_path, size):
    """For the configuration, for the weights, and for the record of both."""
    pytest.importorskip("transformers", reason="needs transformers, of the extra test")
    text = torch.frombuffer(bytearray(b"one two three four " * 40), dtype=torch.uint8)
    spec = ByteLM(family="transformer", layers=1, width=16, context=32, steps=2)
    with mounted(tmp_path / "small", size) as folder:
        with pytest.raises(StoreError, match=r"can't be written: .*o space left on device"):
            pretrained(spec, folder, Corpus(text, text))
        assert not (folder / spec.identity / "pretraining.json").exists()


CHAPTER = """\
# %% tags=["parameters"]
profile = "smoke"
seeds = 1
executor = "process"
records = ""

# %%
from fcilib.study import Study
from fcilib.representations import Embedding
from fcilib.routers import Investigator

study = Study.from_parameters(globals())
study.run({"one": study.experiment(representation=Embedding(), router=Investigator())})
"""


def project_of(tmp_path):
    """A project of one small chapter."""
    root = tmp_path / "project"
    (root / "chapters").mkdir(parents=True)
    (root / "_toc.yml").touch()
    (root / "chapters" / "01_small.py").write_text(CHAPTER)
    return root


def failed_run(tmp_path, monkeypatch, records):
    """The first line that `fci run` says of a chapter whose records can't be written."""
    monkeypatch.chdir(project_of(tmp_path))
    result = CliRunner().invoke(app, ["run", "01", "--records", str(records)])
    assert result.exit_code == 1
    # On a slow machine, lines that say how far the chapter is come before it.
    first = next(line for line in result.stderr.splitlines() if line.startswith("fci: "))
    cell = "fci: chapter 01_small failed in cell [3] (chapters/01_small.py:8): StoreError: "
    assert first.startswith(f"{cell}{records}/smoke/.cache/")
    return first


def test_fci_run_names_the_cell_and_says_the_sentence(tmp_path, monkeypatch):
    with mounted(tmp_path / "small", "8k") as folder:
        said = failed_run(tmp_path, monkeypatch, folder)
    assert said.endswith(" can't be written: no space left on device")


def test_records_that_are_a_file_are_refused_before_a_chapter_starts(tmp_path, monkeypatch):
    (tmp_path / "taken").touch()
    monkeypatch.chdir(project_of(tmp_path))
    result = CliRunner().invoke(app, ["run", "01", "--records", str(tmp_path / "taken")])
    assert result.exit_code == 2
    assert result.stderr == f"fci: {tmp_path}/taken: is a file; records are kept in a folder\n"


@pytest.mark.parametrize("place", ["whole project", "output"])
def test_what_fci_itself_can_not_write_is_one_line(tmp_path, monkeypatch, place):
    with mounted(tmp_path / "fixed", "64k") as folder:
        root = (folder if place == "whole project" else tmp_path) / "project"
        (root / "chapters").mkdir(parents=True)
        (root / "_toc.yml").touch()
        text = CHAPTER.partition("from fcilib")[0] + "1\n"
        (root / "chapters" / "01_small.py").write_text(text)
        monkeypatch.chdir(root)
        read_only(folder)
        result = CliRunner().invoke(app, ["run", "01", "--output", str(folder / "x.ipynb")])
        monkeypatch.chdir(tmp_path)
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("fci: /")
    assert last.endswith("fixed/x.ipynb can't be written: read-only file system")


def test_a_committed_record_is_read_where_nothing_can_be_written():
    """As an interpreter of its own sees it, which is denied every way to write."""
    path = sorted((Path(__file__).parents[2] / "records" / "quick").glob("*.json"))[0]
    code = (
        "import builtins, os, sys\n"
        "from pathlib import Path\n"
        "from fcilib.training.records import Records\n"
        "from fcilib.training.run import run_one\n"
        "def audit(event, given):\n"
        "    writes = event == 'open' and isinstance(given[2], int) and given[2] & 3\n"
        "    if writes or event in ('os.mkdir', 'os.rename', 'os.remove'):\n"
        "        raise PermissionError(f'{event} {given}')\n"
        "path = Path(sys.argv[1])\n"
        "experiment = Records(path.parent).read(path).experiment\n"
        "sys.addaudithook(audit)\n"
        "print(run_one(experiment, Records(path.parent)).identity)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == path.stem == Records(path.parent).read(path).identity
    assert json.loads(path.read_bytes())["identity"] == path.stem
