"""A chapter's source as a notebook, and in the layout that Jupyter would save.

    python -m fcilib.publish.source

puts every chapter in that layout.
"""

from __future__ import annotations

import jupytext
import nbformat

from fcilib.publish.project import Chapter, PipelineError, find_project
from fcilib.storage.files import write_atomic

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}


def read_chapter(chapter: Chapter) -> nbformat.NotebookNode:
    """Read a chapter as a notebook without outputs, its parameter cell kept off the page.

    A byte order mark is none of its text. Raises PipelineError where it is not UTF-8.
    """
    try:
        text = chapter.source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise PipelineError(f"{chapter.source} is not UTF-8; save it in that encoding") from None
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata["kernelspec"] = dict(KERNELSPEC)
    return notebook


def as_saved(source: str) -> str:
    """A chapter's text as Jupyter would save it, had it been opened as a notebook."""
    notebook = jupytext.reads(source, fmt="py:percent")
    stored = nbformat.reads(nbformat.writes(notebook), as_version=4)
    return jupytext.writes(stored, fmt="py:percent")


if __name__ == "__main__":
    for each in find_project().chapters():
        write_atomic(each.source, as_saved(each.source.read_text(encoding="utf-8-sig")))
