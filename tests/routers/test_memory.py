"""The memory bank: shares of what was read, traced back to who wrote it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcilib.routers import MemoryBank
from fcilib.specs.size import Size

SIZE = Size(vocabulary=20, length=37, width=16)


def some(batch=3, length=37, scale=1.0):
    rng = torch.Generator().manual_seed(0)
    x = scale * torch.randn(batch, length, 16, generator=rng)
    return x, torch.randint(length, (batch,), generator=rng)


def build(slots=16):
    torch.manual_seed(0)
    return MemoryBank(slots=slots).build(SIZE)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 2**31))
def test_scores_are_logs_of_shares_that_sum_to_one(length, slots, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(2, length, 16, generator=rng)
    query = torch.randint(length, (2,), generator=rng)
    scores = build(slots)(x, query)
    assert scores.shape == (2, length)
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(2))


@torch.no_grad()
@pytest.mark.parametrize("slots", [1, 3, 16])
@pytest.mark.parametrize("length", [1, 6, 11])
def test_scores_are_a_loop_over_slots_and_tokens(slots, length):
    x, query = some(batch=2, length=length)
    router = build(slots).double()
    x = x.double()
    got = router(x, query)
    for row in range(2):
        address = [router.address(x[row, j]).softmax(dim=0).tolist() for j in range(length)]
        value = [router.value(x[row, j]) for j in range(length)]
        asking = router.query(x[row, query[row]])
        parts, match = [], []
        for slot in range(slots):
            total = sum(address[j][slot] for j in range(length))
            part = [address[j][slot] / total for j in range(length)]
            stored = sum(p * v for p, v in zip(part, value, strict=True))
            parts.append(part)
            match.append(math.exp(float(stored @ asking) / 16**0.5))
        for j in range(length):
            read = sum(m * part[j] for m, part in zip(match, parts, strict=True)) / sum(match)
            assert got[row, j].item() == pytest.approx(math.log(read), abs=1e-9)


def test_one_slot_cannot_tell_tokens_apart():
    x, query = some()
    torch.testing.assert_close(build(slots=1)(x, query), torch.full((3, 37), -math.log(37)))


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e3, 1e4])
@pytest.mark.parametrize("length", [1, 8, 37])
def test_scores_and_gradients_stay_finite(scale, length):
    x, query = some(length=length, scale=scale)
    x.requires_grad_()
    router = build()
    scores = router(x, query)
    assert scores.isfinite().all()
    target = (query + 1) % length
    loss = torch.nn.functional.cross_entropy(scores, target)
    for gradient in torch.autograd.grad(loss, (x, *router.parameters())):
        assert gradient.isfinite().all()


def test_a_slot_that_every_token_shuns_is_shared_evenly():
    x, query = some()
    router = build(slots=2)
    with torch.no_grad():
        router.address.weight.zero_()
        router.address.bias.copy_(torch.tensor([0.0, -110.0]))  # its softmax underflows
    torch.testing.assert_close(router(x, query), torch.full((3, 37), -math.log(37)))


def test_every_parameter_learns_from_the_routing_loss():
    x, query = some()
    router = build()
    scores = router(x, query)
    loss = torch.nn.functional.cross_entropy(scores, (query + 1) % 37)
    for name, parameter in router.named_parameters():
        gradient = torch.autograd.grad(loss, parameter, retain_graph=True)[0]
        assert gradient.abs().sum() > 0, name


@pytest.mark.parametrize("seed", range(3))
def test_permuted_tokens_get_permuted_scores(seed):
    x, query = some()
    order = torch.randperm(37, generator=torch.Generator().manual_seed(seed))
    moved = order.argsort()[query]  # where each query has gone
    router = build()
    expected = router(x, query)[:, order]
    torch.testing.assert_close(router(x[:, order], moved), expected)
    assert not torch.allclose(router(x, query), expected)


def test_no_slots_are_refused():
    with pytest.raises(ValueError, match="slots"):
        MemoryBank(slots=0)


def test_every_query_routed_at_once_is_every_query_routed_alone():
    x, router = some()[0][0], build()
    every = router.route_all(x, 5)
    scores = router.matrix(x[None])[0]
    for query in range(len(x)):
        alone = router.route(x, query, 5)
        torch.testing.assert_close(scores[query, every[query]], scores[query, alone])
