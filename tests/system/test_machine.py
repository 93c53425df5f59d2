"""What a record says of where and with what it was made."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

from fcilib.system.machine import provenance

ROOT = Path(__file__).resolve().parents[2]


def test_versions_are_those_that_are_installed():
    versions = provenance()["versions"]
    for name in ("torch", "numpy", "numba"):
        assert versions[name] == importlib.metadata.version(name)


def test_a_source_tree_that_is_not_installed_makes_records_all_the_same(tmp_path):
    """What is asked at the end of a run must not cost the run."""
    program = (
        "import importlib.metadata as m\n"
        "found = m.distribution\n"
        "def distribution(name):\n"
        "    if name == 'fcilib': raise m.PackageNotFoundError(name)\n"
        "    return found(name)\n"
        "m.distribution = distribution\n"
        "from pathlib import Path\n"
        "from fcilib.representations import Embedding\n"
        "from fcilib.routers import Investigator\n"
        "from fcilib.study.profiles import PROFILES\n"
        "from fcilib.training.experiment import Experiment\n"
        "from fcilib.training.records import Records\n"
        "from fcilib.training.run import run_one\n"
        "sizes = PROFILES['smoke']\n"
        "experiment = Experiment(task=sizes.evidence, width=sizes.width, training=sizes.training,\n"
        "    representation=Embedding(), router=Investigator())\n"
        f"print(run_one(experiment, Records(Path({str(tmp_path)!r}))).versions['fcilib'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "not installed\n"
