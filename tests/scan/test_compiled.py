"""The loops' machine code: kept on disk, made anew when it is stale; no disk is needed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fcilib.scan

PACKAGE = Path(fcilib.scan.__file__).parent
COMMAND = """
import os, torch
from fcilib.scan.cpu.tensors import add_up
parts = torch.arange(210.0).view(3, 70)
total = torch.full((71,), -1.0)
add_up(parts.data_ptr(), 3, parts.stride(0), 70, total.data_ptr())
assert torch.equal(total[:70], parts.sum(0)) and total[70] == -1  # no byte beyond the end
print(sum(add_up.stats.cache_hits.values()), sum(add_up.stats.cache_misses.values()))
"""


def hits_and_misses(library, **environment):
    """Of numba's cache in a fresh process, in which the sum is checked."""
    return subprocess.run(
        [sys.executable, "-c", COMMAND],
        env=os.environ | {"PYTHONPATH": str(library)} | environment,
        cwd=library,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()


def test_machine_code_is_found_again_until_the_lanes_change(tmp_path):
    """numba itself would look for changes in the file of the loop alone."""
    copy = tmp_path / "fcilib"
    shutil.copytree(PACKAGE, copy / "scan", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "__init__.py").touch()
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert hits_and_misses(tmp_path, **cache) == ["0", "1"]
    assert hits_and_misses(tmp_path, **cache) == ["1", "0"]
    with (copy / "scan" / "cpu" / "lanes.py").open("a") as lanes:
        lanes.write("# changed\n")
    assert hits_and_misses(tmp_path, **cache) == ["0", "1"]


def test_nothing_needs_to_be_writable(tmp_path):
    (tmp_path / "file").touch()
    only_there = {
        "NUMBA_CACHE_DIR": str(tmp_path / "file" / "below"),
        "NUMBA_CACHE_LOCATOR_CLASSES": "_UserProvidedCacheLocator",
    }
    assert hits_and_misses(PACKAGE.parents[1], **only_there) == ["0", "1"]
