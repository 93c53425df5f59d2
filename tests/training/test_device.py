"""Training on a GPU: its step on the CPU beside the loop's own, and on a GPU where there is one."""

from functools import partial

import pytest
import torch

from fcilib.layers.attention import SparseAttention
from fcilib.representations import (
    Attention,
    Contrastive,
    Embedding,
    Flow,
    Fourier,
    Frozen,
    Hybrid,
    Perceiver,
)
from fcilib.representations.base import RepresentationSpec
from fcilib.routers import (
    OFUL,
    BloomIndex,
    BM25Index,
    Budgeted,
    ClosedLoop,
    Investigator,
    KMeans,
    LinUCB,
    MemoryBank,
    RankOne,
    SegmentRouter,
    ThompsonSampling,
)
from fcilib.routers.router import RouterSpec
from fcilib.specs.kinds import kinds
from fcilib.specs.size import Size
from fcilib.study.profiles import PROFILES
from fcilib.training import loop
from fcilib.training.experiment import Experiment
from fcilib.training.graph import OnDevice, Steps, capturable
from fcilib.training.loop import DivergedError, train
from fcilib.training.records import Records
from fcilib.training.run import run_one

SMOKE = PROFILES["smoke"]


def experiment(representation, router, **more):
    return Experiment(
        task=SMOKE.evidence,
        width=SMOKE.width,
        representation=representation,
        router=router,
        training=SMOKE.training.model_copy(update=more),
    )


ODD = (Frozen, Hybrid)
"""Representations without defaults; a frozen backbone's states are drawn before training."""

EAGER = (BM25Index, LinUCB, ThompsonSampling, OFUL, Budgeted, KMeans)
"""Routers that can't be captured: their step runs as it stands on every device."""

SIZES = {SegmentRouter: {"segment": 2}, BloomIndex: {"bits": 16, "segment": 2, "k": 4}}
"""Of routers whose defaults are too large for a short sequence."""

KINDS = [
    (Embedding(), Investigator()),
    (Attention(layers=2), Investigator(candidates="others")),
    (Attention(mask="sparse"), Investigator()),
    (Flow(layers=1, bidirectional=True), RankOne()),
    (Perceiver(hubs=2), MemoryBank()),
    (Fourier(), SegmentRouter(segment=2)),
    (Contrastive(epochs=1), ClosedLoop(rounds=2)),
    (Embedding(), BloomIndex(bits=16, segment=2, k=4)),
    (Attention(), None),
]


def written_out(experiment, model, optimizer, scheduler, data, *rest):
    """`loop._epoch`, with the step of GPUs in the place of the loop's own."""
    spec = experiment.training
    if not hasattr(model, "steps"):
        forward, before = partial(loop._forward, model, spec), torch.get_rng_state()
        model.steps = Steps(model, optimizer, data, spec.batch, spec.clip, forward)
        torch.set_rng_state(before)  # on a GPU, steps are made before the epoch is seeded
    with OnDevice(torch.device("cpu")):
        return EPOCH(experiment, model, optimizer, scheduler, data, *rest[:-1], model.steps)


EPOCH = loop._epoch


@pytest.mark.parametrize(("representation", "router"), KINDS)
def test_the_step_of_gpus_gives_the_losses_of_the_loop(monkeypatch, representation, router):
    spec = experiment(representation, router, sequences=120)  # the last batch is a smaller one
    told = []
    expected = train(spec, report=lambda *state: told.append(state)).curve
    monkeypatch.setattr(loop, "_epoch", written_out)
    again = []
    outcome = train(spec, report=lambda *state: again.append(state))
    assert hasattr(outcome.model, "steps")
    losses = [epoch["loss"] for epoch in outcome.curve]
    assert losses == pytest.approx([epoch["loss"] for epoch in expected], rel=1e-6)
    assert [done for done, *_ in again] == [done for done, *_ in told] == list(range(1, 9))
    assert [p for *_, p in again] == pytest.approx([p for *_, p in told], nan_ok=True)


TINY = {"sequences": 28, "batch": 8, "held_out": 8}

EVERY = [
    *((kind(), Investigator()) for kind in kinds(RepresentationSpec).values() if kind not in ODD),
    (Hybrid(layers=("attention", "bidirectional-flow")), Investigator()),
    *(
        (Embedding(), kind(**SIZES.get(kind, {})))
        for kind in kinds(RouterSpec).values()
        if kind not in EAGER
    ),
]
"""Each representation that the library lists, with the Investigator; each other router, on raw
embeddings."""


@pytest.mark.parametrize(("representation", "router"), EVERY)
def test_of_every_kind_the_step_of_gpus_gives_the_losses_of_the_loop(
    monkeypatch, representation, router
):
    """The first loss to the last bit; later ones as far as two orders of the same sums allow.

    The optimizer is written out for GPUs, and the gradient of embeddings is a matrix product.
    """
    spec = experiment(representation, router, **TINY)
    assert capturable(spec.build())
    losses = {}
    for name, epoch in (("loop", EPOCH), ("gpu", written_out)):
        steps = losses[name] = []
        whole = loop._forward

        def forward(*arguments, steps=steps, whole=whole):
            loss, output = whole(*arguments)
            steps.append(loss.detach())
            return loss, output

        with monkeypatch.context() as patch:
            patch.setattr(loop, "_epoch", epoch)
            patch.setattr(loop, "_forward", forward)
            train(spec)
    found = torch.stack(losses["gpu"][-8:])  # what comes before is the warm-up of a capture
    expected = torch.stack(losses["loop"])
    assert len(expected) == 8
    assert found[0] == expected[0]
    torch.testing.assert_close(found, expected, rtol=3e-6, atol=0)


def test_a_run_can_go_on_with_the_other_step(monkeypatch, tmp_path):
    spec = experiment(Attention(), Investigator(), epochs=3)
    expected = train(spec).curve

    def stop(done, total, precision):
        if done > 4:
            raise KeyboardInterrupt

    for first, second in [(written_out, EPOCH), (EPOCH, written_out)]:
        checkpoint = tmp_path / first.__name__
        monkeypatch.setattr(loop, "_epoch", first)
        with pytest.raises(KeyboardInterrupt):
            train(spec, checkpoint, stop)
        monkeypatch.setattr(loop, "_epoch", second)
        curve = train(spec, checkpoint).curve
        losses = [epoch["loss"] for epoch in curve]
        assert losses == pytest.approx([epoch["loss"] for epoch in expected], rel=1e-6)


def test_a_loss_that_is_not_finite_is_named_with_its_step(monkeypatch):
    monkeypatch.setattr(loop, "_epoch", written_out)
    with pytest.raises(DivergedError, match=r"epoch 0, step [1-3] of"):
        train(experiment(Embedding(), Investigator(), learning_rate=1e38))


@pytest.mark.parametrize(
    ("router", "fixed"),
    [
        (None, True),
        (Investigator(), True),
        (BM25Index(segment=2, k=4), False),
        (LinUCB(within=8), False),
        (Budgeted(), False),
    ],
)
def test_what_learns_from_outcomes_or_reads_on_the_host_is_not_captured(router, fixed):
    assert capturable(experiment(Embedding(), router).build()) is fixed


def test_modules_make_their_index_ranges_on_the_device_and_draw_on_the_cpu():
    with OnDevice(torch.device("meta")):
        assert torch.arange(3).device.type == torch.zeros(3).device.type == "meta"
        assert torch.arange(3, device="cpu").device.type == "cpu"
        assert torch.randperm(3).device.type == torch.rand(3).device.type == "cpu"


@pytest.mark.parametrize("shape", [(7,), (3, 5)])
def test_the_gradient_of_embeddings_without_sorting(shape):
    table = torch.nn.Embedding(6, 4)
    index = torch.randint(6, shape)
    weights = torch.randn(*shape, 4)
    (table(index) * weights).sum().backward()
    expected, table.weight.grad = table.weight.grad, None
    with OnDevice(torch.device("cpu")):
        found = table(index)
        (found * weights).sum().backward()
    assert torch.equal(found, table.weight[index])
    torch.testing.assert_close(table.weight.grad, expected)


@pytest.mark.parametrize("length", [20, 32])
def test_sparse_attention_of_a_shorter_sequence_has_fewer_global_tokens(length):
    torch.manual_seed(0)
    layer = SparseAttention(Size(16, 32, 8), 2, window=4, global_tokens=6)
    x = torch.randn(2, length, 8)
    q, k, v = layer.split(x)
    mask = layer.allowed(length)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(layer.attend(q, k, v), expected)


GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def gpu(test):
    for mark in GPU:
        test = mark(test)
    return test


@gpu
@pytest.mark.parametrize(
    ("representation", "router"),
    [
        *KINDS,
        (Embedding(), LinUCB(within=8)),
        (Embedding(), Budgeted()),
        (Embedding(), BM25Index(segment=2, k=4)),
    ],
)
def test_a_gpu_gives_the_losses_of_the_cpu(representation, router):
    spec = experiment(representation, router, sequences=120)
    # Of segments that a filter affirms, and of what a bandit values alike, devices take others.
    ties = isinstance(router, (BloomIndex, Budgeted))
    expected, found = train(spec), train(spec, device="cuda")
    for cpu, cuda in zip(expected.curve, found.curve, strict=True):
        assert cuda["loss"] == pytest.approx(cpu["loss"], rel=5e-3 if ties else 1e-3)
    assert found.probes.keys() == expected.probes.keys()


@gpu
def test_a_gpu_repeats_itself_and_is_named_in_the_record(tmp_path):
    spec = experiment(Flow(layers=1), Investigator(), precision="bf16")
    first, second = (run_one(spec, Records(tmp_path / n), device="cuda") for n in ("a", "b"))
    assert first.curve == second.curve
    assert first.device == f"cuda: {torch.cuda.get_device_name()}"
