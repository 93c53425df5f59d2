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


def run(tmp_path, end, *, stdin=False):
    script = tmp_path / "script.py"
    text = START.format(records=str(tmp_path / "records")) + end
    script.write_text(text, encoding="utf-8")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-" if stdin else script]
    text = text if stdin else ""
    return subprocess.run(command, env=env, input=text, capture_output=True, text=True, timeout=300)


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


def test_a_script_that_is_no_file_is_told_to_become_one(tmp_path):
    done = run(tmp_path, "if __name__ == '__main__':\n    main()\n", stdin=True)
    assert done.returncode == 1
    *_, last = done.stderr.strip().splitlines()
    assert last.startswith("RuntimeError: executor: <stdin> is no file")
    assert done.stderr.count("Traceback") == 1


@pytest.mark.parametrize("end", ["if __name__ == '__main__':\n    main()\n"])
def test_with_the_guard_it_runs(tmp_path, end):
    done = run(tmp_path, end)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 runs\n"
