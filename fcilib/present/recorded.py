"""What records at the small size say, for sentences on pages of prose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcilib.model.council import Council
from fcilib.representations import Attention, Embedding, Flow, GlobalMean
from fcilib.representations.base import RepresentationSpec
from fcilib.routers import Investigator, LinUCB, RandomRouter, RankOne
from fcilib.study.notation import over_seeds
from fcilib.study.profiles import PROFILES, Profile
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records

OTHERS: Any = {"candidates": "others"}

AUDIT, ESCAPE, LANDSCAPE = "08_protocol_audit", "06_escape_routes", "03_landscape"


@dataclass(frozen=True)
class Choice:
    """A model under one option: its experiment, what is told of it, and where that was measured."""

    experiment: Experiment
    metric: str = "precision"
    chapter: str = AUDIT


def choices(sizes: Profile) -> Mapping[str, Choice]:
    """Models by name: alone under our options, after a comma what is changed."""
    task, short, long = sizes.evidence, sizes.training, sizes.settled
    start: dict[str, Any] = {"task": task, "width": sizes.width, "training": short}

    def run(**parts: Any) -> Experiment:
        return Experiment(**{**start, "router": Investigator(), **parts})

    changes: dict[str, dict[str, Any]] = {
        "": {},
        ", copies": {"task": task.model_copy(update={"collisions": True})},
        ", either order": {"task": task.model_copy(update={"order": "either"})},
        ", half the width": {"width": sizes.width // 2},
        ", a tenth of the rate": {"training": short.model_copy(update={"learning_rate": 1e-4})},
        ", constant weight": {"training": short.model_copy(update={"routing_weight": (0.1, 0.1)})},
        ", no routing loss": {"training": short.model_copy(update={"routing_weight": (0.0, 0.0)})},
        ", no norm": {"normalisation": "none"},
    }
    found: dict[str, Choice] = {}
    for name, spec in (("attention", Attention), ("embeddings", Embedding)):
        for change, parts in changes.items():
            found[f"{name}{change}"] = Choice(run(representation=spec(), **parts))
        for change, field in (
            (", frozen tokens", {"embeddings": "frozen"}),
            (", no positions", {"positions": "none"}),
        ):
            varied = spec.model_validate({**dict(spec()), **field})
            found[f"{name}{change}"] = Choice(run(representation=varied))
    both_ways = Flow(layers=1, bidirectional=True)
    trainings: dict[str, dict[str, Any]] = {
        "": {},
        ", three times the rate": {"learning_rate": 3e-3},
        ", new sequences": {"data": "fresh"},
    }
    for change, fields in trainings.items():
        training = long.model_copy(update=fields)
        found[f"rank-1{change}"] = Choice(
            run(representation=both_ways, router=RankOne(**OTHERS), training=training),
            chapter=ESCAPE,
        )
    for change, residual in (("", False), (", residual", True)):
        mean = run(representation=GlobalMean(residual=residual), router=Investigator(**OTHERS))
        found[f"mean{change}"] = Choice(mean, chapter=ESCAPE)
    seen: dict[str, dict[str, Any]] = {"": {}, ", products": {"features": "product"}}
    for change, fields in seen.items():
        router = LinUCB(within=sizes.arms, **OTHERS, **fields)
        found[f"LinUCB{change}"] = Choice(
            run(representation=Embedding(), router=router), chapter=LANDSCAPE
        )
    told: dict[str, dict[str, Any]] = {"": {}, ", ranked": {"council": Council(slots="learned")}}
    for change, fields in told.items():
        answers = run(representation=Attention(), router=Investigator(**OTHERS), **fields)
        found[f"answers{change}"] = Choice(answers, "accuracy", ESCAPE)
    return found


def choice_text(records: Path, name: str) -> tuple[str, str]:
    """What was measured under a choice, with its spread over seeds, and the chapter that has it.

    Args:
        records: the folder of a profile, whose name is the profile's.
        name: one of `choices`.

    Raises:
        KeyError: the name is unknown, or there is no record.
    """
    choice = choices(PROFILES[records.name])[name]
    found = recorded_text(Records(records), choice.experiment, choice.metric)
    if found is None:
        raise KeyError(f"{name}: no record in {records}")
    return found, choice.chapter


CHANCE = "chance"


def ladder_representations(sizes: Profile) -> Mapping[str, RepresentationSpec]:
    """Chapter 9's representations that other pages speak of, by their labels."""
    length = sizes.ladder.length
    return {
        "raw embeddings": Embedding(),
        "Flow": Flow(layers=1),
        "bidirectional Mamba": Flow(layers=1, bidirectional=True),
        "sparse attention": Attention(
            mask="sparse", window=length // 8, global_tokens=length // 16
        ),
        "attention, 1 layer": Attention(),
        "causal attention, 2 layers": Attention(layers=2, mask="causal"),
        CHANCE: Embedding(),
    }


def rung_text(records: Path, rung: str, label: str) -> str:
    """Precision among look-alikes on a rung, mean and standard deviation over seeds.

    Args:
        records: the folder of a profile, whose name is the profile's.
        rung: `token`, `left`, `right` or `hop`.
        label: one of `ladder_representations`.

    Raises:
        KeyError: the label is unknown, or there is no record.
    """
    sizes = PROFILES[records.name]
    router = RandomRouter if label == CHANCE else Investigator
    first = Experiment(
        task=sizes.ladder.model_copy(update={"rung": rung}),
        width=sizes.width,
        representation=ladder_representations(sizes)[label],
        router=router(candidates="others"),
        training=sizes.climbing,
    )
    found = recorded_text(Records(records), first, "precision_lookalike")
    if found is None:
        raise KeyError(f"{label} on {rung}: no record in {records}")
    return found


def recorded_text(kept: Records, first: Experiment, metric: str) -> str | None:
    """Mean and standard deviation over the seeds that have records; None where the first has none.

    Args:
        first: the experiment with seed 0; its other seeds follow from there without a gap.
    """
    values: list[float] = []
    while record := kept.find(first.with_seed(len(values))):
        values.append(record.metrics[metric])
    return over_seeds(values) if values else None
