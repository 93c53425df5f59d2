"""The commands of the page *How to re-run, edit and check*, run as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "how-to-run.md").read_text(encoding="utf-8")

BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)

ELSEWHERE = re.compile(
    r"^(make \w+|\.venv/bin/fci (?:bench|audit|sweep --minutes) .*)\n", re.MULTILINE
)
"""Installs and starts a server, measures or trains for minutes, or draws at random: test_edit.py,
test_cli.py, test_audit.py and test_sweep.py have them."""

NAMED = ("book", "chapters", "fcilib", "records", "tests", "_toc.yml", "pyproject.toml")


def blocks(heading):
    """The console blocks below `## heading`, without what is tested elsewhere."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    kept = (ELSEWHERE.sub("", block) for block in BLOCK.findall(section))
    return [block for block in kept if block]


COMMANDS = {
    f"{heading}, {number}": block
    for heading in ("If you re-run", "The ledger", "If you edit", "If you check", "In detail")
    for number, block in enumerate(blocks(heading), start=1)
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository, its environment included; only what commands write to is a copy."""
    root = tmp_path_factory.mktemp("copy")
    for name in NAMED:
        (root / name).symlink_to(ROOT / name)
    (root / ".venv").symlink_to(sys.prefix)
    (root / "book").unlink()
    shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("_build"))
    return root


@pytest.mark.parametrize("block", COMMANDS.values(), ids=COMMANDS.keys())
def test_commands_do_what_they_do_on_the_page(copy, block):
    # Rendering has a test of its own, as long as all of these.
    script = re.sub(r"^(\.venv/bin/fci book .*)$", r"\1 --no-render", block, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout or "papermill" in script


def test_they_leave_what_the_page_says(copy):
    """After the commands above, in their order."""
    runs, book = copy / "_runs", copy / "book"
    for name in ("01_phase_transition", "01", "06_escape_routes", "06"):
        assert (runs / f"{name}.ipynb").stat().st_size > 10_000
    assert (runs / "mine.py").read_bytes() == (
        ROOT / "chapters/01_phase_transition.py"
    ).read_bytes()
    assert list((runs / "records" / "smoke").glob("*.json"))
    name = "01_phase_transition.ipynb"
    assert (book / name).read_bytes() == (ROOT / "book" / name).read_bytes()


def test_every_kind_of_command_is_met():
    text = "".join(COMMANDS.values())
    for command in ("fci status", "fci run", "papermill", "fci claims", "fci book", "jupytext",
                    "pytest", "python -c"):  # fmt: skip
        assert f".venv/bin/{command}" in text
    targets = set(re.findall(r"make (\w+)`|^make (\w+)$", PAGE, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in filter(None, {name for pair in targets for name in pair}):
        assert f"\n{target}: " in makefile
