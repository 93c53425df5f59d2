"""Comparisons on a budget: the whole of it is the Investigator, and less of it is a part."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from fcilib.model.fci import Output
from fcilib.representations import Attention, Embedding
from fcilib.routers import Budgeted, Investigator
from fcilib.specs.size import Size
from fcilib.tasks import Batch, Evidence
from fcilib.training.experiment import Experiment, Training
from fcilib.training.loop import _loss, train

SIZE = Size(vocabulary=20, length=37, width=16)
TASK = Evidence(length=33, vocabulary=16, min_distance=8, distractors=2)
CONTROLLERS = ["oful", "random"]


def some(batch=3, length=37):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(batch, length, 16, generator=rng)
    return x, torch.randint(length, (batch,), generator=rng)


def experiment(router, representation=None):
    return Experiment(
        task=TASK,
        width=16,
        representation=representation or Embedding(),
        router=router,
        training=Training(sequences=200, epochs=2, held_out=64),
    )


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("length", [1, 8, 37])
def test_the_whole_budget_is_the_investigator(controller, length):
    x, query = some(length=length)
    x.requires_grad_()
    torch.manual_seed(0)
    ours = Budgeted(fraction=1.0, controller=controller).build(SIZE)
    torch.manual_seed(0)
    theirs = Investigator().build(SIZE)
    got, expected = ours(x, query), theirs(x, query)
    assert torch.equal(got, expected)
    mine = torch.autograd.grad(got.square().sum(), (x, *ours.parameters()))
    its = torch.autograd.grad(expected.square().sum(), (x, *theirs.parameters()))
    assert len(mine) == len(its)
    assert all(torch.equal(a, b) for a, b in zip(mine, its, strict=True))


@pytest.mark.parametrize("candidates", ["all", "others"])
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_run_with_the_whole_budget_is_the_investigators_run(candidates, controller):
    budgeted = Budgeted(fraction=1.0, controller=controller, candidates=candidates)
    ours = train(experiment(budgeted, Attention()))
    theirs = train(experiment(Investigator(candidates=candidates), Attention()))
    assert ours.curve == theirs.curve
    assert ours.metrics == theirs.metrics
    assert ours.parameters == theirs.parameters
    for a, b in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        assert torch.equal(a, b)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 60),
    st.sampled_from([1 / 16, 1 / 8, 0.25, 0.375, 0.5, 0.75, 1.0]),
    st.sampled_from(CONTROLLERS),
    st.booleans(),
)
def test_that_share_of_the_positions_is_compared_rounded_up(length, fraction, controller, training):
    x, query = some(length=length)
    torch.manual_seed(0)
    router = Budgeted(fraction=fraction, controller=controller).build(SIZE).train(training)
    router.rewards.learn(torch.randn(5, 17), torch.rand(5))
    scores = router(x, query)
    compared = scores.isfinite()
    assert compared.sum(dim=1).tolist() == [math.ceil(fraction * length)] * 3
    # What is compared has the Investigator's score.
    torch.testing.assert_close(scores[compared], router.pairwise(x, query)[compared])
    assert scores[~compared].isneginf().all()


@pytest.mark.parametrize(
    ("fraction", "length", "number"),
    [(0.07, 100, 7), (0.28, 25, 7), (0.14, 50, 7), (0.55, 100, 55)],
)
def test_a_share_that_floats_round_up_is_not(fraction, length, number):
    x, query = some(length=length)
    scores = Budgeted(fraction=fraction).build(SIZE)(x, query)
    assert scores.isfinite().sum(dim=1).tolist() == [number] * 3


@pytest.mark.parametrize("training", [True, False])
def test_the_positions_of_most_promise_are_compared(training):
    x, query = some()
    torch.manual_seed(0)
    router = Budgeted(fraction=0.25).build(SIZE).train(training)
    rewards = router.rewards
    rewards.learn(torch.randn(40, 17) / 4, torch.rand(40))
    phi = torch.cat([x / 4, torch.ones(3, 37, 1)], dim=2)
    expected = phi @ rewards.estimate
    if training:
        expected += rewards.radius(0.05, 1.0) * rewards.width(phi)
    promise = router.promise(x)
    torch.testing.assert_close(promise, expected)
    compared = router(x, query).isfinite()
    for row in range(3):
        assert promise[row][compared[row]].min() > promise[row][~compared[row]].max()


def test_the_controllers_regression_has_the_ridge_of_the_description():
    assert Budgeted(ridge=7.0).build(SIZE).rewards.ridge == 7.0


def test_a_random_budget_is_drawn_anew_and_misses_no_position():
    x, query = some(batch=1)
    torch.manual_seed(0)
    router = Budgeted(fraction=0.25, controller="random").build(SIZE)
    compared = torch.cat([router(x, query).isfinite() for _ in range(2000)])
    share = compared.double().mean(dim=0)
    error = (10 / 37 * 27 / 37 / 2000) ** 0.5
    assert (share - 10 / 37).abs().max() < 4 * error


def test_gradients_come_from_what_was_compared_alone():
    x, query = some()
    x.requires_grad_()
    torch.manual_seed(0)
    router = Budgeted(fraction=0.5, controller="random").build(SIZE)
    scores = router(x, query)
    compared = scores.isfinite()
    found = scores.masked_fill(~compared, 0).square().sum()
    got = torch.autograd.grad(found, (x, *router.parameters()))
    expected = router.pairwise(x, query).masked_fill(~compared, 0).square().sum()
    for a, b in zip(got, torch.autograd.grad(expected, (x, *router.parameters())), strict=True):
        torch.testing.assert_close(a, b)
    compared[torch.arange(3), query] = True  # its vector asks, compared or not
    assert not got[0][~compared].any()


def output_and_batch():
    """Five sequences of six positions, the evidence of the second and fourth without a score."""
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 6, generator=rng)
    evidence = torch.tensor([1, 2, 3, 4, 5])
    scores[1, 2] = scores[3, 4] = scores[0, 5] = float("-inf")
    label = torch.randint(7, (5,), generator=rng)
    logits = torch.randn(5, 7, generator=rng)
    batch = Batch(torch.zeros(5, 6, dtype=torch.long), torch.zeros_like(label), evidence, label)
    return logits, scores, batch


def test_the_routing_loss_is_the_mean_over_sequences_whose_evidence_was_compared():
    logits, scores, batch = output_and_batch()
    scores.requires_grad_()
    got = _loss(Output(logits, scores, None), batch, 0.3)
    seen = torch.tensor([0, 2, 4])
    routing = [scores[i].logsumexp(dim=0) - scores[i, batch.evidence[i]] for i in seen.tolist()]
    task = F.cross_entropy(logits, batch.label)
    expected = task + 0.3 * sum(routing) / 3
    torch.testing.assert_close(got, expected)
    gradient = torch.autograd.grad(got, scores)[0]
    assert gradient.isfinite().all()
    assert not gradient[[1, 3]].any()
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, scores)[0])


def test_evidence_that_no_sequence_compared_leaves_the_task_loss_alone():
    logits, scores, batch = output_and_batch()
    scores = scores.scatter(1, batch.evidence[:, None], float("-inf")).requires_grad_()
    got = _loss(Output(logits, scores, None), batch, 1.0)
    assert got.item() == F.cross_entropy(logits, batch.label).item()


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.9])
def test_a_training_step_has_no_nan(controller, fraction):
    torch.manual_seed(0)
    model = experiment(Budgeted(fraction=fraction, controller=controller)).build()
    batch = TASK.draw(16, 0)
    output = model(batch.tokens, batch.query, batch.evidence)
    loss = _loss(output, batch, 1.0)
    loss.backward()
    assert loss.isfinite()
    assert output.logits.isfinite().all()
    given = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(given) > 5
    assert all(gradient.isfinite().all() for gradient in given)


def observed(scores, evidence, x, query, controller="oful"):
    router = Budgeted(controller=controller).build(SIZE)
    router.observe(x, query, scores, evidence)
    return router.rewards


def test_the_controller_learns_from_each_comparison_and_from_nothing_else():
    x, query = some()
    evidence = torch.tensor([3, 30, 7])
    scores = torch.full((3, 37), float("-inf"))
    scores[:, :10] = torch.randn(3, 10, generator=torch.Generator().manual_seed(1))
    rewards = observed(scores, evidence, x, query)
    phi = torch.cat([x[:, :10] / 4, torch.ones(3, 10, 1)], dim=2).flatten(0, 1).double()
    right = torch.zeros(30).double()
    right[3] = right[20 + 7] = 1  # the second sequence's was not compared
    torch.testing.assert_close(rewards.covariance, torch.eye(17).double() + phi.T @ phi)
    torch.testing.assert_close(rewards.response, phi.T @ right)
    # Whatever stands at, or is hidden at, the positions that were not compared.
    changed, moved = x.clone(), evidence.clone()
    changed[:, 10:] += 5
    moved[1] = 20
    other = observed(scores, moved, changed, query)
    for name, value in rewards.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_a_controller_at_random_learns_nothing():
    x, query = some()
    rewards = observed(torch.zeros(3, 37), query, x, query, controller="random")
    assert not rewards.response.any()
    assert torch.equal(rewards.covariance, torch.eye(17).double())


def test_a_model_teaches_its_controller_in_training_only():
    torch.manual_seed(0)
    model = experiment(Budgeted()).build()
    batch = TASK.draw(16, 0)
    model.eval()(batch.tokens, batch.query, batch.evidence)
    assert not model.router.rewards.response.any()
    model.train()(batch.tokens, batch.query)
    assert not model.router.rewards.response.any()
    model(batch.tokens, batch.query, batch.evidence)
    assert model.router.rewards.response.any()


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_a_run_on_a_budget_repeats(controller):
    one, other = (train(experiment(Budgeted(controller=controller))) for _ in range(2))
    assert one.curve == other.curve
    assert one.probes == other.probes


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01])
def test_a_fraction_that_is_none_is_refused(fraction):
    with pytest.raises(ValueError, match="fraction"):
        Budgeted(fraction=fraction)


def test_other_bad_fields_are_named():
    for field, value in [("ridge", 0.0), ("delta", 1.0), ("bound", 0.0), ("controller", "ucb"),
                         ("within", 8)]:  # fmt: skip
        with pytest.raises(ValueError, match=field):
            Budgeted(**{field: value})
