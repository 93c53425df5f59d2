"""Where things are kept on this machine, and the variables that say otherwise."""

from __future__ import annotations

import os
from pathlib import Path

WEIGHTS_VARIABLE = "FCI_BACKBONES"


def default_records() -> Path:
    """The records folder of the checkout fcilib is installed from, else `records` here."""
    source = Path(__file__).resolve().parents[2]
    root = source if (source / "pyproject.toml").exists() else Path.cwd()
    return root / "records"


def checkout(start: Path | None = None) -> Path | None:
    """The nearest folder that holds a book, upwards from `start` (default: here); None without."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").is_file() and (folder / "chapters").is_dir():
            return folder
    return None


def records_folder(text: str) -> Path:
    """The folder that a chapter's parameter `records` names; "" is the checkout's own.

    A relative path begins at the root of the checkout, since a notebook is executed now in one
    folder of it and now in another. Outside of one it begins here.
    """
    return (checkout() or Path.cwd()) / Path(text).expanduser() if text else default_records()


def weights_folder() -> Path:
    """Where the weights of our own models lie: `records/backbones`, or `$FCI_BACKBONES`."""
    return Path(os.environ.get(WEIGHTS_VARIABLE) or default_records() / "backbones")


def cache_folder() -> Path:
    """`$FCI_CACHE`, or `~/.cache/fcilib`. It holds nothing that can't be computed again."""
    return Path(os.environ.get("FCI_CACHE") or Path.home() / ".cache" / "fcilib")
