"""The pages: Jupyter Book makes HTML of the front pages and the executed chapters."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from fcilib.publish.project import BuildFailed, Project
from fcilib.publish.single_page import write_single_page
from fcilib.storage.files import storing

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def render(project: Project) -> Path:
    """Render the book as HTML, warnings as errors; return its first page.

    Nothing is executed and nothing is fetched. The pages are built aside and put in place in one
    step, so that a failed build leaves the last good pages and no page outlives its source.
    Raises BuildFailed, with the build's own messages.
    """
    build = project.html.parent
    fresh = build / "next"
    # Not kept from build to build: Sphinx repeats a page's warnings only when it reads it again.
    with storing(fresh):
        _remove(fresh)
        fresh.mkdir(parents=True)
    command = [
        *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()"),
        *("build", str(project.root), "--path-output", str(fresh)),
        *("-W", "-n", "--keep-going", "--quiet"),
    ]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True)
    if done.returncode:
        messages = ANSI.sub("", done.stderr).replace(str(project.root) + os.sep, "")
        raise BuildFailed("the book did not render", detail=messages.strip())
    made = fresh / "_build" / "html"
    write_single_page(made)
    old = build / "old"
    _remove(old)
    if project.html.exists():
        project.html.rename(old)
    made.rename(project.html)
    _remove(old)
    _remove(fresh)
    return project.html / "index.html"


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
