"""The house: which wing may import which, and where an import may stand."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
WINGS = CONTRACTS[0]["layers"]  # the top one first


def lint(folder):
    """`lint-imports` on the library in a folder: its exit status and what it prints."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout


@pytest.fixture
def copy(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "fcilib", tmp_path / "fcilib", ignore=shutil.ignore_patterns("__pyc*"))
    return tmp_path


def test_every_wing_stands_in_the_order():
    here = {p.stem for p in (ROOT / "fcilib").iterdir() if p.suffix == ".py" or p.is_dir()}
    assert set(WINGS) == here - {"__init__", "__pycache__"}


def test_the_house_holds(copy):
    assert lint(copy)[0] == 0


@pytest.mark.parametrize(
    ("room", "line", "broken"),
    [
        ("specs/size.py", "import fcilib.ledger.claims", "A wing imports only"),
        ("layers/mamba.py", "from fcilib.model.fci import FCI", "A wing imports only"),
        ("storage/places.py", "from fcilib.storage import files, checkpoint", None),
        ("storage/files.py", "from fcilib.storage import checkpoint", "in a circle"),
    ],
)
def test_a_forbidden_import_breaks_a_contract(copy, room, line, broken):
    path = copy / "fcilib" / room
    future = "from __future__ import annotations\n"
    path.write_text(path.read_text().replace(future, f"{future}\n{line}\n", 1))
    status, printed = lint(copy)
    assert (status != 0) == (broken is not None)
    assert broken is None or any(broken in row and "BROKEN" in row for row in printed.splitlines())


def inner_imports(tree):
    """The modules that functions of a file import."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.ImportFrom):
                    yield node.module
                elif isinstance(node, ast.Import):
                    yield from (name.name for name in node.names)


OPTIONAL = {"fcilib.execution.ray_executor", "fcilib.publish"}
"""Rooms that stand on an extra, which need not be installed: they are imported where they serve."""


@pytest.mark.parametrize("path", sorted((ROOT / "fcilib").rglob("*.py")), ids=lambda p: p.name)
def test_no_function_imports_the_library_but_for_an_extra(path):
    hidden = {m for m in inner_imports(ast.parse(path.read_text())) if m.startswith("fcilib")}
    assert not {m for m in hidden if not any(m == o or m.startswith(o + ".") for o in OPTIONAL)}
