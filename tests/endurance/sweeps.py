"""A sweep that is killed again and again; a script, for a process that has torch and no threads.

    python sweeps.py FOLDER KILLS SEED

Forks a child that runs the sweep, stops it or one of its workers at a random moment, sees what it
was doing, kills it, and goes on, until there were KILLS kills; then lets the sweep end. The records
lie in FOLDER/killed, those of an undisturbed sweep in FOLDER/whole. Prints what was done as JSON.
"""

import json
import mmap
import multiprocessing
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import torch

from fcilib.execution import executors, pool
from fcilib.representations import Attention, Embedding
from fcilib.routers import Investigator
from fcilib.storage import checkpoint, files
from fcilib.storage import store as stores
from fcilib.study.profiles import PROFILES
from fcilib.training import run
from fcilib.training.experiment import Experiment, Training
from fcilib.training.records import Records

SMOKE = PROFILES["smoke"]

BATCH = 20
"""Experiments of a sweep; when all are recorded the next sweep follows, under other seeds."""

LONGEST = 0.25
"""Seconds until a kill, at most."""

ELSEWHERE, TRAINING, WRITING = range(3)
DOING = ("elsewhere", "training", "writing")

board = mmap.mmap(-1, 2**16)
"""What each process is doing, at its number's place; shared by all that are forked."""


def doing(process):
    return board[process % len(board)]


def during(what, call):
    """The call, with `what` on the board while it runs."""

    def marked(*arguments, **options):
        place = os.getpid() % len(board)
        before, board[place] = board[place], what
        try:
            return call(*arguments, **options)
        finally:
            board[place] = before

    return marked


def sweep(number):
    spec = Experiment(
        task=SMOKE.evidence,
        width=SMOKE.width,
        representation=Embedding(),
        router=Investigator(),
        training=Training(sequences=64, epochs=3, held_out=64),
    )
    other = spec.model_copy(update={"representation": Attention()})
    return [(spec, other)[i % 2].with_seed(BATCH * number + i) for i in range(BATCH)]


def missing(specs, store):
    return [spec for spec in specs if store.find(spec) is None]


def child(specs, store, executor):
    """A process that runs what is missing; its number."""
    process = os.fork()
    if process:
        return process
    try:
        executors.execute(missing(specs, store), store, executor, lambda done: None)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def state(process):
    """A letter: R or S, T if stopped, Z or X if it is no more."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def workers(driver):
    """The processes that a driver has begun, as far as they still run."""
    found = []
    for thread in Path(f"/proc/{driver}/task").glob("*/children"):
        try:
            found += map(int, thread.read_text().split())
        except OSError:
            continue
    return [process for process in found if state(process) not in "ZX"]


def stopped(process):
    """Whether it could be stopped: it then lives, and can't end by itself any more."""
    try:
        os.kill(process, signal.SIGSTOP)
    except ProcessLookupError:
        return False
    while state(process) not in "TZX":
        time.sleep(0.0005)
    return state(process) == "T"


def main(folder, kills, seed):
    torch.set_num_threads(1)
    # Forked, not spawned: a worker that imports torch anew takes seconds. And never given up.
    context = multiprocessing.get_context("fork")
    pool.multiprocessing.get_context = lambda _: context
    pool.DEATHS = 10**6
    run.train = during(TRAINING, run.train)
    for module in (run, stores, checkpoint):
        module.write_atomic = during(WRITING, files.write_atomic)

    # Whatever is imported late, and would be in every child, is imported now.
    executors.execute(sweep(0)[:2], Records(folder / "warm"), "inline", lambda done: None)

    rng, told, number = random.Random(seed), Counter(), 0
    store = Records(folder / "killed")
    while told["kills"] < kills:
        specs, executor = sweep(number), rng.choice(["inline", "process"])
        driver = child(specs, store, executor)
        while True:
            time.sleep(rng.uniform(0, LONGEST))
            aimed = rng.choice([ELSEWHERE, WRITING, TRAINING])
            victims = workers(driver) if executor == "process" and rng.random() < 0.5 else []
            victim = rng.choice(victims or [driver])
            end = time.monotonic() + LONGEST
            while aimed and doing(victim) != aimed and time.monotonic() < end:
                time.sleep(0.0002)
            if stopped(victim):
                told["kills"] += 1
                told["driver" if victim == driver else "worker"] += 1
                told[DOING[doing(victim)]] += 1
                os.kill(victim, signal.SIGKILL)
            if victim == driver or state(driver) in "ZX":
                status = os.waitstatus_to_exitcode(os.waitpid(driver, 0)[1])
                if status not in (0, -signal.SIGKILL):
                    raise SystemExit(f"a sweep ended with status {status}")
                break
            if told["kills"] == kills:
                break
            board[victim % len(board)] = ELSEWHERE
        told["leftovers"] += len(list(store.folder.rglob("*.tmp")))
        if told["kills"] < kills and not missing(specs, store):
            number += 1
    if state(driver) not in "X":
        os.waitpid(driver, 0)
    everything = [spec for n in range(number + 1) for spec in sweep(n)]
    executors.execute(missing(everything, store), store, "inline", lambda done: None)
    executors.execute(everything, Records(folder / "whole"), "inline", lambda done: None)
    print(json.dumps({**told, "sweeps": number + 1, "runs": len(everything)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
