"""What is kept of an executed notebook: nothing that differs from one run to the next."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import nbformat

from fcilib.publish.source import KERNELSPEC

# What a reader's Jupyter needs to colour the code; the exact Python version would be noise.
LANGUAGE_INFO = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}


def normalise(notebook: nbformat.NotebookNode, root: Path) -> nbformat.NotebookNode:
    """Return the notebook without anything that changes from one run or machine to the next.

    Metadata of the execution goes, cell ids are made from the cells' sources, what came by stderr
    goes (`stderr_of` gives it), pieces of stdout are joined, and the repository's own path is
    written as `.`.
    """
    clean = nbformat.v4.new_notebook()
    volatile = {"papermill", "jupytext", "language_info", "kernelspec", "widgets"}
    clean.metadata = nbformat.from_dict(
        {key: value for key, value in notebook.metadata.items() if key not in volatile}
        | {"kernelspec": dict(KERNELSPEC), "language_info": dict(LANGUAGE_INFO)}
    )
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] += 1
        cell = nbformat.from_dict(cell)
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        tags = cell.metadata.get("tags", [])
        if not tags:
            cell.metadata.pop("tags", None)  # papermill leaves an empty list in every cell
        if {"parameters", "injected-parameters"} & set(tags):
            # Off the page, but there for whoever downloads the notebook.
            cell.metadata["tags"] = sorted({*tags, "remove-cell"})
        if cell.cell_type == "code":
            cell.outputs = [_portable(out, root) for out in join_stdout(cell.outputs)]
        clean.cells.append(cell)
    nbformat.validate(clean)
    return clean


def is_ours(path: Path) -> bool:
    """Whether a file is an executed notebook as `normalise` leaves it."""
    try:
        notebook = json.loads(path.read_bytes())
        executed = any(cell.get("execution_count") for cell in notebook["cells"])
        return executed and notebook["metadata"]["language_info"] == LANGUAGE_INFO
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def join_stdout(
    outputs: Sequence[nbformat.NotebookNode],
) -> list[nbformat.NotebookNode]:
    """Join pieces of stdout between displayed outputs, and leave stderr out.

    A kernel sends its streams by a timer, so where one piece ends is chance. By stderr it speaks of
    its own machine (warnings with paths, caches of fonts, threads), which is no part of a chapter.
    """
    kept = (output for output in outputs if output.get("name") != "stderr")
    joined: list[nbformat.NotebookNode] = []
    for streams, group in groupby(kept, lambda output: output.output_type == "stream"):
        if streams:
            text = "".join(output.text for output in group)
            joined.append(nbformat.v4.new_output("stream", name="stdout", text=text))
        else:
            joined += group
    return joined


def stderr_of(notebook: nbformat.NotebookNode) -> str:
    """What an executed notebook's cells wrote to stderr, in their order."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    return "".join(output.text for output in outputs if output.get("name") == "stderr")


def _portable(output: nbformat.NotebookNode, root: Path) -> nbformat.NotebookNode:
    """Replace the repository's absolute path in an output's texts, but not in a longer name."""
    path = re.compile(rf"{re.escape(str(root))}(?![\w-])")
    if "text" in output:
        output.text = path.sub(".", output.text)
    for mime, data in output.get("data", {}).items():
        if isinstance(data, str) and not mime.startswith("image/png"):
            output.data[mime] = path.sub(".", data)
    return output
