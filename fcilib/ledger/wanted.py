"""Which runs the ledger needs, the most important first, and how many of them are recorded."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fcilib.ledger import hybrids
from fcilib.ledger.agreement import STANDARD
from fcilib.ledger.catalogue import Condition, catalogue
from fcilib.ledger.claims import claims
from fcilib.study.profiles import Profile
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records

IMPORTANCE = ("4.1", "4.6", "4.3", "4.5", "4.7", "4.2", "4.4", "3.1", "3.2", "5", "1", "6")
"""Sections of the paper, the one whose claims matter most first."""

ESCAPE_ROUTES = "4.6"

TODAY = "12"
"""The chapter on today's methods."""

CONTROLS, OTHERS = "controls", "other claims"
"""What stands in place of a chapter: for conditions without a claim, and for those whose claims
belong to none."""


@dataclass(frozen=True)
class Wanted:
    """One run that the ledger needs."""

    condition: str
    """Its name in the catalogue, or the label of one of today's methods."""
    protocol: str
    chapter: str
    """`01` to `07`, the chapters on sections 4.1 to 4.7, or `12` for today's methods; else
    `CONTROLS` or `OTHERS`."""
    experiment: Experiment

    def __str__(self) -> str:
        """For readers: `Flow, 2 layers, all (seed 1)`."""
        protocol = f", {self.protocol}" if self.protocol else ""
        return f"{self.condition}{protocol} (seed {self.experiment.seed})"


def wanted(sizes: Profile) -> list[Wanted]:
    """Every training run that the catalogue declares, each once, in order of importance.

    Today's methods follow, on the paper's task. The first seed of everything comes before the
    second of anything. Retrievals are no training.
    """
    sections = _sections()
    ranked = sorted(
        catalogue(sizes).values(), key=lambda condition: _rank(condition, sections)
    )  # the sort is stable: within a section the catalogue's order holds
    unique: dict[Experiment, Wanted] = {}
    for seed in range(STANDARD.seeds):
        for condition in ranked:
            chapter = _chapter(sections.get(condition.name))
            for protocol, decider in condition.under.items():
                if isinstance(decider, Experiment):
                    run = decider.with_seed(seed)
                    unique.setdefault(run, Wanted(condition.name, protocol, chapter, run))
        for method in (*hybrids.representations(sizes), *hybrids.routers()):
            run = hybrids.on_evidence(sizes, method).with_seed(seed)
            unique.setdefault(run, Wanted(method.label, "others", TODAY, run))
    return list(unique.values())


def coverage(records: Records, sizes: Profile) -> dict[str, tuple[int, int]]:
    """By chapter, in order: how many of the runs that the ledger needs are recorded, of how many.

    Files are counted by their names and not read.
    """
    counts: dict[str, tuple[int, int]] = {}
    for run in sorted(wanted(sizes), key=lambda run: (not run.chapter.isdigit(), run.chapter)):
        have, total = counts.get(run.chapter, (0, 0))
        there = records.path(run.experiment).exists()
        counts[run.chapter] = have + there, total + 1
    return counts


def _sections() -> dict[str, str]:
    """The most important section that speaks of a condition, by the condition's name."""
    best: dict[str, str] = {}
    for claim in claims().values():
        places = re.findall(r"§(\d(?:\.\d)?)", claim.place)
        for name in claim.decided_by:
            known = [best[name]] if name in best else []
            if known or places:
                best[name] = min([*known, *places], key=IMPORTANCE.index)
    return best


def _rank(condition: Condition, sections: dict[str, str]) -> int:
    """How many sections matter more; rank-1 routers belong to the escape routes."""
    section = sections.get(condition.name)
    rank = len(IMPORTANCE) if section is None else IMPORTANCE.index(section)
    runs = [run for run in condition.under.values() if isinstance(run, Experiment) and run.router]
    rank_one = any(run.router.kind == "rank-one" for run in runs if run.router)
    return min(rank, IMPORTANCE.index(ESCAPE_ROUTES)) if rank_one else rank


def _chapter(section: str | None) -> str:
    if section is None:
        return CONTROLS
    return f"0{section[2]}" if section.startswith("4.") else OTHERS
