"""Chapters as notebooks: there and back, and one changed in JupyterLab."""

import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

from fcilib.publish.project import find_project
from fcilib.publish.source import as_saved

PROJECT = find_project(Path(__file__).parent)
CHAPTERS = PROJECT.chapters()
BIN = Path(sys.executable).parent


@pytest.mark.parametrize("chapter", CHAPTERS, ids=[c.name for c in CHAPTERS])
def test_a_chapter_comes_back_from_a_notebook_byte_for_byte(chapter):
    source = chapter.source.read_text(encoding="utf-8")
    assert as_saved(source) == source, "`make format` puts it in order"


def test_and_through_files_as_the_book_says(tmp_path):
    source = CHAPTERS[-1].source
    for arguments in (
        ["--to", "ipynb", "--output", tmp_path / "mine.ipynb", source],
        ["--to", "py:percent", "--output", tmp_path / "mine.py", tmp_path / "mine.ipynb"],
    ):
        subprocess.run([BIN / "jupytext", "--quiet", *arguments], check=True)
    assert (tmp_path / "mine.py").read_bytes() == source.read_bytes()


@pytest.fixture
def copy(tmp_path):
    """The chapters and the executed ones, away from the repository; records stay there."""
    for folder in ("chapters", "book"):
        (tmp_path / folder).mkdir()
        for path in (PROJECT.root / folder).glob("[0-9]*"):
            shutil.copy2(path, tmp_path / folder)
    shutil.copy(PROJECT.root / "_toc.yml", tmp_path)
    return tmp_path


@contextmanager
def jupyterlab(root):
    """A running JupyterLab: gives what asks it for something, by the path of an address."""
    scratch = {name: str(root / ".jupyter") for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.port=0"]
    command += [f"--ServerApp.root_dir={root}", "--IdentityProvider.token=open"]
    command += ["--allow-root", "--ServerApp.log_level=ERROR"]
    environment = {**os.environ, **scratch, "JUPYTER_CONFIG_DIR": str(root / ".jupyter")}
    with subprocess.Popen(command, cwd=root, env=environment) as server:
        try:
            until = time.monotonic() + 60
            while not (found := list((root / ".jupyter").glob("jpserver-*.json"))):
                assert server.poll() is None
                assert time.monotonic() < until
                time.sleep(0.1)
            address = json.loads(found[0].read_text())["url"]

            def ask(path, put=None):
                request = urllib.request.Request(
                    address + path,
                    headers={"Authorization": "token open"},
                    data=None if put is None else json.dumps(put).encode(),
                    method="GET" if put is None else "PUT",
                )
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.read()

            yield ask
        finally:
            server.terminate()


@pytest.mark.skipif(not find_spec("jupyterlab"), reason="JupyterLab is not installed: `make edit`")
def test_one_cell_changed_in_jupyterlab_is_one_cell_of_the_chapter(copy):
    """What its page asks the server for, when a file is opened as a notebook and saved."""
    path = "chapters/06_escape_routes.py"
    before = (copy / path).read_text(encoding="utf-8")
    times = {p: p.stat().st_mtime_ns for p in (copy / "book").glob("*.ipynb")}
    with jupyterlab(copy) as ask:
        assert b"<title>JupyterLab" in ask("lab")
        model = json.loads(ask(f"api/contents/{path}?type=notebook&content=1"))
        assert model["type"] == "notebook"
        title = model["content"]["cells"][0]
        assert title["cell_type"] == "markdown"
        title["source"] = title["source"].replace("# 6. Escape routes", "# 6. Ways out", 1)
        saved = {key: model[key] for key in ("type", "format", "content")}
        ask(f"api/contents/{path}?type=notebook", put=saved)
    after = (copy / path).read_text(encoding="utf-8")
    changed = [line for line in difflib.ndiff(before.split("\n"), after.split("\n"))
               if line[0] in "+-"]  # fmt: skip
    assert changed == ["- # # 6. Escape routes", "+ # # 6. Ways out"]

    done = subprocess.run(
        [BIN / "fci", "book", "06", "--no-render"], cwd=copy, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"06_escape_routes: .* s -> book/06_escape_routes.ipynb\n", done.stdout)
    touched = [p.stem for p, when in times.items() if p.stat().st_mtime_ns != when]
    assert touched == ["06_escape_routes"]
    pair = [nbformat.read(root / "book" / "06_escape_routes.ipynb", 4).cells
            for root in (PROJECT.root, copy)]  # fmt: skip
    differ = [index for index, (old, new) in enumerate(zip(*pair, strict=True)) if old != new]
    assert differ == [0]
