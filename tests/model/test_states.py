"""What states say of their tokens, against scikit-learn and cases whose answer is known."""

import pytest
import torch
from torch.nn import functional as F

from fcilib.model.states import measure_states
from fcilib.study.profiles import PROFILES

TASK = PROFILES["smoke"].evidence
WIDE = 24


@pytest.fixture
def batch():
    return TASK.draw(64, 0, "test")


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def vectors(batch, noise=0.0):
    """A vector for each token, and noise."""
    own = gaussian(TASK.vocabulary, WIDE)[batch.tokens]
    return own + noise * gaussian(*own.shape, seed=1)


def test_a_vector_for_each_token_says_everything(batch):
    found = measure_states(vectors(batch).bfloat16(), batch)
    assert found["token_share"] == pytest.approx(1, abs=1e-5)
    nearest = [found[name] for name in ("nearest", "nearest_standardised", "nearest_read")]
    assert found["token_read"] == 1
    assert nearest == [1, 1, 1]


def test_noise_says_nothing(batch):
    found = measure_states(gaussian(64, TASK.length, WIDE), batch)
    # Means over n draws explain V / n of the variance by accident.
    assert found["token_share"] < 3 * TASK.vocabulary / (64 * TASK.length)
    assert found["token_read"] < 0.15
    assert found["nearest"] < 0.15
    assert abs(found["any_cosine"]) < 0.01


def test_the_share_of_variance_is_that_of_an_analysis_of_variance(batch):
    states = vectors(batch, noise=2.0)
    flat, tokens = states.flatten(0, 1).double(), batch.tokens.flatten()
    within = sum(
        (flat[tokens == t] - flat[tokens == t].mean(0)).square().sum() for t in tokens.unique()
    )
    whole = (flat - flat.mean(0)).square().sum()
    expected = float(1 - within / whole)
    assert measure_states(states, batch)["token_share"] == pytest.approx(expected, abs=1e-5)


def test_the_probe_is_a_ridge_regression(batch):
    linear_model = pytest.importorskip("sklearn.linear_model")
    states = vectors(batch, noise=2.0)
    flat = states.flatten(0, 1)
    x = ((states - flat.mean(0)) / flat.std(0)).double().numpy()
    half = len(x) // 2
    ridge = linear_model.Ridge(alpha=1.0).fit(
        x[:half].reshape(-1, WIDE), F.one_hot(batch.tokens[:half].flatten()).double().numpy()
    )
    said = ridge.predict(x[half:].reshape(-1, WIDE)).argmax(axis=1)
    expected = (said == batch.tokens[half:].flatten().numpy()).mean()
    assert 0.3 < expected < 0.99
    assert measure_states(states, batch)["token_read"] == pytest.approx(expected, abs=0.003)


def test_the_nearest_is_found_one_sequence_at_a_time(batch):
    states = vectors(batch, noise=1.0)
    right = 0
    for x, q, a in zip(states, batch.query, batch.evidence, strict=True):
        cosines = F.cosine_similarity(x, x[q], dim=1)
        others = [j for j in range(len(x)) if j != q]
        right += max(others, key=lambda j: cosines[j]) == a
    assert 0 < right < len(states)
    assert measure_states(states, batch)["nearest"] == pytest.approx(right / len(states))


def test_loud_features_drown_the_token_and_standardising_repairs_it(batch):
    states = vectors(batch, noise=0.1)
    loud = states.clone()
    loud[:, :, :2] = 300 * gaussian(*states.shape[:2], 2, seed=2)
    found = measure_states(loud, batch)
    assert found["nearest"] < 0.5
    assert found["nearest_standardised"] > 0.95
    assert found["token_share"] < 0.2
    assert found["token_read"] > 0.95
    assert found["nearest_read"] > 0.95


def test_the_probe_finds_the_token_that_features_of_no_meaning_hide(batch):
    """Standardising can't: these features are as many as those that matter, and no louder."""
    states = torch.cat([vectors(batch), 2 * gaussian(64, TASK.length, 4 * WIDE, seed=2)], dim=2)
    found = measure_states(states, batch)
    assert max(found["nearest"], found["nearest_standardised"]) < 0.8
    assert found["nearest_read"] > 0.95


def test_what_all_states_share_makes_any_two_alike(batch):
    states = vectors(batch, noise=0.1)
    states[:, :, 0] += 300
    found = measure_states(states, batch)
    assert found["any_cosine"] > 0.99
    assert found["token_share"] > 0.9


def test_the_largest_norm_is_over_the_median(batch):
    states = F.normalize(gaussian(64, TASK.length, WIDE), dim=2)
    states[3, 5] *= 70
    assert measure_states(states, batch)["largest_norm"] == pytest.approx(70, rel=1e-4)


def test_the_cosine_is_the_mean_over_all_pairs(batch):
    states = gaussian(64, TASK.length, WIDE) + 0.5
    flat = F.normalize(states.flatten(0, 1), dim=1).double()
    expected = float((flat @ flat.T).mean())
    assert measure_states(states, batch)["any_cosine"] == pytest.approx(expected, abs=1e-5)


def test_a_feature_that_never_changes_does_no_harm(batch):
    states = vectors(batch)
    states[:, :, 0] = 1
    assert all(torch.tensor([*measure_states(states, batch).values()]).isfinite())
