"""The step of GPUs beside torch's own optimizer, on a model small enough to follow."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fcilib.model.fci import Output
from fcilib.tasks import Batch
from fcilib.training.graph import FEW_ROWS, OnDevice, Steps, hit_rate

CPU = torch.device("cpu")
COUNT = 22
BATCH = 5


class Model(nn.Module):
    """Logistic regression, with one parameter that is frozen and one that nothing depends on."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.linear = nn.Linear(4, 3)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, batch):
        logits = self.linear(batch.tokens.float()) + self.frozen
        scores = self.linear(batch.tokens.float())
        return Output(logits, scores, None)

    def step(self, batch, weight):
        output = self(batch)
        routing = F.cross_entropy(output.scores, batch.evidence)
        return F.cross_entropy(output.logits, batch.label) + weight * routing, output


def sequences():
    rng = torch.Generator().manual_seed(0)
    drawn = (torch.randint(3, (COUNT,), generator=rng) for _ in range(3))
    return Batch(torch.randint(9, (COUNT, 4), generator=rng), *drawn)


def optimised(model, steps, **options):
    settings = {"lr": 0.2, "weight_decay": 0.5, "eps": 0.01, "betas": (0.9, 0.95), **options}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, **settings)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=steps)
    return optimizer, scheduler


def plan(epochs):
    """Orders and routing weights of each epoch; the last batch of an epoch has two sequences."""
    rng = torch.Generator().manual_seed(1)
    for epoch in range(epochs):
        order = torch.randperm(COUNT, generator=rng).split(BATCH)
        yield order, [1.0 / (1 + epoch + n) for n in range(len(order))]


def by_torch(epochs, clip):
    model, data = Model(), sequences()
    optimizer, scheduler = optimised(model, 5 * epochs)
    losses, hits = [], []
    for order, weights in plan(epochs):
        for index, weight in zip(order, weights, strict=True):
            optimizer.zero_grad()
            batch = data[index]
            loss, output = model.step(batch, weight)
            best = output.scores.argmax(dim=1)
            hits.append((best == batch.evidence).double().mean().item())
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
    return model, optimizer, scheduler, losses, hits


@pytest.mark.parametrize("clip", [0.05, 100.0])
@pytest.mark.parametrize("anew", [False, True], ids=["once", "made anew for each epoch"])
def test_the_step_written_out_is_adamw(clip, anew):
    """With decay, eps and clip so large that each of them would be missed."""
    epochs = 3
    expected, torchs, schedule, losses, hits = by_torch(epochs, clip)
    model, data = Model(), sequences()
    optimizer, scheduler = optimised(model, 5 * epochs)
    found, told, steps = [], [], None
    for order, weights in plan(epochs):
        if steps is None or anew:
            steps = Steps(model, optimizer, data, BATCH, clip, model.step)
        found += steps.epoch(order, weights, scheduler, lambda *state: told.append(state))
    assert found == pytest.approx(losses, rel=1e-5)
    assert [done for done, _ in told] == [1, 2, 3, 4, 5] * epochs
    assert [hit for _, hit in told] == pytest.approx(hits)
    assert scheduler.last_epoch == schedule.last_epoch == 5 * epochs
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    assert torch.equal(model.unused, torch.ones(2)), "nothing depends on it"
    moments, theirs = optimizer.state_dict()["state"], torchs.state_dict()["state"]
    assert moments.keys() == theirs.keys()
    for number, state in theirs.items():
        assert moments[number].keys() == state.keys()
        for name, value in state.items():
            torch.testing.assert_close(moments[number][name], value, rtol=1e-5, atol=1e-7)


def test_steps_made_leave_everything_as_it_was():
    model, data = Model().eval(), sequences()
    optimizer, scheduler = optimised(model, 5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = []

    def forward(batch, weight):
        seen.append((len(batch), model.training))
        return model.step(batch, weight)

    steps = Steps(model, optimizer, data, BATCH, 1.0, forward)
    assert seen == [(5, True)] * 3  # warmed up, in the mode of training
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(p.grad is None for p in model.parameters())
    assert [p.shape for p in steps.learning] == [(3, 4), (3,)]
    for p in steps.learning:
        state = optimizer.state[p]
        assert {name: value.count_nonzero().item() for name, value in state.items()} == {
            "step": 0,
            "exp_avg": 0,
            "exp_avg_sq": 0,
        }
    assert steps.graph is None
    scheduler.step()  # torch would warn of an optimizer that has not made a step


def test_an_epoch_may_be_one_step():
    """Of a batch that is larger than the data."""
    model, data = Model(), sequences()
    optimizer, scheduler = optimised(model, 1)
    steps = Steps(model, optimizer, data, 2 * COUNT, 100.0, model.step)
    expected = model.step(data, 0.5)[0].item()
    order = (torch.arange(COUNT),)
    assert steps.epoch(order, [0.5], scheduler, None) == pytest.approx([expected])


@pytest.mark.parametrize(
    ("count", "told"), [(99, list(range(1, 100))), (150, list(range(3, 151, 3)))]
)
def test_it_tells_some_fifty_times_an_epoch(count, told):
    model = Model()
    rng = torch.Generator().manual_seed(0)
    drawn = (torch.randint(3, (count,), generator=rng) for _ in range(3))
    data = Batch(torch.randint(9, (count, 4), generator=rng), *drawn)
    optimizer, scheduler = optimised(model, count)
    steps = Steps(model, optimizer, data, 1, 1.0, model.step)
    seen = []
    order = torch.arange(count).split(1)
    steps.epoch(order, [1.0] * count, scheduler, lambda done, _: seen.append(done))
    assert seen == told


def test_an_epoch_that_nobody_is_told_of_gives_its_losses():
    model = Model()
    optimizer, scheduler = optimised(model, 5)
    ((order, weights),) = plan(1)
    steps = Steps(model, optimizer, sequences(), BATCH, 0.05, model.step)
    assert steps.epoch(order, weights, scheduler, None) == pytest.approx(by_torch(1, 0.05)[3])


@pytest.mark.parametrize(
    ("rows", "trained", "ours"),
    [(FEW_ROWS, True, True), (FEW_ROWS + 1, True, False), (8, False, False), (8, True, True)],
)
def test_small_tables_that_are_trained_have_a_gradient_without_sorting(rows, trained, ours):
    table = nn.Embedding(rows, 2)
    table.weight.requires_grad_(trained)
    index = torch.tensor([[0, rows - 1], [0, 3]])
    with OnDevice(CPU):
        found = table(index)
    assert torch.equal(found, table.weight[index])
    assert (found.grad_fn is not None) is trained
    assert ("Lookup" in str(found.grad_fn)) is ours


def test_only_what_makes_a_range_is_put_on_the_device():
    with OnDevice(torch.device("meta")):
        made = [torch.arange(3), torch.zeros(3), torch.ones(3), torch.eye(3)]
        assert {value.device.type for value in made} == {"meta"}
        assert torch.zeros(2, dtype=torch.int64).dtype == torch.int64
        assert torch.tensor([1.0]).device.type == "cpu"
        assert torch.full((2,), 1.0).device.type == "cpu"


def test_the_rate_of_hits_by_hand():
    scores = torch.tensor([[0.0, 2, 1], [5, 4, 3], [-math.inf, 0, 1], [1, 2, 3]])
    evidence = torch.tensor([1, 0, 0, 2])
    batch = Batch(torch.zeros(4, 3).long(), evidence, evidence, evidence)
    assert hit_rate(Output(torch.zeros(4, 5), scores, None), batch).item() == 0.75
    by_segments = Batch(batch.tokens, 2 * evidence, 2 * evidence + 1, evidence)
    assert hit_rate(Output(torch.zeros(4, 5), scores, None, 2), by_segments).item() == 0.75
    without = hit_rate(Output(torch.zeros(4, 5), None, None), batch)
    assert without.shape == ()
    assert without.isnan()
