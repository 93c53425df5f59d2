"""How far a run is, as it says itself in its own workspace."""

import json
import math

from fcilib.training.state import STATE_FILE, RunState, end_run, tell_run


def test_word_of_a_run_is_left_until_it_ends(tmp_path):
    state = RunState(done=3, total=8, precision=0.25, process=77)
    tell_run(tmp_path, state)
    content = {"done": 3, "total": 8, "precision": 0.25, "process": 77}
    assert json.loads((tmp_path / STATE_FILE).read_text()) == content
    tell_run(tmp_path, RunState(done=4, total=8, precision=math.nan, process=77))
    told = json.loads((tmp_path / STATE_FILE).read_text())
    assert told["done"] == 4
    assert math.isnan(told["precision"])
    end_run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_said_nothing_ends_as_well(tmp_path):
    end_run(tmp_path)
    end_run(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []
