"""How far a run is: what it writes into its own workspace while it is under way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

from fcilib.storage.files import write_atomic

STATE_FILE = "progress.json"


class RunState(TypedDict):
    """How far one run is, as it says itself."""

    done: int
    """Steps."""
    total: int
    precision: float
    """Routing precision on the last training batches; NaN without a router."""
    process: int
    """Its number, on the machine it is on."""


def tell_run(workspace: Path, state: RunState) -> None:
    """Leave word of a run in its workspace."""
    write_atomic(workspace / STATE_FILE, json.dumps(state).encode())


def end_run(workspace: Path) -> None:
    """The run is not under way any more."""
    (workspace / STATE_FILE).unlink(missing_ok=True)
