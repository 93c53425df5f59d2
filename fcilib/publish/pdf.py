"""The rendered book as one PDF, printed by a browser."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from fcilib.publish.building import building
from fcilib.publish.project import WHOLE, BuildFailed, PipelineError, Project
from fcilib.storage.files import write_atomic

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PRINTING = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # Its own clock: formulas and figures are drawn before it prints, however slow the machine.
    *("--virtual-time-budget=120000", "--no-pdf-header-footer", "--generate-pdf-document-outline"),
)


def find_browser() -> str | None:
    """Path of a Chromium or Chrome, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def print_pdf(project: Project, target: Path) -> Path:
    """Print the rendered book, whole, to `target`; needs Chromium or Chrome on the path.

    Raises PipelineError where there are no pages, no browser, or where `target` is something else
    than a PDF, BuildFailed if it prints nothing, StoreError where `target` can't be written.
    """
    page = project.html / "book" / WHOLE
    if not page.is_file():
        raise PipelineError("there are no pages to print: `fci book` makes them")
    browser = find_browser()
    if browser is None:
        raise PipelineError(f"printing needs a browser; looked for {', '.join(BROWSERS)}")
    if target.exists() and not (target.is_file() and target.read_bytes().startswith(b"%PDF")):
        raise PipelineError(f"{target} is there and no PDF; name another file with --out")
    with building(project), tempfile.TemporaryDirectory(prefix="fci-") as folder:
        made = Path(folder) / "book.pdf"
        own = (f"--user-data-dir={folder}/profile", f"--print-to-pdf={made}")
        command = [browser, *PRINTING, *own, page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not made.is_file():
            raise BuildFailed("the book did not print", detail=done.stderr.strip())
        write_atomic(target, made.read_bytes())
    return target
