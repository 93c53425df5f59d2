"""The training loop: golden short runs, resumption, and refusal to go on with a broken loss."""

import math
import statistics

import pytest
import torch

from fcilib import training
from fcilib.experiment import Experiment, Training
from fcilib.profiles import PROFILES
from fcilib.representations import Attention, Embedding, Flow, Perceiver
from fcilib.routers import Investigator, RandomRouter, RankOne
from fcilib.tasks import Evidence
from fcilib.training import DivergedError, routing_weight, train

SMOKE = PROFILES["smoke"]


def experiment(representation=None, router=None, **more):
    return Experiment(
        task=SMOKE.evidence,
        width=SMOKE.width,
        representation=representation or Attention(),
        router=router or Investigator(candidates="others"),
        training=SMOKE.training.model_copy(update=more),
    )


# Losses of the last epoch. A change here changes what every record says: raise fcilib.NUMERICS.
GOLDEN = [
    (Embedding(), Investigator(candidates="all"), 4.02198),
    (Attention(layers=2), Investigator(candidates="others"), 3.81518),
    (Flow(layers=1, bidirectional=True), RankOne(candidates="others"), 3.91542),
    (Perceiver(hubs=2), Investigator(candidates="all"), 3.85587),
    (Embedding(), RandomRouter(), 2.98561),
]


@pytest.mark.parametrize(("representation", "router", "loss"), GOLDEN)
def test_golden_short_runs(representation, router, loss):
    outcome = train(experiment(representation, router))
    assert outcome.curve[-1]["loss"] == pytest.approx(loss, rel=2e-3)


def test_a_run_is_repeatable_and_leaves_no_trace_in_the_random_state():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = train(experiment())
    assert torch.equal(torch.rand(3), expected)
    second = train(experiment())
    assert first.curve == second.curve
    assert first.metrics == second.metrics
    assert first.probes == second.probes


class Stopped(Exception):
    pass


@pytest.mark.parametrize("router", [Investigator(candidates="others"), RandomRouter()])
@pytest.mark.parametrize("stop_at", [1, 5, 9])
def test_a_stopped_run_ends_as_if_it_had_not_been(tmp_path, router, stop_at):
    spec = experiment(router=router, epochs=3)
    expected = train(spec)
    steps = []

    def stop(done, total, precision):
        steps.append(done)
        if done >= stop_at:
            raise Stopped

    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        train(spec, checkpoint, stop)
    resumed_from = []
    outcome = train(spec, checkpoint, lambda done, *_: resumed_from.append(done))
    assert resumed_from[0] == 4 * ((stop_at - 1) // 4) + 1
    assert outcome.curve == expected.curve
    assert outcome.metrics == expected.metrics
    assert outcome.probes == expected.probes
    for a, b in zip(outcome.model.parameters(), expected.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_loss_that_is_not_finite_stops_the_run(monkeypatch):
    monkeypatch.setattr(training, "_loss", lambda *_: torch.tensor(math.nan))
    with pytest.raises(DivergedError, match=r"nan at epoch 0, step 0 of \{.*attention"):
        train(experiment())


def test_routing_weight_goes_from_one_end_to_the_other():
    spec = Training(routing_weight=(1.0, 0.1))
    assert routing_weight(spec, 0) == 1.0
    assert routing_weight(spec, 1) == pytest.approx(0.1)
    assert routing_weight(spec, 0.5) == pytest.approx(0.55)
    spec = Training(routing_weight=(1.0, 0.1), routing_decay="exponential")
    assert routing_weight(spec, 0.5) == pytest.approx(math.sqrt(0.1))


def test_bf16_runs_and_is_close():
    full = train(experiment())
    half = train(experiment(precision="bf16"))
    assert half.curve[-1]["loss"] == pytest.approx(full.curve[-1]["loss"], rel=0.05)
    assert half.curve != full.curve


@pytest.mark.parametrize(
    "representation",
    [Attention(positions="none"), Flow(layers=1, bidirectional=True, positions="none")],
    ids=["attention", "flow"],
)
def test_bf16_changes_no_metric_by_more_than_the_seed_does(representation):
    """Stopped while precision still rises: a router that has saturated would hide a difference."""
    full, half = (
        [
            train(
                Experiment(
                    task=Evidence(length=48, vocabulary=64, min_distance=8, distractors=2),
                    width=16,
                    representation=representation,
                    router=Investigator(candidates="others"),
                    training=Training(
                        sequences=500,
                        epochs=2,
                        held_out=512,
                        learning_rate=0.01,
                        precision=precision,
                    ),
                    seed=seed,
                )
            )
            for seed in range(4)
        ]
        for precision in ("fp32", "bf16")
    )
    for a, b in zip(full, half, strict=True):
        assert a.curve != b.curve
        assert 0.4 < a.metrics["precision"] < 0.95  # chance is 1 in 47
    for name in full[0].metrics:
        expected = [outcome.metrics[name] for outcome in full]
        found = [outcome.metrics[name] for outcome in half]
        noise = max(3 * statistics.stdev(expected), 0.05)
        assert abs(statistics.mean(found) - statistics.mean(expected)) <= noise, name


def test_a_content_only_router_learns_the_match_without_any_layer():
    """The chapters' finding in a few seconds: no context is needed when the token is the match."""
    spec = experiment(Embedding(positions="none"), sequences=2000, epochs=2, learning_rate=0.01)
    assert train(spec).metrics["precision"] > 0.95


def test_progress_is_reported_with_live_precision():
    seen = []
    train(experiment(), report=lambda *state: seen.append(state))
    done, total, precision = seen[-1]
    assert done == total == 8
    assert 0 <= precision <= 1
