"""What the context ladder's records say, for sentences on other pages than its chapter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fcilib.representations import Attention, Embedding, Flow
from fcilib.representations.base import RepresentationSpec
from fcilib.routers import Investigator, RandomRouter
from fcilib.study.notation import over_seeds
from fcilib.study.profiles import PROFILES, Profile
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records

CHANCE = "chance"

METRIC = "precision_lookalike"


def representations(sizes: Profile) -> Mapping[str, RepresentationSpec]:
    """The chapter's representations that other pages speak of, by their labels."""
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
        label: one of `representations`.

    Raises:
        KeyError: the label is unknown, or there is no record.
    """
    sizes = PROFILES[records.name]
    router = RandomRouter if label == CHANCE else Investigator
    first = Experiment(
        task=sizes.ladder.model_copy(update={"rung": rung}),
        width=sizes.width,
        representation=representations(sizes)[label],
        router=router(candidates="others"),
        training=sizes.climbing,
    )
    found = recorded_text(Records(records), first, METRIC)
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
