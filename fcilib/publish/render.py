"""The pages: Jupyter Book makes HTML of the front pages and the executed chapters."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from sphinx_external_toc.parsing import parse_toc_yaml

from fcilib.publish.building import building
from fcilib.publish.project import BuildFailed, Project
from fcilib.publish.single_page import write_single_page
from fcilib.storage.files import storing

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def render(project: Project, say: Callable[[str], None] = print) -> Path:
    """Render the book as HTML, warnings as errors; return its first page.

    Nothing is executed and nothing is fetched. The pages are built aside and put in place in one
    step once all of them are there, so that a failed build leaves the last good pages and no page
    outlives its source. Raises BuildFailed with the build's own messages, and StoreError.
    """
    with building(project, say), storing(project.html):
        _render(project)
    return project.html / "index.html"


def _render(project: Project) -> None:
    build = project.html.parent
    fresh, old = build / "next", build / "old"
    if old.exists() and not project.html.exists():  # a build was killed between its last two steps
        old.rename(project.html)
    # Not kept from build to build: Sphinx repeats a page's warnings only when it reads it again.
    _remove(fresh, old)
    fresh.mkdir()
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
    pages = [f"{name}.html" for name in parse_toc_yaml(project.root / "_toc.yml")]
    if missing := [page for page in pages if not (made / page).is_file()]:
        raise BuildFailed(
            f"the book did not render: {len(missing)} of its {len(pages)} pages are missing",
            detail="\n".join(missing),
        )
    write_single_page(made)
    if project.html.exists():
        project.html.rename(old)
    made.rename(project.html)
    _remove(fresh, old)


def _remove(*folders: Path) -> None:
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)
