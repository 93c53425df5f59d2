"""Where things are kept on this machine, and the variables that say otherwise."""

from __future__ import annotations

import os
from pathlib import Path

WEIGHTS_VARIABLE = "FCI_BACKBONES"


def default_records() -> Path:
    """The records folder of the checkout fcilib is installed from, else `records` here."""
    checkout = Path(__file__).resolve().parents[2]
    root = checkout if (checkout / "pyproject.toml").exists() else Path.cwd()
    return root / "records"


def weights_folder() -> Path:
    """Where the weights of our own models lie: `records/backbones`, or `$FCI_BACKBONES`."""
    return Path(os.environ.get(WEIGHTS_VARIABLE) or default_records() / "backbones")


def cache_folder() -> Path:
    """`$FCI_CACHE`, or `~/.cache/fcilib`. It holds nothing that can't be computed again."""
    return Path(os.environ.get("FCI_CACHE") or Path.home() / ".cache" / "fcilib")
