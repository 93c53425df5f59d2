"""A hundred SIGKILLs at random moments of a sweep: no record is lost, duplicate or damaged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fcilib.training.records import Records

KILLS, SEED = 100, 2603

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="needs Linux: what was hit is read from /proc"
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of a sweep that was killed, beside one that was not, and what was done to it."""
    folder = tmp_path_factory.mktemp("kills")
    command = [Path(__file__).with_name("sweeps.py"), folder, KILLS, SEED]
    process = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,  # a sweep that hangs is a failure, not a wait for ever
    )
    assert process.returncode == 0, process.stderr
    return folder, json.loads(process.stdout)


def test_every_kill_hit_a_living_process_and_all_kinds_of_moments(done):
    """Each victim was stopped, and seen to have stopped, before it was killed."""
    _, told = done
    assert told["kills"] == told["driver"] + told["worker"] == KILLS
    assert told["elsewhere"] + told["training"] + told["writing"] == KILLS
    for what in ("driver", "worker", "training", "writing", "leftovers"):
        assert told[what] > 0, f"no kill hit: {what}"


def test_every_record_is_there_once_whole_and_as_that_of_an_undisturbed_sweep(done):
    folder, told = done
    whole, killed = ({r.identity: r for r in Records(folder / n)} for n in ("whole", "killed"))
    assert len(whole) == told["runs"]
    assert killed.keys() == whole.keys()
    for identity, record in killed.items():
        expected = whole[identity]
        assert record.experiment == expected.experiment
        assert record.metrics == expected.metrics
        assert record.curve == expected.curve
        assert record.probes == expected.probes


def test_nothing_else_is_left(done):
    """Half-written files of the killed were there, and are swept up by whoever went on."""
    folder, _ = done
    names = {path.name for path in (folder / "killed").iterdir()}
    identities = {path.stem for path in (folder / "whole").glob("*.json")}
    assert names == {".cache", *(f"{identity}.json" for identity in identities)}
    workspaces = folder / "killed" / ".cache"
    assert {path.name for path in workspaces.iterdir()} == identities
    # A run that was killed right after its record was written leaves its last checkpoint.
    known = {"lock", "weights.safetensors", "checkpoint.safetensors", "progress.json"}
    assert {path.name for path in workspaces.glob("*/*")} <= known
