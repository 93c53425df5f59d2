"""What `train` hands on to its parts, on runs of a few steps."""

import math

import pytest
import torch

from fcilib.model import probes
from fcilib.model.mechanism import mechanism
from fcilib.representations import Contrastive, Embedding
from fcilib.routers import Investigator, LinUCB, RandomRouter
from fcilib.study.profiles import PROFILES
from fcilib.training import loop
from fcilib.training.experiment import Experiment, Training
from fcilib.training.loop import train

SMOKE = PROFILES["smoke"]
STEPS = 3
"""Of an epoch, with a last batch of four sequences."""


def experiment(representation=None, probing="standard", seed=0, **training):
    sizes = {"sequences": 20, "batch": 8, "epochs": 2, "held_out": 12}
    return Experiment(
        task=SMOKE.evidence,
        width=SMOKE.width,
        representation=representation or Embedding(),
        router=Investigator(candidates="others"),
        training=Training(**{**sizes, **training}),
        probing=probing,
        seed=seed,
    )


class Stopped(Exception):
    pass


def stop_after(steps, seen=None):
    def report(done, total, precision):
        if seen is not None:
            seen.append(done)
        if done == steps:
            raise Stopped

    return report


class Name(str):
    """The name of a CPU that says it is something else."""

    type = "elsewhere"


class Elsewhere:
    """torch, but that every device is elsewhere, and on the CPU all the same."""

    device = staticmethod(lambda _: Name("cpu"))

    def __getattr__(self, name):
        return getattr(torch, name)


@pytest.fixture
def elsewhere(monkeypatch):
    """`train` as it is on a GPU.

    Gives the devices of its modes, and how many were open at each call of its parts.
    """
    seen = {"devices": [], "open": 0, "steps": [], "passes": 0, "epochs": [], "evaluated": []}

    class OnDevice(loop.OnDevice):
        def __init__(self, device):
            seen["devices"].append(device)
            super().__init__(device)

        def __enter__(self):
            seen["open"] += 1
            return super().__enter__()

        def __exit__(self, *error):
            seen["open"] -= 1
            return super().__exit__(*error)

    class Steps(loop.Steps):
        def __init__(self, *parts):
            seen["steps"].append(seen["open"])
            super().__init__(*parts)

        def epoch(self, *parts):
            seen["passes"] += 1
            return super().epoch(*parts)

    def watch(name, whole):
        def watched(*parts, **more):
            seen[name].append(seen["open"])
            return whole(*parts, **more)

        return watched

    monkeypatch.setattr(loop, "OnDevice", OnDevice)
    monkeypatch.setattr(loop, "Steps", Steps)
    monkeypatch.setattr(loop, "_epoch", watch("epochs", loop._epoch))
    monkeypatch.setattr(loop, "evaluate", watch("evaluated", loop.evaluate))
    monkeypatch.setattr(loop, "torch", Elsewhere())
    return seen


@pytest.mark.parametrize("data", ["fixed", "fresh"])
def test_elsewhere_a_run_takes_the_step_of_gpus_and_ends_alike(request, data, tmp_path):
    spec = experiment(data=data, epochs=3, clip=0.1, batch=8, learning_rate=0.01)
    expected = train(spec)
    assert not expected.captured
    seen = request.getfixturevalue("elsewhere")
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Stopped):
        train(spec, checkpoint, stop_after(STEPS + 1), device="some")
    found = train(spec, checkpoint, device="some")
    assert found.captured
    assert {device.type for device in seen["devices"]} == {"elsewhere"}
    assert seen["open"] == 0
    assert seen["steps"] == [1, 1]  # made twice, in the mode
    assert set(seen["epochs"]) == set(seen["evaluated"]) == {1}
    assert seen["passes"] == len(seen["epochs"]) == 2 + 2
    for epoch, other in zip(found.curve, expected.curve, strict=True):
        assert epoch == pytest.approx(other, rel=1e-4)
    for name, value in expected.model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[name], value, rtol=1e-3, atol=1e-3)


def test_elsewhere_a_model_that_is_not_trained_is_only_measured(elsewhere):
    outcome = train(experiment(epochs=0), device="some")
    assert not outcome.captured
    assert elsewhere["steps"] == elsewhere["epochs"] == []
    assert elsewhere["evaluated"] == [1]


def test_elsewhere_a_router_that_learns_from_outcomes_has_no_graph(elsewhere):
    spec = experiment().model_copy(update={"router": LinUCB(within=8)})
    assert not train(spec, device="some").captured
    assert elsewhere["steps"] == []
    assert elsewhere["epochs"] == [1, 1]


@pytest.mark.parametrize(("sequences", "epochs", "steps"), [(20, 2, 6), (8, 1, 1), (8, 2, 2)])
def test_the_optimizer_is_as_it_is_described(monkeypatch, sequences, epochs, steps):
    seen = []
    whole = loop._epoch

    def look(spec, model, optimizer, scheduler, *rest):
        seen.append((model, optimizer, scheduler))
        return whole(spec, model, optimizer, scheduler, *rest)

    monkeypatch.setattr(loop, "_epoch", look)
    frozen = Embedding(embeddings="frozen")
    training = {"learning_rate": 0.02, "weight_decay": 0.3}
    outcome = train(experiment(frozen, sequences=sequences, epochs=epochs, **training))
    model, optimizer, scheduler = seen[0]
    assert isinstance(optimizer, torch.optim.AdamW)
    (group,) = optimizer.param_groups
    assert (group["weight_decay"], group["max_lr"], group["fused"]) == (0.3, 0.02, True)
    assert scheduler.total_steps == scheduler.last_epoch == steps
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in group["params"]} == trained
    assert len(trained) < len(list(model.parameters()))
    assert outcome.parameters == sum(p.numel() for p in group["params"])


@pytest.fixture
def clock(monkeypatch):
    """Stands still, but when it is moved."""
    now = [5000.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    return now


def test_the_time_of_a_run_is_that_of_all_its_parts(clock, tmp_path):
    """Ten seconds a step; the step after the epoch's end was for nothing."""
    spec, checkpoint = experiment(), tmp_path / "checkpoint"

    def stop(done, *_):
        clock[0] += 10
        if done == STEPS + 1:
            raise Stopped

    def go(*_):
        clock[0] += 10

    assert train(spec, report=go).seconds == 60
    with pytest.raises(Stopped):
        train(spec, checkpoint, stop)
    clock[0] = 70.0  # another process
    assert train(spec, checkpoint, go).seconds == 60
    assert train(spec, checkpoint, go).seconds == 60
    assert train(experiment(epochs=0)).seconds == 0


def test_a_checkpoint_without_a_note_that_came_later_is_gone_on_with(monkeypatch, tmp_path):
    spec, checkpoint = experiment(), tmp_path / "checkpoint"
    expected = train(spec)
    with pytest.raises(Stopped):
        train(spec, checkpoint, stop_after(STEPS + 1))
    whole = loop.load_checkpoint

    def older(*parts):
        notes = whole(*parts)
        return {name: notes[name] for name in ("curve", "seconds")}

    monkeypatch.setattr(loop, "load_checkpoint", older)
    seen = []
    assert train(spec, checkpoint, stop_after(None, seen)).curve == expected.curve
    assert seen == [4, 5, 6]


@pytest.mark.parametrize("seed", [0, 3])
def test_an_outcome_is_measured_on_what_the_seed_draws(seed):
    spec = experiment(probing="thorough", seed=seed)
    outcome = train(spec)
    held_out = spec.task.draw(12, seed, "test")
    assert outcome.probes == probes.measure(outcome.model, held_out, seed, "thorough")
    assert len(outcome.curve) == 2
    assert outcome.metrics == loop.evaluate(outcome.model, held_out, spec.training)
    assert outcome.curve[-1] == {**outcome.metrics, "loss": outcome.curve[-1]["loss"]}
    assert outcome.curve[0] != outcome.curve[1]
    assert all(math.isfinite(epoch["loss"]) for epoch in outcome.curve)


def test_the_mechanism_is_measured_before_training_and_after_each_epoch(tmp_path):
    spec, checkpoint = experiment(probing="mechanism", learning_rate=0.05), tmp_path / "checkpoint"
    outcome = train(spec)
    held_out = spec.task.draw(12, 0, "test")
    torch.manual_seed(0)
    before, after = mechanism(spec.build(), held_out), mechanism(outcome.model, held_out)
    assert before.keys() == after.keys()
    kept = {name: outcome.probes[f"{name}_by_epoch"] for name in before}
    for name, values in kept.items():
        assert len(values) == 3
        assert values[0] == pytest.approx(before[name], abs=6e-6)
        assert values[-1] == pytest.approx(after[name], abs=6e-6)
        assert values == [float(f"{value:.5f}") for value in values]
    assert any(round(after[name], 5) != round(after[name], 6) for name in after)
    standard = train(experiment(learning_rate=0.05)).probes
    assert outcome.probes.keys() == standard.keys() | {f"{name}_by_epoch" for name in before}
    with pytest.raises(Stopped):
        train(spec, checkpoint, stop_after(STEPS + 1))
    assert train(spec, checkpoint).probes == outcome.probes


def test_what_comes_before_training_is_done_once_and_elsewhere_in_the_mode(
    elsewhere, monkeypatch, tmp_path
):
    done = []
    monkeypatch.setattr(
        "fcilib.representations.contrastive.MatchedEmbedding.pretrain",
        lambda self, data: done.append((len(data), elsewhere["open"])),
    )
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Stopped):
        train(experiment(Contrastive(epochs=1)), checkpoint, stop_after(STEPS + 1), "some")
    train(experiment(Contrastive(epochs=1)), checkpoint, device="some")
    assert done == [(20, 1)]


@pytest.mark.parametrize("targets", ["true", "shuffled"])
@pytest.mark.parametrize("seed", [0, 2])
def test_the_sequences_of_an_epoch(targets, seed):
    spec = experiment(targets=targets, seed=seed)
    for epoch, drawn_by in ((0, seed), (1, loop._mix(seed, 1)), (2, loop._mix(seed, 2))):
        drawn = spec.task.draw(20, drawn_by, "train")
        found = loop._sequences(spec, epoch)
        assert torch.equal(found.tokens, drawn.tokens)
        assert torch.equal(found.query, drawn.query)
        order = torch.arange(20)
        if targets == "shuffled":
            order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(found.evidence, drawn.evidence[order])
        assert torch.equal(found.label, drawn.label[order])


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_products_are_of_the_precision_that_is_asked_for(precision, dtype):
    with loop.autocast(Training(precision=precision), "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize("data", ["fixed", "fresh"])
def test_every_epoch_is_trained_on_the_sequences_that_are_asked_for(monkeypatch, data):
    spec, seen = experiment(data=data, epochs=3, seed=2), []
    whole = loop._epoch

    def look(spec, model, optimizer, scheduler, data, *rest):
        seen.append(data.tokens.clone())
        return whole(spec, model, optimizer, scheduler, data, *rest)

    monkeypatch.setattr(loop, "_epoch", look)
    train(spec)
    drawn_by = [2, 2, 2] if data == "fixed" else [2, 2 * 1_000_003 + 2, 2 * 1_000_003 + 3]
    for tokens, number in zip(seen, drawn_by, strict=True):
        assert torch.equal(tokens, spec.task.draw(20, number, "train").tokens)


def test_the_last_of_the_curve_is_what_is_reported_though_a_second_look_would_differ():
    """A random router scores anew each time."""
    outcome = train(experiment().model_copy(update={"router": RandomRouter()}))
    assert outcome.curve[-1] == {**outcome.metrics, "loss": outcome.curve[-1]["loss"]}
