"""What is kept of an executed notebook: nothing that differs from one run to the next."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
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

    Metadata of the execution goes, cell ids are made from the cells' sources, pieces of a stream
    are joined, and the repository's own path is written as `.`.
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
            cell.outputs = [_portable(out, root) for out in join_streams(cell.outputs)]
        clean.cells.append(cell)
    nbformat.validate(clean)
    return clean


def join_streams(
    outputs: Sequence[nbformat.NotebookNode],
) -> list[nbformat.NotebookNode]:
    """Join runs of stream outputs: one stdout, then one stderr.

    A kernel sends its two streams by a timer, so where one piece ends and how the two interleave is
    chance; only their order around displayed outputs is the program's.
    """
    joined: list[nbformat.NotebookNode] = []
    for streams, group in groupby(outputs, lambda output: output.output_type == "stream"):
        if not streams:
            joined += group
            continue
        texts: defaultdict[str, str] = defaultdict(str)
        for output in group:
            texts[output.name] += output.text
        for name in sorted(texts, reverse=True):
            joined.append(nbformat.v4.new_output("stream", name=name, text=texts[name]))
    return joined


def _portable(output: nbformat.NotebookNode, root: Path) -> nbformat.NotebookNode:
    """Replace the repository's absolute path in an output's texts."""
    if "text" in output:
        output.text = output.text.replace(str(root), ".")
    for mime, data in output.get("data", {}).items():
        if isinstance(data, str) and not mime.startswith("image/png"):
            output.data[mime] = data.replace(str(root), ".")
    return output
