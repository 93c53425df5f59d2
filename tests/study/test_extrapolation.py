"""Arithmetic on the times of recorded runs, and the page that shows it."""

import re
from pathlib import Path
from typing import Literal

import pytest

from fcilib.backbones import TRANSFORMER_3M
from fcilib.publish.sweep_cost import check_table, cost_table, duration, write_sweep_cost
from fcilib.representations import Attention, Embedding, Flow, Frozen
from fcilib.routers import Investigator
from fcilib.study import extrapolation
from fcilib.study.extrapolation import checks, factors, makespan
from fcilib.study.profiles import PROFILES
from fcilib.tasks import Evidence
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records

ROOT = Path(__file__).resolve().parents[2]
QUICK, PAPER = PROFILES["quick"], PROFILES["paper"]


def experiment(representation, sizes=QUICK, **more):
    parts = {"task": sizes.evidence, "width": sizes.width, "training": sizes.training}
    parts |= {"representation": representation, "router": Investigator()}
    return Experiment(**{**parts, **more})


def test_a_run_grows_by_its_steps_its_length_and_its_width():
    # 8 times the epochs, 4 times the length, twice the width.
    assert factors(experiment(Embedding())) == (8 * 4 * 2, 8 * 4 * 2**2)
    assert factors(experiment(Flow())) == (8 * 4 * 2, 8 * 4 * 2**2)


def test_pairs_of_tokens_grow_by_the_square_of_the_length():
    assert factors(experiment(Attention())) == (8 * 4 * 2, 8 * 4**2 * 2)


def test_a_frozen_backbone_is_passed_once():
    frozen = experiment(Frozen(backbone=TRANSFORMER_3M), training=QUICK.frozen)
    low, high = factors(frozen)
    assert low == (8000 / 2000) * 4
    assert high == (8000 / 2000) * (40 / 10) * 4**2 * 2
    # A long training has the paper's sequences and epochs already.
    long = experiment(Frozen(backbone=TRANSFORMER_3M, bridge="full"), training=QUICK.bridged)
    assert factors(long) == (4, 4**2 * 2)


def test_a_task_brings_its_own_sizes():
    mqar = experiment(Embedding(), task=QUICK.mqar)
    assert factors(mqar)[0] == 8 * (PAPER.mqar.length / QUICK.mqar.length) * 2
    ladder = experiment(Embedding(), task=QUICK.ladder, training=QUICK.climbing)
    steps = (8000 * 40) / (16_000 * 5)
    assert factors(ladder)[0] == steps * (PAPER.ladder.length / QUICK.ladder.length) * 2


@pytest.mark.parametrize(
    ("runs", "places", "expected"),
    [([3, 3, 2, 2, 2], 2, 7), ([5], 64, 5), ([1, 1, 1, 1], 2, 2), ([4, 1, 1, 1, 1], 2, 4)],
)
def test_runs_are_laid_out_longest_first(runs, places, expected):
    assert makespan(runs, places) == expected


def hours(number):
    """A record of raw embeddings that took so long."""
    spec = experiment(Embedding())
    for record in Records(ROOT / "records" / "quick"):
        if record.experiment.representation == spec.representation:
            return record.model_copy(update={"seconds": 3600.0 * number, "experiment": spec})
    raise AssertionError("no record of raw embeddings")


def test_the_table_follows_from_the_records():
    table = cost_table([hours(1)] * 4)
    assert "the 4 recorded runs of the profile `quick` took 4.0 hours of one core" in table
    assert "all of them would take 11 days to 21 days of such a core" in table
    assert "the longest 64 hours to 5 days" in table
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert rows[0][0] == "extrapolated, not measured"
    assert rows[2] == ["2 CPU cores", "2", "5 days", "11 days"]
    assert rows[3] == ["64 CPU cores", "64", "64 hours", "5 days"]
    assert re.fullmatch(r"8 GPUs, each \*assumed\* to be 20 times as fast as a core", rows[4][0])
    assert rows[4][1:] == ["8", "3.2 hours", "6.4 hours"]


class Maze(Evidence):
    """A reader's own task, of a kind that no profile knows."""

    kind: Literal["maze"] = "maze"


class Trained(Evidence):
    """One whose kind is the name of something else that a profile has."""

    kind: Literal["training"] = "training"


@pytest.mark.parametrize("kind", [Maze, Trained])
def test_a_run_of_a_readers_own_task_is_left_out_by_its_number(kind):
    plain = [hours(1)] * 4
    own = plain[0].model_copy(update={"experiment": experiment(Embedding(), task=kind())})
    table = cost_table([*plain, own, own])
    others = " 2 more, of tasks that no profile has a size for, are left out."
    assert others in table
    assert table.replace(others, "") == cost_table(plain)
    assert cost_table([own]).startswith("There are no records")


def test_without_records_nothing_is_extrapolated(tmp_path):
    write_sweep_cost(tmp_path / "book", tmp_path / "records")
    text = (tmp_path / "book" / "_generated" / "sweep-cost.md").read_text()
    assert text.startswith("There are no records of the profile `quick`")
    assert text.count("not measured") == len(extrapolation.CHECKED)


def test_the_arithmetic_is_held_against_short_runs():
    rows = check_table(Records(ROOT / "records" / "scaling")).splitlines()[2:]
    assert len(rows) == len(extrapolation.CHECKED)
    assert "not measured" not in "".join(rows)


def test_short_runs_have_the_sizes_of_their_profile():
    for profile, sequences in extrapolation.SHORT.items():
        for spec in checks("raw embeddings", profile):
            assert spec.task == PROFILES[profile].evidence
            assert spec.width == PROFILES[profile].width
            assert (spec.training.sequences, spec.training.epochs) == (sequences, 1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(600, "0.2 hours"), (9 * 3600, "9.0 hours"), (36 * 3600, "36 hours"), (80 * 3600, "3 days")],
)
def test_durations_are_rough(seconds, text):
    assert duration(seconds) == text


def test_the_page_includes_what_is_generated_and_says_what_it_is():
    page = (ROOT / "book" / "on-a-cluster.md").read_text(encoding="utf-8")
    assert "```{include} _generated/sweep-cost.md" in page
    assert "**This is an extrapolation.**" in page
    assert "**GPUs are assumed, not measured, in this table.**" in page
