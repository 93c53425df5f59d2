"""The records at the paper's size that stand beside a study's own, where there are any."""

from __future__ import annotations

from fcilib.ledger.catalogue import catalogue
from fcilib.study.notation import NONE, over_seeds, seeds_text
from fcilib.study.profiles import profile
from fcilib.study.study import Study
from fcilib.training.experiment import Experiment
from fcilib.training.records import Record, Records

SEEDS = 10
"""Seeds that are looked for, from 0."""


def paper_store(study: Study) -> Records:
    """The records at the paper's sizes, which lie beside the study's own."""
    return Records(study.records.folder.parent / "paper")


def paper_records(study: Study, name: str, protocol: str, data: str = "fixed") -> list[Record]:
    """The runs of a condition of the catalogue at the paper's sizes, by seed; may be empty.

    They are looked for beside the study's own records, and nothing is trained.

    Args:
        name: as the catalogue has it.
        protocol: the candidates, or what else the condition is declared under.
        data: whether the sequences were drawn once, "fixed", or anew for each epoch, "fresh".

    Raises:
        KeyError: there is no such condition, or it is not declared under that protocol.
        TypeError: it is no training.
    """
    experiment = catalogue(profile("paper"))[name].under[protocol]
    if not isinstance(experiment, Experiment):
        raise TypeError(f"name: {name!r} is no training")
    training = experiment.training.model_copy(update={"data": data})
    experiment = experiment.model_copy(update={"training": training})
    records = paper_store(study)
    found = (records.find(experiment.with_seed(seed)) for seed in range(SEEDS))
    return [record for record in found if record is not None]


def paper_text(found: list[Record], metric: str) -> str:
    """The mean of a metric, its spread, and in brackets the seeds; a dash without a record."""
    values = [record.metrics[metric] for record in found]
    if not values:
        return NONE
    return f"{over_seeds(values)} ({seeds_text(len(values))})"
