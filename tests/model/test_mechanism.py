"""What scores are made of, against models whose scores are known."""

from __future__ import annotations

import math

import pytest
import torch

from fcilib.model.by_hand import rank_one_by_hand
from fcilib.model.mechanism import mechanism
from fcilib.representations import Attention, Embedding, Flow
from fcilib.routers import Investigator, RandomRouter, SegmentRouter
from fcilib.study.profiles import PROFILES
from fcilib.training.experiment import Experiment
from fcilib.training.loop import train

SMOKE = PROFILES["smoke"]


def experiment(**parts) -> Experiment:
    sizes = {"task": SMOKE.evidence, "width": SMOKE.width, "training": SMOKE.training}
    router = {"representation": Embedding(), "router": Investigator()}
    return Experiment(**(sizes | router | {"probing": "mechanism"} | parts))


def identity_model(**more):
    """Scores x_i . x_j of vectors without positions: one number for a match, others by chance."""
    model = experiment(representation=Embedding(**more), router=Investigator(heads=1)).build()
    with torch.no_grad():
        for weights in (model.router.query.weight, model.router.key.weight):
            weights.copy_(torch.eye(len(weights)))
    return model


def test_without_positions_the_query_matches_itself_as_the_evidence_does():
    model = identity_model(positions="none")
    held_out = SMOKE.evidence.draw(64, 0, "test")
    measured = mechanism(model, held_out)
    assert measured["precision_others"] == 1.0
    assert measured["token_match"] > 2
    assert math.isclose(measured["self_match"], 0, abs_tol=1e-5)
    assert "position_form" not in measured


def test_with_positions_the_query_matches_itself_twice():
    measured = mechanism(identity_model(), SMOKE.evidence.draw(64, 0, "test"))
    assert measured["self_match"] > 1
    assert measured["token_form"] > 1
    assert measured["position_form"] > 1


def test_token_match_is_counted_as_by_hand():
    model = identity_model(positions="none")
    batch = SMOKE.evidence.draw(1, 3, "test")
    x = model.represent(batch.tokens)
    scores = model.router(x, batch.query)[0].tolist()
    q, a = int(batch.query), int(batch.evidence)
    rest = [s for j, s in enumerate(scores) if j not in (q, a)]
    mean = sum(rest) / len(rest)
    sd = (sum((s - mean) ** 2 for s in rest) / len(rest)) ** 0.5
    measured = mechanism(model, batch)
    assert measured["token_match"] == pytest.approx((scores[a] - mean) / sd, rel=1e-4)


def test_the_parts_do_not_depend_on_the_batch():
    model, held_out = identity_model(), SMOKE.evidence.draw(50, 0, "test")
    whole = mechanism(model, held_out)
    assert mechanism(model, held_out, batch=7) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(
    "representation",
    [
        Embedding(),
        Embedding(positions="none"),
        Attention(layers=2),
        Flow(layers=1, bidirectional=True),
    ],
)
@pytest.mark.parametrize("normalisation", ["layer", "none"])
def test_tokens_positions_and_layers_add_up_to_the_match_with_itself(representation, normalisation):
    torch.manual_seed(0)
    model = experiment(representation=representation, normalisation=normalisation).build()
    with torch.no_grad():
        for weights in model.norm.parameters():
            weights.add_(0.3 * torch.randn_like(weights))
    measured = mechanism(model, SMOKE.evidence.draw(32, 0, "test"))
    parts = [measured[f"self_{name}"] for name in ("token", "position", "layers")]
    assert sum(parts) == pytest.approx(measured["self_match"], abs=1e-4)
    if isinstance(representation, Embedding):
        assert parts[2] == pytest.approx(0, abs=1e-5)
    if representation.positions == "none":
        assert parts[1] == 0


def test_without_a_norm_the_query_and_its_evidence_are_alike_in_their_token():
    measured = mechanism(
        experiment(normalisation="none").build(), SMOKE.evidence.draw(32, 0, "test")
    )
    assert measured["self_token"] == 0


def test_weights_by_hand_give_their_evidence_more_than_the_query():
    task = PROFILES["quick"].evidence
    measured = mechanism(rank_one_by_hand(task, 64, "all"), task.draw(64, 0, "test"))
    assert measured["precision_others"] == 1.0
    assert measured["self_match"] < 0


def test_a_run_keeps_the_parts_before_training_and_after_each_epoch(tmp_path):
    run = experiment()
    outcome = train(run)
    epochs = run.training.epochs
    for name in ("precision_others", "token_match", "self_match", "token_form", "position_form"):
        assert len(outcome.probes[f"{name}_by_epoch"]) == epochs + 1
    plain = train(run.model_copy(update={"probing": "standard"}))
    assert outcome.curve == plain.curve, "watching changes nothing"


def test_a_stopped_run_goes_on_watching(tmp_path):
    run, file = experiment(), tmp_path / "checkpoint.safetensors"
    whole = train(run)

    class Stop(Exception):
        pass

    def stop(done, total, precision):
        if done > total // 2:
            raise Stop

    with pytest.raises(Stop):
        train(run, file, stop)
    assert file.exists()
    assert train(run, file).probes == whole.probes


@pytest.mark.parametrize(
    ("router", "word"), [(None, "no router"), (SegmentRouter(segment=2), "segments")]
)
def test_there_must_be_scores_of_tokens(router, word):
    with pytest.raises(ValueError, match=word):
        experiment(router=router)


def test_a_router_without_a_form_has_no_form_measured():
    model = experiment(router=RandomRouter()).build()
    measured = mechanism(model, SMOKE.evidence.draw(8, 0, "test"))
    assert set(measured) == {"precision_others", "token_match", "self_match"}
