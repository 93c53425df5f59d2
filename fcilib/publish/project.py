"""The repository: its chapters, its folders, and the errors that a reader can act on.

Nothing here knows a chapter by name: chapters are what lies in `chapters/`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fcilib.storage.places import checkout

WHOLE = "whole.html"
"""The page that holds the whole book, beside the pages of the chapters."""

CHAPTER_FILE = re.compile(r"\d\d_\w+\.py", re.ASCII)


class PipelineError(Exception):
    """Something a reader can act on; the message is one clear line."""


class BuildFailed(PipelineError):
    """A chapter, the pages or the PDF failed; `detail` is their own message, on several lines."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


@dataclass(frozen=True)
class Chapter:
    """One jupytext source under `chapters/`."""

    name: str
    source: Path


@dataclass(frozen=True)
class Project:
    """Where things are, from the repository root."""

    root: Path

    @property
    def book(self) -> Path:
        """What readers see: front pages and executed chapters."""
        return self.root / "book"

    @property
    def html(self) -> Path:
        """The rendered pages."""
        return self.book / "_build" / "html"

    @property
    def scratch(self) -> Path:
        """Runs that are nobody's but the caller's; never tracked."""
        return self.root / "_runs"

    @property
    def progress(self) -> Path:
        """One file per chapter being executed right now."""
        return self.root / ".cache" / "progress"

    def notebook(self, chapter: Chapter) -> Path:
        """The executed chapter, as readers see it."""
        return self.book / f"{chapter.name}.ipynb"

    def chapters(self) -> list[Chapter]:
        """All chapters, in reading order: every numbered file in `chapters/`.

        Raises PipelineError where a number is followed by what no chapter's name may hold.
        """
        files = sorted((self.root / "chapters").glob("[0-9]*.[pP][yY]"))
        for path in files:
            if not CHAPTER_FILE.fullmatch(path.name):
                raise PipelineError(
                    f"chapters/{path.name}: a chapter's name is two digits, _, and letters without "
                    "accents, digits or _, as in 01_phase_transition.py; rename the file"
                )
        return [Chapter(path.stem, path) for path in files]

    def chapter(self, text: str) -> Chapter:
        """Find a chapter by number (`01` or `1`), name (`01_x`) or path (`chapters/01_x.py`).

        Raises PipelineError where nothing, or more than one chapter, answers to `text`.
        """
        chapters = self.chapters()
        wanted = Path(text).stem if text.endswith((".py", ".ipynb")) else text
        number = f"{int(wanted):02d}" if wanted.isdecimal() else wanted
        found = [c for c in chapters if wanted == c.name or number == c.name[:2]]
        if Path(text).name != text:  # of another file that has a chapter's name, this is no chapter
            paths = {(folder / text).resolve() for folder in (Path.cwd(), self.root)}
            found = [c for c in found if paths & {c.source.resolve(), self.notebook(c).resolve()}]
        if len(found) == 1:
            return found[0]
        known = ", ".join(c.name for c in chapters) or "none yet"
        problem = "names several chapters" if found else "is not a chapter"
        raise PipelineError(f"{text!r} {problem}; there are: {known}")

    def select(self, names: Sequence[str]) -> list[Chapter]:
        """The chapters of that name, or all where none is named; reading order, each once.

        Raises PipelineError for an unknown name.
        """
        if not names:
            return self.chapters()
        wanted = {self.chapter(name) for name in names}
        return [chapter for chapter in self.chapters() if chapter in wanted]


def find_project(start: Path | None = None) -> Project:
    """Find the repository: upwards from `start` (default: here), else where fcilib lies.

    Raises PipelineError where neither has a `_toc.yml` beside a `chapters/`.
    """
    here = (start or Path.cwd()).resolve()
    root = checkout(here) or checkout(Path(__file__).parent)
    if root is None:
        raise PipelineError(f"no book here: {here} is in no folder with a _toc.yml and a chapters/")
    return Project(root)


def relative(path: Path, root: Path) -> str:
    """The path from `root` where it lies below it, else the path itself."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
