"""What a worker leaves behind when whoever started it is gone."""

import subprocess
import sys
from pathlib import Path

import pytest

# A driver that dies, as a killed kernel does, while a run of its only worker is under way.
DRIVER = """\
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cloudpickle

from fcilib.execution.pool import _become_worker, _call


class Deaf:
    def __del__(self):
        try:
            (Path(sys.argv[1]) / "begun").touch()
            while True:
                time.sleep(0.01)
        finally:
            (Path(sys.argv[1]) / "heard").touch()


def work(folder):
    try:
        Deaf()
        while True:
            time.sleep(0.01)
    finally:
        time.sleep(0.5)
        (folder / "tidied").touch()


if __name__ == "__main__":
    folder, spawn = Path(sys.argv[1]), get_context("spawn")
    theirs, ours = spawn.Pipe(duplex=False)
    pool = ProcessPoolExecutor(1, spawn, _become_worker, (theirs,))
    pool.submit(_call, cloudpickle.dumps(partial(work, folder)))
    while not (folder / "begun").exists():
        time.sleep(0.01)
    os._exit(3)
"""


@pytest.mark.parametrize("start", ["", "trap '' INT; "], ids=["shell", "background"])
def test_a_worker_tidies_up_before_it_follows_its_driver(tmp_path: Path, start: str) -> None:
    """Even if the first interruption meets a destructor, in which Python drops it.

    And also where the driver was started by a shell's `&`, and ignores interruptions itself.
    """
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    command = ["bash", "-c", f'{start}exec "$0" "$@"', sys.executable, script, tmp_path]
    # The worker holds standard output too: this ends when both are gone.
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    assert ended.returncode == 3
    assert (tmp_path / "heard").exists()
    assert (tmp_path / "tidied").exists()
