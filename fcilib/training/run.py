"""Run one experiment: find its record, or train it and write one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

import torch

from fcilib.specs.identity import NUMERICS
from fcilib.storage.files import write_atomic
from fcilib.storage.making import find_or_make
from fcilib.storage.sealed import rounded
from fcilib.storage.tensors import seal_tensors
from fcilib.system.allocator import keep_freed_memory
from fcilib.system.machine import provenance
from fcilib.training.experiment import Experiment
from fcilib.training.loop import Outcome, train
from fcilib.training.records import Record, Records
from fcilib.training.state import STATE_FILE, RunState, end_run, tell_run

REPORT_EVERY = 0.5
"""Seconds between two reports of a run's progress."""


def run_one(
    experiment: Experiment,
    records: Records,
    tell: Callable[[RunState], None] | None = None,
    device: str = "cpu",
) -> Record:
    """The experiment's record; trained first where there is none.

    Two processes that ask for the same run do not train it twice: the second waits, then reads.
    A run that was killed resumes from its last finished epoch. The trained weights are left in the
    run's workspace, as `weights.safetensors` (`fcilib.storage.tensors.unseal_tensors` reads
    them). Where there is a record nothing is written, so that a store may be read-only.

    Args:
        experiment: what to run.
        records: where its record is, or goes.
        tell: called now and then with how far the run is; if left out, its workspace says so.
        device: where it is trained, as torch names it.

    Raises:
        RecordError: there is a record, but it can't be trusted.
        TensorsError: the checkpoint to resume from is damaged; it is neither used nor deleted.
        StoreError: the store can't be written.
        DivergedError: the loss is not finite; no record is written.
    """
    workspace = records.workspace(experiment)
    checkpoint, weights = (workspace / f"{n}.safetensors" for n in ("checkpoint", "weights"))

    def make() -> Record:
        keep_freed_memory()
        try:
            report = _reporter(tell or partial(tell_run, workspace))
            outcome = train(experiment, checkpoint, report, device)
        finally:
            end_run(workspace)
        write_atomic(weights, seal_tensors(outcome.model.state_dict()))
        record = _record(experiment, outcome, device)
        records.add(record)
        checkpoint.unlink(missing_ok=True)
        return record

    files = records.path(experiment), checkpoint, weights, workspace / STATE_FILE
    return find_or_make(partial(records.find, experiment), make, workspace / "lock", *files)


def _reporter(tell: Callable[[RunState], None]) -> Callable[[int, int, float], None]:
    """Says how far the run is, but not too often."""
    last = 0.0

    def report(done: int, total: int, precision: float) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_EVERY:
            last = time.monotonic()
            tell(RunState(done=done, total=total, precision=precision, process=os.getpid()))

    return report


def _record(experiment: Experiment, outcome: Outcome, device: str) -> Record:
    gpu: dict[str, str] = {}
    if device != "cpu":
        gpu["device"] = f"cuda: {torch.cuda.get_device_name(device)}"
        gpu["step"] = "captured" if outcome.captured else "eager"
    names = outcome.curve[0] if outcome.curve else {}
    return Record(
        identity=experiment.identity,
        numerics=NUMERICS,
        experiment=experiment,
        metrics=rounded(outcome.metrics),
        curve=rounded({name: [epoch[name] for epoch in outcome.curve] for name in names}),
        probes=rounded(outcome.probes),
        parameters=outcome.parameters,
        seconds=round(outcome.seconds, 1),
        threads=torch.get_num_threads(),
        **(provenance() | gpu),
    )
