"""The training loop: golden short runs, resumption, and refusal to go on with a broken loss."""

import math
import statistics

import pytest
import torch

from fcilib.model.fci import Output
from fcilib.model.film import FILM, FILMED, film_group, shares
from fcilib.representations import Attention, Contrastive, Embedding, Flow, Perceiver
from fcilib.routers import (
    OFUL,
    BloomIndex,
    BM25Index,
    Budgeted,
    ClosedLoop,
    Investigator,
    LinUCB,
    MemoryBank,
    RandomRouter,
    RankOne,
    SegmentRouter,
    ThompsonSampling,
)
from fcilib.study.profiles import PROFILES
from fcilib.tasks import Batch, Evidence
from fcilib.training import loop as training
from fcilib.training.experiment import Experiment, Training
from fcilib.training.loop import DivergedError, evaluate, routing_weight, train
from fcilib.training.records import Records
from fcilib.training.run import run_one

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


@pytest.mark.parametrize(
    ("representation", "router"),
    [
        (Attention(), Investigator(candidates="others")),
        (Attention(), RandomRouter()),
        (Contrastive(epochs=2), Investigator()),
        (Contrastive(epochs=2, frozen=False), MemoryBank()),
        (Embedding(), ThompsonSampling(within=8, features="product")),
        (Embedding(), Budgeted()),
        (Embedding(), ClosedLoop()),
        (Embedding(), BloomIndex(segment=4)),
    ],
)
@pytest.mark.parametrize("stop_at", [1, 5, 9])
def test_a_stopped_run_ends_as_if_it_had_not_been(tmp_path, representation, router, stop_at):
    spec = experiment(representation, router, epochs=3)
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
    ended, whole = outcome.model.state_dict(), expected.model.state_dict()
    assert list(ended) == list(whole)
    assert all(torch.equal(ended[name], whole[name]) for name in whole)


@pytest.mark.parametrize("router", [Investigator(candidates="others"), RandomRouter()])
def test_shares_by_epoch_are_a_film_that_a_stop_does_not_cut(tmp_path, router):
    """Of the untrained model and after each epoch; keeping them changes nothing else."""
    spec = experiment(router=router, epochs=3)
    plain, filmed = train(spec), spec.model_copy(update={"probing": "by-epoch"})
    whole = train(filmed)
    assert (whole.metrics, whole.curve) == (plain.metrics, plain.curve)
    film = torch.tensor(whole.probes["shares_by_epoch"]).view(4, FILMED, 2 + spec.task.length)
    assert torch.allclose(film.sum(2), torch.ones(4, FILMED), atol=1e-2)
    if router.kind == "investigator":
        batch = spec.task.draw(spec.training.held_out, 0, "test")[torch.arange(FILMED)]
        with torch.no_grad():
            last = whole.model(batch.tokens, batch.query).scores.softmax(dim=1)
        rows = torch.arange(FILMED)
        assert torch.allclose(film[-1, :, 0], last[rows, batch.evidence], atol=1e-4)
        assert film[:, :, 1].count_nonzero() == 0, "the query is no candidate"
        last[rows, batch.evidence] = 0
        assert torch.allclose(film[-1, :, 2:], last, atol=1e-4)

    checkpoint = tmp_path / "checkpoint.safetensors"

    def stop(done, *_):
        if done > 9:
            raise Stopped

    with pytest.raises(Stopped):
        train(filmed, checkpoint, stop)
    assert train(filmed, checkpoint).probes == whole.probes


def test_a_long_film_is_as_small_as_a_short_one():
    paper = PROFILES["paper"]
    assert film_group(32, 2) == 1
    for sizes in (PROFILES["quick"], paper):
        group = film_group(sizes.evidence.length, sizes.training.epochs)
        kept = math.ceil(sizes.evidence.length / group) + 2
        assert FILMED * kept * (sizes.training.epochs + 1) <= 1.2 * FILM
    spec = experiment().model_copy(update={"probing": "by-epoch"})
    model, data = spec.build(), spec.task.draw(4, 0, "test")
    single, coarse = shares(model, data, 2), shares(model, data, 2000)
    assert len(coarse) < len(single)
    assert sum(coarse) == pytest.approx(sum(single), abs=0.01)


def test_a_model_without_a_router_has_no_film():
    with pytest.raises(ValueError, match="probing: 'by-epoch' keeps a router's scores"):
        Experiment(task=SMOKE.evidence, representation=Attention(), router=None, probing="by-epoch")


def test_a_run_that_is_resumed_is_not_pretrained_again(tmp_path, monkeypatch):
    spec = experiment(Contrastive(epochs=1), epochs=2)
    checkpoint = tmp_path / "checkpoint.safetensors"
    train(spec, checkpoint)
    monkeypatch.setattr(
        "fcilib.representations.contrastive.MatchedEmbedding.pretrain",
        lambda *_: pytest.fail("again"),
    )
    train(spec, checkpoint)


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
    spec = Training(routing_weight=(4.0, 1.0), routing_decay="exponential")
    assert [routing_weight(spec, p) for p in (0, 0.5, 1)] == pytest.approx([4, 2, 1])


class Answering:
    """A model whose answers were said beforehand; it keeps what it is asked."""

    def __init__(self, batch, logits, scores, picks, k):
        self.answers = {tuple(row.tolist()): n for n, row in enumerate(batch.tokens)}
        self.logits, self.scores, self.picks = logits, scores, picks
        self.router_spec = None if k is None else Investigator(k=k, neighbours=0)
        self.asked, self.mode = [], None

    def eval(self):
        self.mode = "eval"

    def __call__(self, tokens, query, evidence):
        assert not torch.is_grad_enabled()
        self.asked.append((query.tolist(), evidence.tolist()))
        rows = [self.answers[tuple(row.tolist())] for row in tokens]
        if self.scores is None:
            return Output(self.logits[rows], None, None)
        return Output(self.logits[rows], self.scores[rows], self.picks[rows])


def held_out_by_hand():
    """Five sequences of four tokens, and what a model says of them: right on four, three, three."""
    batch = Batch(
        tokens=torch.arange(20).view(5, 4),
        query=torch.tensor([3, 3, 3, 3, 0]),
        evidence=torch.tensor([0, 1, 2, 0, 1]),
        label=torch.tensor([0, 1, 2, 0, 1]),
    )
    logits = torch.eye(3)[torch.tensor([0, 1, 2, 0, 2])]
    scores = torch.tensor([[9.0, 1, 2, 0], [1, 9, 0, 2], [1, 3, 2, 0], [4, 4, 1, 0], [5, 1, 2, 3]])
    picks = torch.tensor([[0, 2, 1], [1, 3, 0], [1, 2, 0], [1, 0, 2], [0, 3, 2]])
    return batch, logits, scores, picks


def test_metrics_are_means_over_all_held_out_sequences():
    batch, logits, scores, picks = held_out_by_hand()
    model = Answering(batch, logits, scores, picks, k=2)
    measured = evaluate(model, batch, Training(batch=2))
    # Two sequences at a time; the last is alone.
    assert model.asked == [([3, 3], [0, 1]), ([3, 3], [2, 0]), ([0], [1])]
    assert model.mode == "eval"
    assert measured == {
        "accuracy": pytest.approx(4 / 5),
        "precision": pytest.approx((1 + 1 + 0 + 1 / 2 + 0) / 5),
        "precision_tie_lost": pytest.approx(2 / 5),
        "precision_tie_won": pytest.approx(3 / 5),
        "precision_at_k": pytest.approx(4 / 5),
        "picked_query": pytest.approx(1 / 5),
    }
    alone = Answering(batch, logits, scores, picks, k=1)
    assert evaluate(alone, batch, Training(batch=2))["precision_at_k"] == pytest.approx(2 / 5)
    assert evaluate(alone, batch, Training(batch=50)) == pytest.approx(
        {**measured, "precision_at_k": 2 / 5}
    )


def test_without_a_router_there_is_the_answer_alone():
    batch, logits, *_ = held_out_by_hand()
    model = Answering(batch, logits, None, None, None)
    assert evaluate(model, batch, Training(batch=3)) == {"accuracy": pytest.approx(4 / 5)}


def test_in_training_a_router_is_told_where_the_evidence_was():
    batch, seen = SMOKE.evidence.draw(4, 0), []
    model = experiment().build()
    model.register_forward_pre_hook(lambda _, told: seen.append(told))
    training._forward(model, Training(), batch, 1.0)
    assert all(
        torch.equal(a, b)
        for a, b in zip(seen[0], (batch.tokens, batch.query, batch.evidence), strict=True)
    )


def test_each_seed_and_epoch_has_a_random_state_of_its_own():
    """What records hold was drawn so: a million and three for a seed, one for an epoch."""
    assert [training._mix(0, epoch) for epoch in (0, 1, 5)] == [1, 2, 6]
    assert training._mix(1, 0) == 1_000_004
    assert training._mix(3, 7) == 3_000_017
    # 2^62 times an odd number is 2^62 more than a multiple of 2^63.
    assert training._mix(2**62, 0) == 2**62 + 1


def test_on_a_cpu_a_run_needs_no_mode_that_names_devices(monkeypatch):
    monkeypatch.setattr(training, "OnDevice", lambda _: pytest.fail("a mode for another device"))
    assert not train(experiment(Embedding(), epochs=1)).captured


def test_products_are_bf16_where_that_is_asked_for_whatever_else_torch_would_take(request):
    """Its default differs between devices: half precision on a GPU."""
    request.addfinalizer(lambda: torch.set_autocast_dtype("cpu", torch.bfloat16))
    torch.set_autocast_dtype("cpu", torch.float16)
    x = torch.ones(2, 2)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        with training.autocast(Training(precision=precision), "cpu"):
            assert (x @ x).dtype is dtype


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


def test_live_precision_is_an_average_that_forgets(monkeypatch):
    """A new batch counts for a fifth; the first one is all there is."""
    hits = iter([1.0, 0.0, 0.5, 1.0])
    monkeypatch.setattr(training, "hit_rate", lambda *_: torch.tensor(next(hits)))
    told = []
    train(experiment(epochs=1), report=lambda *state: told.append(state))
    assert told == [
        (1, 4, 1.0),
        (2, 4, pytest.approx(0.8)),
        (3, 4, pytest.approx(0.74)),
        (4, 4, pytest.approx(0.792)),
    ]


@pytest.mark.parametrize(
    ("sequences", "steps"),
    [
        (99, list(range(1, 199))),
        (101, [*range(2, 101, 2), *range(103, 202, 2)]),
        (150, list(range(3, 301, 3))),
    ],
)
def test_progress_is_reported_some_fifty_times_an_epoch(sequences, steps):
    spec = experiment(Embedding(), sequences=sequences, batch=1, epochs=2)
    told = []
    train(spec, report=lambda *state: told.append(state))
    assert [done for done, *_ in told] == steps
    assert {total for _, total, _ in told} == {2 * sequences}


@pytest.mark.parametrize(
    ("sequences", "epochs", "weights"),
    [
        (32, 1, [1.0]),
        (40, 1, [1.0, 0.1]),
        (40, 2, [1.0, 0.7, 0.4, 0.1]),
        (96, 1, [1.0, 0.55, 0.1]),
    ],
)
def test_the_routing_weight_is_the_first_at_the_first_step_and_the_last_at_the_last(
    monkeypatch, sequences, epochs, weights
):
    seen = []
    forward = training._forward

    def look(model, spec, batch, weight):
        seen.append(weight)
        return forward(model, spec, batch, weight)

    monkeypatch.setattr(training, "_forward", look)
    train(experiment(Embedding(), sequences=sequences, epochs=epochs))
    assert seen == pytest.approx(weights)


# The untrained, the misled, and those without a gradient.


@pytest.mark.parametrize("router", [Investigator(), SegmentRouter(segment=4), RandomRouter()])
def test_no_epoch_measures_the_model_as_it_was_initialised(router):
    spec = experiment(router=router, epochs=0)
    outcome = train(spec)
    assert outcome.curve == []
    torch.manual_seed(0)
    model = spec.build()
    for name, value in model.state_dict().items():
        assert torch.equal(outcome.model.state_dict()[name], value), name
    if not isinstance(router, RandomRouter):
        held_out = spec.task.draw(spec.training.held_out, 0, "test")
        assert outcome.metrics == evaluate(model, held_out, spec.training)
    assert {"accuracy", "precision", "precision_at_k"} <= set(outcome.metrics)
    assert train(spec).metrics == outcome.metrics


def test_a_record_of_no_epoch_can_be_read_back(tmp_path):
    spec, records = experiment(epochs=0), Records(tmp_path)
    record = run_one(spec, records)
    assert record.curve == {}
    again = records.read(records.path(spec))
    assert again == record
    assert records.find(spec) == record
    assert again.metrics == pytest.approx(train(spec).metrics, rel=1e-5, abs=1e-5)
    assert again.experiment.identity != experiment().identity


@pytest.mark.parametrize("router", [
    SegmentRouter(segment=5), LinUCB(within=8), Budgeted(fraction=0.3), BloomIndex(segment=5),
    BM25Index(segment=5), MemoryBank(), ClosedLoop(),
], ids=lambda router: router.kind)  # fmt: skip
@pytest.mark.parametrize("probing", ["standard", "thorough", "by-epoch"])
def test_a_record_of_every_router_can_be_read_back(tmp_path, router, probing):
    spec = experiment(Embedding(), router, epochs=1).model_copy(update={"probing": probing})
    records = Records(tmp_path)
    record = run_one(spec, records)
    assert records.read(records.path(spec)) == record
    assert run_one(spec, records) == record
    assert all(math.isfinite(value) for value in record.metrics.values())
    assert ("found_within" in record.probes) == (router.kind != "closed-loop")
    assert ("match_in_product" in record.probes) == (probing == "thorough")
    assert ("shares_by_epoch" in record.probes) == (probing == "by-epoch")


def seen_by(monkeypatch, spec):
    """The training data and the held-out data of a run."""
    seen = {}
    epoch, measured = training._epoch, training.evaluate

    def look(experiment, model, optimizer, scheduler, data, *rest):
        seen["train"] = data
        return epoch(experiment, model, optimizer, scheduler, data, *rest)

    def look_too(model, held_out, spec):
        seen["test"] = held_out
        return measured(model, held_out, spec)

    monkeypatch.setattr(training, "_epoch", look)
    monkeypatch.setattr(training, "evaluate", look_too)
    train(spec)
    monkeypatch.undo()
    return seen["train"], seen["test"]


@pytest.mark.parametrize("seed", [0, 1])
def test_shuffled_targets_are_anothers_in_training_and_true_when_held_out(monkeypatch, seed):
    true, held_out = seen_by(monkeypatch, experiment(epochs=1).with_seed(seed))
    misled, measured = seen_by(
        monkeypatch, experiment(epochs=1, targets="shuffled").with_seed(seed)
    )
    for name in ("tokens", "query", "evidence", "label"):
        assert torch.equal(getattr(measured, name), getattr(held_out, name)), name
    assert torch.equal(misled.tokens, true.tokens)
    assert torch.equal(misled.query, true.query)
    # Evidence and label stay together, each pair of them goes to one sequence.
    pairs = [
        sorted(zip(d.evidence.tolist(), d.label.tolist(), strict=True)) for d in (true, misled)
    ]
    assert pairs[0] == pairs[1]
    assert not torch.equal(misled.evidence, true.evidence)
    rows = torch.arange(len(true))
    right = misled.tokens[rows, misled.evidence] == misled.tokens[rows, misled.query]
    assert right.double().mean() < 0.3
    right = (
        measured.tokens[range(64), measured.evidence] == measured.tokens[range(64), measured.query]
    )
    assert right.all()


def test_shuffled_targets_cannot_be_fitted():
    """What is left to learn is where evidence lies: a match stands there more often than filler."""
    sizes = {"sequences": 2000, "epochs": 2, "learning_rate": 0.01}
    true, misled = (
        train(experiment(Embedding(positions="none"), targets=targets, **sizes))
        for targets in ("true", "shuffled")
    )
    assert misled.curve[-1]["loss"] > true.curve[-1]["loss"] + 1
    assert misled.metrics["precision"] < true.metrics["precision"] - 0.2


WITHOUT_A_GRADIENT = [
    BloomIndex(segment=4),
    BM25Index(segment=4),
    LinUCB(within=8),
    ThompsonSampling(within=8),
    OFUL(within=8),
]


@pytest.mark.parametrize("router", WITHOUT_A_GRADIENT, ids=lambda router: router.kind)
def test_indices_and_bandits_go_through_the_same_loop(router):
    spec = experiment(Embedding(positions="none"), router)
    outcome = train(spec)
    batch = spec.task.draw(32, 0)
    outcome.model.train()
    output = outcome.model(batch.tokens, batch.query, batch.evidence)
    assert not output.scores.requires_grad
    assert output.logits.requires_grad
    loss = training._loss(output, batch, 1.0)
    expected = torch.nn.functional.cross_entropy(output.logits, batch.label)
    assert torch.equal(loss, expected)  # no routing loss, whatever its weight
    assert len(outcome.curve) == 2
    assert {"precision", "picked_query"} <= set(outcome.metrics)
    again = train(spec)
    assert again.curve == outcome.curve
    assert again.probes == outcome.probes
    weighed = train(experiment(Embedding(positions="none"), router, routing_weight=(9.0, 5.0)))
    assert weighed.curve == outcome.curve


@pytest.mark.parametrize(
    "router", [BloomIndex(segment=4), BM25Index(segment=4, candidates="others")]
)
def test_an_index_finds_the_same_whatever_was_trained(router):
    runs = [train(experiment(Embedding(), router, epochs=epochs)) for epochs in (0, 2)]
    for name in ("precision", "precision_at_k", "picked_query"):
        assert runs[0].metrics[name] == runs[1].metrics[name]
    assert runs[0].metrics["accuracy"] != runs[1].metrics["accuracy"]
    if isinstance(router, BM25Index):  # no other segment holds the token
        assert runs[0].metrics["precision"] == 1


# Several questions in a sequence.


def recalling(pairs, asks, router, **more):
    task = SMOKE.mqar.model_copy(update={"form": "multi", "pairs": pairs, "asks": asks})
    return experiment(router=router, **more).model_copy(update={"task": task})


@pytest.mark.parametrize("router", [Investigator(candidates="others"), RankOne()])
def test_asking_all_of_one_question_is_asking_one(router):
    one, every = (train(recalling(1, asks, router)) for asks in ("one", "all"))
    assert one.curve == every.curve
    assert one.probes == every.probes


@pytest.mark.parametrize("router", [Investigator(candidates="others"), None])
def test_the_loss_and_the_metrics_are_means_over_questions(router):
    task = recalling(3, "all", Investigator()).task
    run = experiment().model_copy(update={"task": task, "router": router})
    torch.manual_seed(0)
    model, data = run.build(), task.draw(40, 0)
    _, whole = evaluate_both(model, data, run.training)
    parts = [evaluate_both(model, only(data, n), run.training) for n in range(3)]
    loss = statistics.fmean(part[0] for part in parts)
    assert training._forward(model, run.training, data, 0.5)[0].item() == pytest.approx(loss)
    for name, value in whole.items():
        assert value == pytest.approx(statistics.fmean(part[1][name] for part in parts))


def only(data, n):
    """The nth question of every sequence."""
    return Batch(data.tokens, data.query[:, n], data.evidence[:, n], data.label[:, n])


def evaluate_both(model, data, spec):
    """The loss in training and the metrics of a model."""
    model.train()
    loss = training._forward(model, spec, data, 0.5)[0].item()
    return loss, evaluate(model, data, spec)
