from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fcilib.execution import watch
from fcilib.execution.progress import VARIABLE, Progress, Running, State


def write(path: Path, **state: object) -> None:
    path.write_text(json.dumps(state), encoding="utf-8")


def until(condition: Callable[[], bool], shown: watch.Watch) -> None:
    """Wait for what the watching thread will print: a minute, and no longer than it lives."""
    end = time.monotonic() + 60
    while not condition():
        assert shown._thread.is_alive()
        assert time.monotonic() < end, shown.stream.getvalue()
        time.sleep(0.005)


RUN = {"name": "flow", "epoch": 4, "epochs": 10, "precision": 0.612}


def test_reads_what_the_kernel_writes(tmp_path: Path) -> None:
    write(tmp_path / "p", done=3, total=9, running=[RUN])
    state = watch.read_progress(tmp_path / "p")
    assert state.model_dump() == {"done": 3, "total": 9, "running": [RUN]}


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"running": [1]}', '{"done": "x"}'])
def test_a_damaged_file_is_no_progress(tmp_path: Path, text: str) -> None:
    (tmp_path / "p").write_text(text, encoding="utf-8")
    assert watch.read_progress(tmp_path / "p") is None


def test_a_run_without_a_router_is_read_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "p"))
    blind = Running(name="plain", epoch=1, epochs=2, precision=math.nan)
    Progress(2, lambda: [blind]).show(1)
    state = watch.read_progress(tmp_path / "p")
    assert (state.done, state.total, state.running[0].name) == (1, 2, "plain")
    assert math.isnan(state.running[0].precision)


def test_no_file_is_no_progress(tmp_path: Path) -> None:
    assert watch.read_progress(tmp_path / "none") is None


def test_a_run_without_precision_yet() -> None:
    state = State(done=0, total=2, running=[RUN | {"epoch": 0, "precision": math.nan}])
    assert watch.plain_line("01_x", state, 5.2) == "01_x: 0/2 runs, 5 s; flow: epoch 0/10"


def test_plain_line_shows_precision() -> None:
    state = State(done=3, total=9, running=[RUN])
    line = watch.plain_line("01_x", state)
    assert line == "01_x: 3/9 runs; flow: epoch 4/10, precision 61%"


def test_a_line_whenever_a_run_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)
    stream = io.StringIO()
    with watch.Watch("01_x", tmp_path / "p", stream) as shown:
        for done in range(3):
            write(tmp_path / "p.new", done=done, total=2, running=[])
            (tmp_path / "p.new").rename(tmp_path / "p")
            until(lambda text=f"{done}/2": text == "0/2" or text in stream.getvalue(), shown)
    assert [line.split(",")[0] for line in stream.getvalue().splitlines()] == [
        "01_x: 1/2 runs",
        "01_x: 2/2 runs",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    write(tmp_path / "p", done=1, total=2, running=[RUN])
    with watch.Watch("01_x", tmp_path / "p", stream) as shown:
        until(lambda: "precision 61%" in stream.getvalue(), shown)
    assert "flow" in stream.getvalue()
    assert "4/10" in stream.getvalue()
