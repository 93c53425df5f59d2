"""Ctrl-C in the middle of training: what ends, what is kept, and that the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from fcilib.representations import Attention
from fcilib.routers import Investigator
from fcilib.study import Study
from fcilib.study.profiles import PROFILES
from fcilib.training.records import Records
from fcilib.training.run import run_one

LONG = {"sequences": 2048, "epochs": 6}

CHAPTER = f"""\
# ---
# jupyter:
#   kernelspec: {{display_name: Python 3, language: python, name: python3}}
# ---

# %% tags=["parameters"]
profile = "smoke"
seeds = 2
executor = "EXECUTOR"
records = "RECORDS"

# %%
from fcilib.study import Study

study = Study.from_parameters(globals())

# %%
from fcilib.representations import Attention
from fcilib.routers import Investigator

training = study.sizes.training.model_copy(update={LONG})
spec = study.experiment(
    representation=Attention(), router=Investigator(), training=training
)
if __name__ == "__main__":
    study.run({{"attention": spec}})
"""

GOOD = b"the last good output"
FCI, PAPERMILL, JUPYTEXT = (
    Path(sys.executable).parent / name for name in ("fci", "papermill", "jupytext")
)


def describe(records):
    study = Study("smoke", (0, 1), "inline", records)
    training = PROFILES["smoke"].training.model_copy(update=LONG)
    return study.experiment(representation=Attention(), router=Investigator(), training=training)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What both runs measure if nothing happens to them."""
    records, before = Records(tmp_path_factory.mktemp("undisturbed")), torch.get_num_threads()
    torch.set_num_threads(1)
    yield [run_one(describe(records).with_seed(seed), records) for seed in (0, 1)]
    torch.set_num_threads(before)


@pytest.fixture
def root(tmp_path):
    for folder in ("chapters", "book", "scratch"):
        (tmp_path / folder).mkdir()
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "book" / "01_small.ipynb").write_bytes(GOOD)
    return tmp_path


def start(root, command, executor):
    """The command, in a session of its own as a terminal's is, with one thread.

    It hears Ctrl-C even if these tests were started by a shell's `&`, and do not.
    """
    text = CHAPTER.replace("EXECUTOR", executor).replace("RECORDS", str(root / "records"))
    (root / "chapters" / "01_small.py").write_text(text)
    scratch = {"TMPDIR": str(root / "scratch"), "JUPYTER_RUNTIME_DIR": str(root / "scratch")}
    return subprocess.Popen(
        [str(part) for part in command], cwd=root, start_new_session=True, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", **scratch},
    )  # fmt: skip


def running(root):
    """Processes that were started below `start`, whatever their parent is now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(root / "scratch"):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def interrupt(root, command, executor, whom):
    """Ctrl-C once an epoch is done: exit status, what was printed, and the seconds it took."""
    with start(root, command, executor) as process:
        while not list(root.rglob("checkpoint.safetensors")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        begin = time.monotonic()
        if whom == "all in the terminal":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=60)
    assert time.monotonic() - begin < 20
    assert running(root) == []
    assert not list(root.rglob("*.tmp"))
    assert not list((root / ".cache").rglob("*.json"))
    assert not list((root / "records").rglob("*.json")), "neither records nor progress"
    assert list(root.rglob("checkpoint.safetensors"))
    assert (root / "book" / "01_small.ipynb").read_bytes() == GOOD
    return process.returncode, *printed


def go_on(root, command, executor, expected):
    with start(root, command, executor) as process:
        printed = process.communicate()
    assert process.returncode == 0, printed
    records = Records(root / "records" / "smoke")
    found = [records.find(describe(records).with_seed(seed)) for seed in (0, 1)]
    for record, whole in zip(found, expected, strict=True):
        assert (record.metrics, record.curve, record.probes) == (
            whole.metrics, whole.curve, whole.probes,
        )  # fmt: skip
    assert not list(root.rglob("checkpoint.safetensors"))


@pytest.mark.parametrize(
    ("executor", "whom"), [("inline", "one"), ("process", "all in the terminal")]
)
def test_fci_ends_with_one_line_and_goes_on(root, undisturbed, executor, whom):
    command = [FCI, "book", "--no-render"]
    status, out, err = interrupt(root, command, executor, whom)
    assert (status, out) == (130, "")
    said = [line for line in err.splitlines() if not line.startswith("01_small: ")]
    assert said == [
        "fci: interrupted; finished runs are kept, and the others up to their last finished epoch: "
        "the same command goes on from there"
    ]
    assert list((root / "scratch").iterdir()) == []
    go_on(root, command, executor, undisturbed)


def test_a_python_program_gets_its_keyboard_interrupt(root):
    command = [sys.executable, "chapters/01_small.py"]
    status, _, err = interrupt(root, command, "process", "one")
    assert status != 0
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert err.count("Traceback") == 1, "workers say nothing"


def test_papermill_alone_leaves_nothing_running(root):
    convert = ["--to", "ipynb", "--output", "in.ipynb", "chapters/01_small.py"]
    with start(root, [JUPYTEXT, *convert], "process") as process:
        process.communicate()
    command = [PAPERMILL, "in.ipynb", "out.ipynb", "--no-progress-bar"]
    status, _, err = interrupt(root, command, "process", "all in the terminal")
    assert status != 0
    assert "Aborted!" in err
