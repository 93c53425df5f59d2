"""A script that starts worker processes: without its guard, one sentence says what to write."""

import os
import subprocess
import sys

import pytest

START = """
from fcilib.representations import Embedding
from fcilib.routers import Investigator
from fcilib.study import Study
from fcilib.training.records import Records

def main():
    study = Study("smoke", (0, 1), "process", Records({records!r}))
    raw = study.experiment(representation=Embedding(), router=Investigator())
    results = study.run({{"raw": raw}})
    print(len(results.records), "runs")

"""


def run(tmp_path, end, *, name="script.py"):
    script = tmp_path / name
    script.write_text(START.format(records=str(tmp_path / "records")) + end, encoding="utf-8")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, script], env=env, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("end", ["main()\n", "if True:\n    main()\n"])
def test_without_the_guard_one_sentence_says_what_to_write(tmp_path, end):
    done = run(tmp_path, end)
    assert done.returncode == 1
    *_, last = done.stderr.strip().splitlines()
    assert last.startswith("RuntimeError: executor: ")
    assert 'if __name__ == "__main__":' in last
    assert "memory" not in done.stderr
    assert done.stderr.count("Traceback") == 1
    assert not list((tmp_path / "records").rglob("*.json"))


@pytest.mark.parametrize("end", ["if __name__ == '__main__':\n    main()\n"])
def test_with_the_guard_it_runs(tmp_path, end):
    done = run(tmp_path, end)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 runs\n"
