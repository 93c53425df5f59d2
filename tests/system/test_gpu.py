"""How many runs share a GPU, and MPS: a stand-in for its control program says what it was told."""

import os
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch

from fcilib.system import gpu
from fcilib.system.gpu import places, shared
from fcilib.system.machine import cores

PIPE = "CUDA_MPS_PIPE_DIRECTORY"


@pytest.fixture
def control(tmp_path, monkeypatch):
    """Has the program exit with a status; gives what it was called with and told."""
    monkeypatch.delenv(PIPE, raising=False)
    log = tmp_path / "log"

    def install(status=0):
        program = tmp_path / "bin" / gpu.CONTROL
        program.parent.mkdir()
        program.write_text(
            f'#!/bin/sh\necho "$@" $(cat) "${PIPE}" >> {log}\nexit {status}\n', encoding="utf-8"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        return lambda: log.read_text().splitlines() if log.exists() else []

    return install


def test_mps_is_started_for_the_block_and_stopped_after_it(control):
    said = control()
    with suppress(KeyboardInterrupt), shared("cuda") as serves:
        assert serves
        folder = os.environ[PIPE]
        assert os.path.isdir(folder)
        assert said() == [f"-d {folder}"]
        raise KeyboardInterrupt
    assert said() == [f"-d {folder}", f"quit -t 5 {folder}"]
    assert PIPE not in os.environ
    assert not os.path.exists(folder)


def test_where_mps_does_not_start_processes_take_turns(control):
    said = control(status=1)
    with shared("cuda:1") as serves:
        assert not serves
        assert PIPE not in os.environ
    assert len(said()) == 1


def test_an_mps_of_somebody_elses_is_used_and_left(control, monkeypatch):
    said = control()
    monkeypatch.setenv(PIPE, "/theirs")
    with shared("cuda") as serves:
        assert serves
    assert os.environ[PIPE] == "/theirs"
    assert said() == []


def test_a_cpu_needs_none(control):
    said = control()
    with shared("cpu") as serves:
        assert not serves
    assert said() == []


@pytest.mark.parametrize(("gigabytes", "runs"), [(80, 20), (15, 3), (2, 1)])
def test_runs_on_a_gpu_are_as_many_as_memory_and_cores_allow(monkeypatch, gigabytes, runs):
    monkeypatch.setattr(gpu, "cores", lambda: 24)
    properties = SimpleNamespace(total_memory=gigabytes * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert places("cuda") == runs
    monkeypatch.setattr(gpu, "cores", lambda: 2)
    assert places("cuda") == min(runs, 2)


def test_runs_on_a_cpu_are_as_many_as_cores():
    assert places("cpu") == cores()
