"""The chance level is what counting says, through the code that scores every router."""

import pytest
import torch

from fcilib.model import metrics
from fcilib.model.probes import measure
from fcilib.representations import Embedding
from fcilib.routers import Investigator, RandomRouter, SegmentRouter
from fcilib.tasks import Evidence
from fcilib.training.experiment import Experiment

SEQUENCES = 3000

TASKS = {
    "default": {"min_distance": 8},
    "either": {"min_distance": 8, "order": "either"},
    "near": {"near": True},
    "near-either": {"near": True, "order": "either"},
    "classes": {"min_distance": 8, "class_size": 3},
    "held-out": {"min_distance": 8, "class_size": 4, "unseen": 2},
    "held-out-filler": {"min_distance": 8, "class_size": 4, "unseen": 2, "unseen_as": "filler"},
}


def played(variant, router, length=37, seed=0):
    """The metrics of a random router on a few thousand sequences, and those sequences."""
    task = Evidence(length=length, vocabulary=25, distractors=2, **TASKS[variant])
    torch.manual_seed(seed)
    experiment = Experiment(task=task, width=4, representation=Embedding(), router=router)
    model = experiment.build().eval()
    batch = task.draw(SEQUENCES, seed, "test")
    with torch.no_grad():
        output = model(batch.tokens, batch.query, batch.evidence)
    return metrics.score(output, batch, router.k), batch, output


def agrees(values, chance):
    """Whether a mean of coins is that of their chances `(B,)`, within three standard errors."""
    chance = chance.double()
    error = (chance * (1 - chance)).sum().sqrt() / len(chance)
    return (values.double().mean() - chance.mean()).abs() <= 3 * error


def test_agreement_can_be_missed():
    chance = torch.full((SEQUENCES,), 1 / 36)
    coins = torch.zeros(SEQUENCES)
    coins[: SEQUENCES // 36] = 1
    assert agrees(coins, chance)
    assert not agrees(coins, 1.5 * chance)
    assert not agrees(coins * 2, chance)


@pytest.mark.parametrize("variant", TASKS)
@pytest.mark.parametrize("candidates", ["all", "others"])
@pytest.mark.parametrize("k", [1, 8])
def test_tokens(variant, candidates, k):
    found, _, _ = played(variant, RandomRouter(candidates=candidates, k=k))
    number = torch.full((SEQUENCES,), 37.0 if candidates == "all" else 36.0)
    assert agrees(found["precision"], 1 / number)
    assert agrees(found["precision_at_k"], k / number)
    if candidates == "all":
        assert agrees(found["picked_query"], 1 / number)
    else:
        assert not found["picked_query"].any()


@pytest.mark.parametrize("variant", TASKS)
@pytest.mark.parametrize("candidates", ["all", "others"])
@pytest.mark.parametrize("length", [40, 37, 33])
def test_segments(variant, candidates, length):
    router = RandomRouter(segment=8, candidates=candidates, k=2)
    found, _, output = played(variant, router, length)
    assert output.scores.shape == (SEQUENCES, 5)
    number = torch.full((SEQUENCES,), 5.0)  # the last may be shorter and counts as one
    assert agrees(found["precision"], 1 / number)
    assert agrees(found["precision_at_k"], 2 / number)
    assert agrees(found["picked_query"], 1 / number)


@pytest.mark.parametrize("variant", TASKS)
@pytest.mark.parametrize("candidates", ["all", "others"])
@pytest.mark.parametrize("length", [40, 37])
@pytest.mark.parametrize("within", [8, 11])
def test_tokens_within_the_segment_that_is_given(variant, candidates, length, within):
    router = RandomRouter(candidates=candidates, k=3, within=within)
    found, batch, output = played(variant, router, length)
    own = batch.evidence // within
    number = (length - own * within).clamp(max=within)  # the last may be shorter
    inside = batch.query // within == own
    if candidates == "others":
        number = number - inside.long()
    assert torch.equal(output.scores.isfinite().sum(dim=1), number)
    assert agrees(found["precision"], 1 / number)
    assert agrees(found["precision_at_k"], 3 / number.clamp(min=3))
    expected = inside / number if candidates == "all" else torch.zeros(SEQUENCES)
    assert agrees(found["picked_query"], expected)
    if "near" in variant:
        assert inside.any()


@pytest.mark.parametrize("length", [40, 37])
def test_segments_within_the_longer_segment_that_is_given(length):
    found, batch, output = played("default", RandomRouter(segment=4, k=1, within=12), length)
    left = length - batch.evidence // 12 * 12
    number = (left.clamp(max=12) + 3) // 4
    assert torch.equal(output.scores.isfinite().sum(dim=1), number)
    assert agrees(found["precision"], 1 / number)


@pytest.mark.parametrize("spec", [RandomRouter, SegmentRouter])
def test_a_given_segment_is_made_of_whole_candidates(spec):
    with pytest.raises(ValueError, match="within: 12 tokens are no segments of 8"):
        spec(segment=8, within=12)


def test_a_given_segment_that_is_the_whole_sequence_gives_nothing():
    one = played("default", RandomRouter(within=37))[0]
    other = played("default", RandomRouter())[0]
    for name, values in one.items():
        assert torch.equal(values, other[name]), name


@pytest.mark.parametrize("length", [64, 61, 160])
@pytest.mark.parametrize("variant", ["default", "near"])
def test_found_within_is_the_share_of_segments_picked(length, variant):
    task = Evidence(length=length, vocabulary=25, distractors=2, **TASKS[variant])
    torch.manual_seed(0)
    router = RandomRouter(segment=8, k=2)
    experiment = Experiment(task=task, width=4, representation=Embedding(), router=router)
    held_out = task.draw(SEQUENCES, 0, "test")
    found = measure(experiment.build(), held_out, seed=0)["found_within"]
    number = -(-length // 8)
    assert len(found) == min(number, 16)
    for picked, share in enumerate(found, start=1):
        chance = picked / number
        error = (chance * (1 - chance) / SEQUENCES) ** 0.5
        assert abs(share - chance) <= 3 * error + 1e-6


def test_the_place_of_the_evidence_at_random_is_the_middle():
    """Among C candidates (C + 1) / 2, with a variance of (C^2 - 1) / 12."""
    task = Evidence(length=61, vocabulary=25, min_distance=8, distractors=2)
    torch.manual_seed(0)
    for router, number in ((RandomRouter(candidates="others"), 60), (RandomRouter(segment=8), 8)):
        experiment = Experiment(task=task, width=4, representation=Embedding(), router=router)
        held_out = task.draw(SEQUENCES, 0, "test")
        found = measure(experiment.build(), held_out, seed=0)
        error = ((number**2 - 1) / 12 / SEQUENCES) ** 0.5
        assert abs(found["place"] - (number + 1) / 2) <= 3 * error
        assert len(found["found_within"]) == min(number, 16)


def test_candidates_that_tie_share_their_places():
    """Content-only vectors of the query and the evidence are equal: places 1 and 2, or 1 alone."""
    task = Evidence(length=37, vocabulary=25, min_distance=8, distractors=2)
    held_out = task.draw(50, 0, "test")
    for candidates, place, found in (("all", 1.5, [0.5, 1]), ("others", 1, [1, 1])):
        torch.manual_seed(0)
        router = Investigator(candidates=candidates)
        raw = Embedding(positions="none")
        model = Experiment(task=task, width=64, representation=raw, router=router).build()
        with torch.no_grad():
            model.router.query.weight.copy_(torch.eye(64))
            model.router.key.weight.copy_(torch.eye(64))
        probes = measure(model, held_out, seed=0)
        assert probes["place"] == place
        assert probes["found_within"][:2] == found
