"""Live display of the runs a chapter is computing, seen from outside its kernel.

The kernel rewrites one small file (`FCI_PROGRESS`) atomically: the JSON of a `State`. The thread
here turns it into bars on a terminal, or into a plain line now and then where there is no terminal
(CI logs, a file).
"""

from __future__ import annotations

import math
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from fcilib.execution.progress import State, describe

POLL_SECONDS = 0.5
LINE_SECONDS = 15.0


def read_progress(path: Path) -> State | None:
    """What the progress file says, or None where there is none or it is malformed.

    The display is a courtesy: a malformed file must never stop a chapter.
    """
    try:
        return State.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def plain_line(chapter: str, state: State, seconds: float | None = None) -> str:
    """One line for logs: `01_x: 3/9 runs, 75 s; flow: epoch 4/10, precision 61%`."""
    head = f"{chapter}: {state.done}/{state.total} runs"
    head += "" if seconds is None else f", {seconds:.0f} s"
    return "; ".join([head, *map(describe, state.running)])


class Watch:
    """Context manager: show the progress of `chapter` on `stream` until the block ends."""

    def __init__(self, chapter: str, path: Path, stream: TextIO | None = None) -> None:
        self.chapter = chapter
        self.path = path
        self.stream = stream or sys.stderr
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"watch {chapter}", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        if self.stream.isatty():
            self._bars()
        else:
            self._lines()

    def _lines(self) -> None:
        start = said = time.monotonic()
        done = 0
        while not self._stop.wait(POLL_SECONDS):
            state = read_progress(self.path)
            now = time.monotonic()
            if state and (state.done != done or now - said >= LINE_SECONDS):
                done, said = state.done, now
                print(plain_line(self.chapter, state, now - start), file=self.stream, flush=True)

    def _bars(self) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        # transient: the pipeline prints its own closing line for the chapter.
        with Progress(*columns, console=Console(file=self.stream), transient=True) as bars:
            whole = bars.add_task(self.chapter, total=None, note="")
            rows: dict[str, Any] = {}
            while not self._stop.wait(POLL_SECONDS):
                state = read_progress(self.path)
                if state is None:
                    continue
                bars.update(whole, completed=state.done, total=state.total, note="runs")
                running = {run.name: run for run in state.running}
                for name in set(rows) - set(running):
                    bars.remove_task(rows.pop(name))
                for name, run in running.items():
                    if name not in rows:
                        rows[name] = bars.add_task(f"  {name}", total=None, note="")
                    bars.update(
                        rows[name],
                        completed=run.epoch,
                        total=run.epochs,
                        note="" if math.isnan(run.precision) else f"precision {run.precision:.0%}",
                    )
