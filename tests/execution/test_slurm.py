"""The file for Slurm: checked as far as it can be without Slurm."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BATCH = ROOT / "book" / "_static" / "fci-ray.sbatch"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_batch_file_is_sound_bash():
    subprocess.run(["bash", "-n", BATCH], check=True)


def test_the_page_leads_to_the_batch_file_and_calls_it_by_its_name():
    page = (ROOT / "book" / "on-a-cluster.md").read_text(encoding="utf-8")
    assert f"(_static/{BATCH.name})" in page
    called = re.search(r"sbatch .*", page)[0]
    assert called in BATCH.read_text(encoding="utf-8")


@pytest.mark.skipif(find_spec("ray") is None, reason="needs ray: the extra cluster")
def test_ray_knows_the_commands_and_options_that_the_batch_file_uses():
    text = BATCH.read_text(encoding="utf-8")
    assert set(re.findall(r"\bray ([a-z][a-z-]+)", text)) == {"get-auth-token", "symmetric-run"}
    after = text.partition("ray symmetric-run")[2].partition(" -- ")[0]
    known = options("symmetric-run") | options("start")
    assert {"--address", "--min-nodes", "--num-cpus"} == set(re.findall(r"--[a-z-]+", after))
    assert set(re.findall(r"--[a-z-]+", after)) <= known
    assert "--generate" in options("get-auth-token")


def options(command):
    """What Ray's command line says it takes; asked for apart, so that nothing here imports Ray."""
    asked = [sys.executable, "-m", "ray.scripts.scripts", command, "--help"]
    said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"--[a-z-]+", said))
