"""Bandits: ridge regression as numpy has it, regret that grows ever slower, and what is learned."""

import math

import numpy as np
import pytest
import torch

from fcilib.representations import Embedding
from fcilib.routers import OFUL, LinUCB, ThompsonSampling
from fcilib.routers.bandits import LinearRewards
from fcilib.specs.size import Size
from fcilib.tasks import Evidence
from fcilib.training.experiment import Experiment, Training
from fcilib.training.loop import train

SIZE = Size(vocabulary=20, length=37, width=16)
EVERY = [LinUCB(), ThompsonSampling(), OFUL()]
FEATURES = ["concatenation", "token", "product"]


def kind(spec):
    return spec.kind


def some(batch=3, length=37):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(batch, length, 16, generator=rng)
    return x, torch.randint(length, (batch,), generator=rng)


def learned(rounds, dimension=8, ridge=1.0, seed=0, at_once=True):
    """A model after that many random rounds, and the rounds in numpy."""
    rng = torch.Generator().manual_seed(seed)
    phi = torch.randn(rounds, dimension, generator=rng) / dimension**0.5
    rewards = torch.rand(rounds, generator=rng)
    model = LinearRewards(dimension, ridge)
    for index in [slice(None)] if at_once else torch.arange(rounds).split(1):
        model.learn(phi[index], rewards[index])
    return model, phi.double().numpy(), rewards.double().numpy()


@pytest.mark.parametrize("ridge", [0.1, 1.0, 7.0])
@pytest.mark.parametrize("rounds", [1, 5, 200])
def test_estimate_width_and_radius_are_numpys(ridge, rounds):
    model, phi, rewards = learned(rounds, ridge=ridge)
    covariance = ridge * np.eye(8) + phi.T @ phi
    # Ridge regression as least squares with sqrt(ridge) I below the features.
    stacked = np.concatenate([phi, ridge**0.5 * np.eye(8)])
    estimate = np.linalg.lstsq(stacked, np.append(rewards, np.zeros(8)), rcond=None)[0]
    np.testing.assert_allclose(model.estimate.numpy(), estimate, rtol=1e-4, atol=1e-5)
    asked = np.random.default_rng(0).normal(size=(2, 3, 8))
    width = np.sqrt(np.einsum("bni,ij,bnj->bn", asked, np.linalg.inv(covariance), asked))
    np.testing.assert_allclose(model.width(torch.tensor(asked).float()).numpy(), width, rtol=1e-4)
    gain = np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(ridge * np.eye(8))[1]
    radius = 0.5 * math.sqrt(2 * (gain / 2 + math.log(1 / 0.05))) + ridge**0.5 * 3.0
    assert model.radius(0.05, 3.0).item() == pytest.approx(radius, rel=1e-4)


@pytest.mark.parametrize("ridge", [0.5, 1.0])
def test_before_the_first_round_nothing_is_known(ridge):
    model = LinearRewards(8, ridge)
    assert not model.estimate.any()
    width = model.width(torch.eye(8))
    torch.testing.assert_close(width, torch.full((8,), ridge**-0.5))
    expected = 0.5 * math.sqrt(2 * math.log(20)) + ridge**0.5
    assert model.radius(0.05, 1.0).item() == pytest.approx(expected, rel=1e-5)


def test_one_round_at_a_time_equals_a_batch():
    one, batch = learned(50, at_once=False)[0], learned(50)[0]
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, batch.state_dict()[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("ridge", [0.2, 1.0])
@pytest.mark.parametrize("rounds", [0, 3, 60])
def test_deviations_have_the_inverse_as_their_covariance(rounds, ridge):
    model, phi, _ = learned(rounds, ridge=ridge)
    torch.manual_seed(0)
    drawn = model.deviations(40000).double().numpy()
    expected = np.linalg.inv(ridge * np.eye(8) + phi.T @ phi)
    largest = expected.max()
    assert np.abs(np.cov(drawn.T) - expected).max() < 0.04 * largest
    assert np.abs(drawn.mean(axis=0)).max() < 0.03 * largest**0.5


@pytest.mark.parametrize("ridge", [0.2, 3.0])
def test_before_any_round_nothing_is_known_but_the_ridge(ridge):
    model = LinearRewards(8, ridge)
    identity = torch.eye(8)
    torch.testing.assert_close(model.covariance.float(), ridge * identity)
    torch.testing.assert_close(model.inverse, identity / ridge)
    torch.testing.assert_close(model.root @ model.root.T, identity / ridge)
    # The set's radius then is its prior's alone, however likely the set is to fail.
    for delta in (0.05, 0.9):
        expected = 0.5 * math.sqrt(2 * math.log(1 / delta)) + math.sqrt(ridge) * 2.0
        assert model.radius(delta, 2.0).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("spec", [LinUCB, ThompsonSampling, OFUL])
def test_the_regression_has_the_ridge_of_the_description(spec):
    assert spec(ridge=7.0).build(SIZE).rewards.ridge == 7.0


def test_linucb_is_the_estimate_and_a_multiple_of_the_width():
    model, phi, _ = learned(30)
    asked = torch.tensor(phi[:6]).float().view(2, 3, 8)
    bonus = LinUCB(delta=0.1).index(asked, model) - asked @ model.estimate
    alpha = 1 + math.sqrt(math.log(2 / 0.1) / 2)
    torch.testing.assert_close(bonus, alpha * model.width(asked))


def test_thompson_draws_one_theta_for_a_sequence_and_another_for_the_next():
    model, phi, _ = learned(30)
    asked = torch.tensor(phi[:1]).float().expand(2, 3, 8)
    index = ThompsonSampling().index(asked, model)
    torch.testing.assert_close(index, index[:, :1].expand(2, 3))
    assert (index[0] - index[1]).abs().min() > 1e-4
    many = ThompsonSampling(scale=2.0).index(asked[:1, :1].expand(20000, 1, 8), model)[:, 0]
    assert many.mean().item() == pytest.approx((asked[0, 0] @ model.estimate).item(), abs=0.05)
    assert many.std().item() == pytest.approx(2 * model.width(asked[0, 0]).item(), rel=0.05)


# Regret on arms that are drawn anew each round.

ROUNDS, ARMS, DIMENSION = 2000, 20, 8


def play(spec, seed, noise):
    """Regret after each round; a uniformly random player's where `spec` is None.

    Features have norm one, theta too. `noise` is the standard deviation of a reward, or "coin" for
    rewards of 0 and 1.
    """
    rng = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    theta = torch.randn(DIMENSION, generator=rng)
    theta /= theta.norm()
    arms = torch.randn(ROUNDS, ARMS, DIMENSION, generator=rng)
    arms /= arms.norm(dim=2, keepdim=True)
    if noise == "coin":  # means of (1 + phi.theta) / 2 are linear beside a constant
        half = 0.5**0.5
        arms = torch.cat([arms, torch.ones(ROUNDS, ARMS, 1)], dim=2) * half
        theta = torch.cat([theta, torch.ones(1)]) * half
    means = arms @ theta
    chance = torch.rand(ROUNDS, generator=rng)
    errors = torch.randn(ROUNDS, generator=rng)
    model = LinearRewards(len(theta), 1.0)
    played = []
    for phi, mean, coin, error in zip(arms, means, chance, errors, strict=True):
        if spec is None:
            played.append(int(torch.randint(ARMS, (1,), generator=rng)))
            continue
        arm = int(spec.index(phi[None], model)[0].argmax())
        reward = (coin < mean[arm]).float() if noise == "coin" else mean[arm] + noise * error
        model.learn(phi[arm, None], reward[None])
        played.append(arm)
    regret = means.amax(dim=1) - means[torch.arange(ROUNDS), torch.tensor(played)]
    return regret.double().cumsum(dim=0).numpy()


def growth(regret):
    """The slope of log regret against log rounds, over the second half."""
    half = np.arange(ROUNDS // 2, ROUNDS)
    return np.polyfit(np.log(half + 1), np.log(regret[half]), 1)[0]


@pytest.mark.parametrize("noise", [0.1, 0.5, "coin"])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("spec", EVERY, ids=kind)
def test_regret_grows_ever_slower(spec, seed, noise):
    regret, uniform = play(spec, seed, noise), play(None, seed, noise)
    assert growth(uniform) == pytest.approx(1, abs=0.1)
    assert growth(regret) < 0.75
    assert regret[-1] < uniform[-1] / 5


# As routers.


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("spec", EVERY, ids=kind)
@pytest.mark.parametrize("length", [1, 8, 37])
def test_scores_have_no_gradient_and_features_are_of_length_about_one(spec, features, length):
    x, query = some(length=length)
    x.requires_grad_()
    router = spec.model_copy(update={"features": features}).build(SIZE)
    scores = router(x, query)
    assert scores.shape == (3, length)
    assert not scores.requires_grad
    assert not list(router.parameters())
    normed = torch.nn.functional.layer_norm(x.detach(), (16,))
    phi = router.features(normed, query)
    constant = features != "product"
    assert torch.equal(phi[:, :, -1], torch.ones(3, length)) == constant
    norm = phi[:, :, :-1].norm(dim=2) if constant else phi.norm(dim=2)
    if constant:
        torch.testing.assert_close(norm, torch.ones(3, length), atol=1e-3, rtol=0)
    else:
        assert 0.5 < norm.mean() < 2


def test_features_are_what_their_names_say():
    x, query = some()
    asking = x[torch.arange(3), query]
    built = {f: LinUCB(features=f).build(SIZE).features(x, query) for f in FEATURES}
    for row, place in ((0, 0), (2, 36)):
        one, own = torch.ones(1), x[row, place]
        pair = torch.cat([asking[row] / 32**0.5, own / 32**0.5, one])
        torch.testing.assert_close(built["concatenation"][row, place], pair)
        torch.testing.assert_close(built["token"][row, place], torch.cat([own / 4, one]))
        torch.testing.assert_close(built["product"][row, place], asking[row] * own / 4)


def state(model):
    return {name: value.clone() for name, value in model.router.rewards.state_dict().items()}


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def step(spec, evidence=None, training=True):
    """The scores of one step, and what is known after it."""
    task = Evidence(length=32, vocabulary=16, min_distance=8, distractors=2)
    torch.manual_seed(0)
    model = Experiment(task=task, width=16, representation=Embedding(), router=spec).build()
    model.router.rewards.learn(torch.eye(33)[:5], torch.ones(5))
    before = state(model)
    batch = task.draw(5, 0)
    torch.manual_seed(1)
    where = batch.evidence if evidence is None else evidence
    output = model.train(training)(batch.tokens, batch.query, where)
    return output.scores, before, state(model)


@pytest.mark.parametrize("spec", EVERY, ids=kind)
def test_a_bandit_learns_only_from_the_reward_of_what_it_played(spec):
    spec = spec.model_copy(update={"within": None})
    scores, before, _ = step(spec)
    played = scores.argmax(dim=1)
    missed = [step(spec, (played + shift) % 32)[2] for shift in (1, 7, 19)]
    assert same(missed[0], missed[1])
    assert same(missed[0], missed[2])
    found = step(spec, played)[2]
    assert not same(missed[0], before)
    # The evidence changes the reward, not what was played.
    assert torch.equal(missed[0]["covariance"], found["covariance"])
    assert not torch.equal(missed[0]["response"], found["response"])
    assert torch.equal(missed[0]["response"], before["response"])


@pytest.mark.parametrize("spec", EVERY, ids=kind)
def test_held_out_sequences_are_answered_without_bonus_and_teach_nothing(spec):
    played, _, _ = step(spec)
    answered, before, after = step(spec, training=False)
    assert same(before, after)
    assert not torch.equal(played, answered)
    again, _, _ = step(spec, training=False)
    assert torch.equal(answered, again)
    x, query = some()
    router = spec.build(SIZE).eval()
    assert not router(x, query).any()  # the estimate is zero, and no width is added to it
    router.rewards.learn(torch.eye(33), torch.linspace(0, 1, 33))
    expected = router.features(x, query) @ router.rewards.estimate
    torch.testing.assert_close(router(x, query), expected)


@pytest.mark.parametrize("spec", EVERY, ids=kind)
def test_arms_are_the_tokens_of_the_segment_of_the_evidence(spec):
    task = Evidence(length=33, vocabulary=16, min_distance=8, distractors=2)
    spec = spec.model_copy(update={"within": 8, "candidates": "others", "k": 1})
    torch.manual_seed(0)
    model = Experiment(task=task, width=16, representation=Embedding(), router=spec).build()
    batch = task.draw(50, 0)
    finite = model(batch.tokens, batch.query, batch.evidence).scores.isfinite()
    for row, evidence, query in zip(finite, batch.evidence, batch.query, strict=True):
        first = int(evidence) // 8 * 8
        own = [j for j in range(first, min(first + 8, 33)) if j != query]
        assert row.nonzero().flatten().tolist() == own
    with pytest.raises(ValueError, match="within"):
        model(batch.tokens, batch.query)


def trained(spec, seed=0, **fields):
    return train(
        Experiment(
            task=Evidence(length=32, vocabulary=32, min_distance=8, distractors=2),
            width=16,
            representation=Embedding(positions="none"),
            router=spec.model_copy(update={"within": 8, "candidates": "others", **fields}),
            training=Training(sequences=1500, epochs=2, held_out=512, learning_rate=0.003),
            seed=seed,
        )
    )


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("spec", EVERY, ids=kind)
def test_products_find_the_evidence_and_concatenations_do_not(spec, seed):
    assert trained(spec, seed, features="product").metrics["precision"] > 0.7
    assert trained(spec, seed, features="concatenation").metrics["precision"] < 0.3


@pytest.mark.parametrize("spec", EVERY, ids=kind)
def test_a_bandits_run_repeats(spec):
    one, other = trained(spec, features="product"), trained(spec, features="product")
    assert one.curve == other.curve
    assert one.probes == other.probes


@pytest.mark.parametrize(
    ("field", "value"),
    [("ridge", 0.0), ("delta", 0.0), ("delta", 1.0), ("within", 0), ("features", "sum")],
)
@pytest.mark.parametrize("spec", EVERY, ids=kind)
def test_bad_fields_are_named(spec, field, value):
    with pytest.raises(ValueError, match=field):
        type(spec)(**{field: value})
