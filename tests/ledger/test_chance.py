"""Chance by counting: every claim that a run decides has it, or says that there is none."""

import math
from pathlib import Path

import pytest
import torch

from fcilib.ledger.agreement import Level
from fcilib.ledger.catalogue import catalogue
from fcilib.ledger.chance import COUNTS_AS, counted, level
from fcilib.ledger.claims import claims
from fcilib.ledger.ledger import whole_ledger
from fcilib.publish.project import find_project
from fcilib.retrieval import find
from fcilib.routers.random import RandomRouter, RandomScores
from fcilib.study.profiles import PROFILES
from fcilib.training.experiment import Experiment

RECORDS = find_project(Path(__file__).parent).root / "records"
PAPER, QUICK = (catalogue(PROFILES[name]) for name in ("paper", "quick"))


@pytest.mark.parametrize(
    ("condition", "protocol", "metric", "chance"),
    [
        ("raw", "all", "precision", 1 / 512),
        ("raw", "others", "precision", 1 / 511),
        ("raw", "all", "precision_tie_lost", 1 / 512),
        ("raw", "all", "precision_tie_won", 1 / 512),
        ("raw", "all", "random_form_precision", 1 / 512),
        ("raw", "all", "best_precision", 1 / 512),
        ("raw", "all", "largest_rise", 1 / 512),
        ("raw", "all", "precision_at_k", 8 / 512),
        ("segment-mean", "all", "precision_at_k", 4 / 16),
        ("raw", "all", "largest_fall", 0.0),
        ("raw", "others", "place", 256),
        ("raw", "all", "accuracy", 1 / 256),
        ("plain-far", "", "accuracy", 1 / 256),
        ("segment-mean", "others", "precision", 1 / 16),
        ("linucb", "others", "precision", 1 / 32),
    ],
)
def test_chance_is_one_in_the_number_of_candidates_or_classes(condition, protocol, metric, chance):
    assert counted(PAPER[condition].under[protocol], metric) == pytest.approx(chance, abs=1e-12)


def test_what_has_no_chance_is_refused():
    with pytest.raises(ValueError, match=r"^metric: the chance of rank_share is not known$"):
        counted(PAPER["raw"].under["all"], "rank_share")
    with pytest.raises(ValueError, match=r"^metric: precision has no chance without a router$"):
        counted(PAPER["plain-far"].under[""], "precision")
    with pytest.raises(TypeError, match=r"^name: 'bm25' is no training$"):
        level(claims()["hotpotqa-bm25"], QUICK["raw"].under["all"])


@pytest.mark.parametrize(
    ("segment", "within", "k"), [(1, None, 4), (32, None, 2), (4, 8, 1), (1, 8, 12)]
)
def test_chance_counts_what_a_router_may_pick(segment, within, k):
    """Of 100 tokens: a shorter last segment too, and no other parts of one that is given."""
    router = RandomRouter(candidates="all", segment=segment, within=within, k=k)
    raw = QUICK["raw"].under["all"]
    task = raw.task.model_copy(update={"length": 100})
    run = raw.model_copy(update={"task": task, "router": router})
    query, evidence = torch.tensor([99]), torch.tensor([9])
    scores = RandomScores(segment)(torch.zeros(1, 100, 1), query)
    candidates = int(router.mask(scores, query, evidence).isfinite().sum())
    assert counted(run, "precision") == pytest.approx(1 / candidates, abs=1e-12)
    assert counted(run, "precision_at_k") == pytest.approx(min(k / candidates, 1.0), abs=1e-12)


@pytest.mark.parametrize("name", [n for n, it in claims().items() if it.decided_by])
def test_a_claim_that_runs_decide_has_chance_at_both_sizes_or_says_that_it_has_none(name):
    claim = claims()[name]
    metrics = {claim.metric, *(reading.metric for reading in claim.readings.values())}
    for condition in claim.decided_by:
        for protocol, run in QUICK[condition].under.items():
            if not isinstance(run, Experiment):
                continue
            for metric in metrics if claim.statistic == "mean" else ():
                asked = claim.model_copy(update={"metric": metric})
                found = level(asked, run, PAPER[condition].under[protocol])
                assert (found is None) == (not claim.chance)
                if not claim.chance:
                    with pytest.raises(ValueError, match="not known"):
                        counted(run, metric)


def test_no_finding_has_a_chance_that_is_no_number():
    for entries in whole_ledger(RECORDS).values():
        for entry in entries.values():
            for finding in entry.findings:
                said = entry.claim.chance and entry.claim.statistic == "mean"
                assert (finding.level is not None) == said
                numbers = [finding.chance] if finding.chance is not None else []
                numbers += [finding.level.here, finding.level.there] if finding.level else []
                assert all(math.isfinite(number) for number in numbers)


def test_the_chance_of_a_random_form_is_that_of_random_picks():
    assert COUNTS_AS == {"random_form_precision": "precision"}
    (finding, *_) = whole_ledger(RECORDS)["quick"]["random-projections"].findings
    (raw, *_) = whole_ledger(RECORDS)["quick"]["raw"].findings
    assert finding.chance == raw.chance


def test_the_level_of_a_run_is_that_of_its_size_and_the_papers():
    claim, run = claims()["raw"], QUICK["raw"].under["others"]
    assert level(claim, run, PAPER["raw"].under["others"]) == Level(1 / 127, 1 / 511)
    assert level(claim, run) == Level(1 / 127, 1 / 512)  # of the claim's first condition
    assert level(claims()["seed-spread"], run) is None
    assert level(claims()["rank-90"], run) is None


def test_the_level_of_a_retrieval_is_exact_of_its_own_questions():
    run = find(QUICK["bm25"].under["words"], RECORDS / "quick" / "retrievals")
    assert level(claims()["hotpotqa-bm25"], run) == Level(*[run.chance["any_hit"]] * 2)
