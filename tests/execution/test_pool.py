"""What a worker leaves behind when whoever started it is gone, or ends it."""

import subprocess
import sys
from pathlib import Path

import pytest

# A driver that dies, as a killed kernel does, or ends its only worker while a run is under way.
DRIVER = """\
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
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
    run = pool.submit(_call, cloudpickle.dumps(partial(work, folder)))
    while not (folder / "begun").exists():
        time.sleep(0.01)
    if sys.argv[2] == "dies":
        os._exit(3)
    worker, = multiprocessing.active_children()
    for pause in (0.01, 0.03, 0.1, 0.3):  # as a kernel does that shuts down
        os.kill(worker.pid, signal.SIGTERM)
        time.sleep(pause)
    os._exit(3 if isinstance(run.exception(), BrokenProcessPool) else 4)  # and so it runs again
"""


@pytest.mark.parametrize("driver", ["dies", "terminates"])
@pytest.mark.parametrize("start", ["", "trap '' INT; "], ids=["shell", "background"])
def test_a_worker_tidies_up_before_it_leaves(tmp_path: Path, start: str, driver: str) -> None:
    """Even if the first interruption meets a destructor, in which Python drops it.

    And also where the driver was started by a shell's `&`, and ignores interruptions itself.
    """
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    command = ["bash", "-c", f'{start}exec "$0" "$@"', sys.executable, script, tmp_path]
    command.append(driver)
    # The worker holds standard output too: this ends when both are gone.
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    assert ended.returncode == 3
    assert (tmp_path / "heard").exists()
    assert (tmp_path / "tidied").exists()
