"""The order of the library's wings, and that no import hides inside a function."""

from __future__ import annotations

import ast
import inspect
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fcilib

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "fcilib"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

OPTIONAL = {
    "IPython.display", "causal_conv1d", "datasets", "huggingface_hub", "mamba_ssm", "mambapy",
    "myst_nb", "pyarrow",
    "transformers",
    # Ours that import one: Ray, jupytext, papermill and beautifulsoup.
    "fcilib.execution.ray_executor", "fcilib.publish.chapters", "fcilib.publish.parameters",
    "fcilib.publish.render",
}  # fmt: skip
"""What a function may import: modules of an optional extra, and ours that import one at once."""


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(LIBRARY, tmp_path / "fcilib", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize(
    ("importer", "imported", "broken"),
    [
        ("tasks/batch.py", "fcilib.training.loop", "A wing imports only"),
        ("tasks/batch.py", "fcilib.tasks.ladder", "No modules import each other"),
    ],
)
def test_a_forbidden_import_is_seen(copy: Path, importer: str, imported: str, broken: str) -> None:
    path = copy / "fcilib" / importer
    path.write_text(path.read_text(encoding="utf-8") + f"\nimport {imported}\n", encoding="utf-8")
    done = lint(copy)
    assert done.returncode == 1, done.stdout
    lines = [line for line in done.stdout.splitlines() if line.endswith(" BROKEN")]
    assert any(line.startswith(broken) for line in lines), done.stdout


def hidden_imports(path: Path) -> list[tuple[int, str]]:
    """Line and name of every module that a function of this file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    inside = {node for function in functions for node in ast.walk(function)}
    return sorted(
        (node.lineno, name)
        for node in inside
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    )


@pytest.mark.parametrize(
    "wing", sorted({p.relative_to(LIBRARY).parts[0] for p in LIBRARY.rglob("*.py")})
)
def test_no_import_hides_inside_a_function(wing: str) -> None:
    files = [LIBRARY / wing] if wing.endswith(".py") else (LIBRARY / wing).rglob("*.py")
    hidden = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in files
        for line, name in hidden_imports(path)
        if name not in OPTIONAL and name.split(".")[0] not in OPTIONAL
    ]
    assert hidden == []


@pytest.mark.parametrize("name", fcilib.__all__)
def test_every_public_name_leads_to_something_described(name: str) -> None:
    assert inspect.getdoc(getattr(fcilib, name))
    assert name in dir(fcilib)


def test_importing_the_library_imports_no_torch_and_the_scan_no_pandas() -> None:
    code = (
        "import sys, fcilib; assert 'torch' not in sys.modules\n"
        "from fcilib.scan import selective_scan; assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
