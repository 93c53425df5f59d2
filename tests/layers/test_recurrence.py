"""The chunked recurrence against flash-linear-attention's loops over steps."""

import pytest
import torch
from naive import assert_same, naive
from torch.nn import functional as F

from fcilib.layers.recurrence import CHUNK, STRONGEST, recurrence

LENGTHS = [1, 2, 15, 16, 17, 61]


def inputs(length, decay_channels=6, steepness=1.0):
    """Queries, keys of length one, values, log decays, rates: leaves, `(2, 3, L, …)`."""
    torch.manual_seed(length)
    q, k, v, beta = (torch.randn(2, 3, length, n) for n in (6, 6, 5, 1))
    w = (F.logsigmoid(torch.randn(2, 3, length, decay_channels)) * steepness).clamp(min=STRONGEST)
    leaves = q, F.normalize(k, dim=3), v, w, beta.sigmoid()
    return [leaf.requires_grad_() for leaf in leaves]


def both(ours, theirs, leaves):
    """Ours and theirs, each with the gradients of the leaves."""
    cotangent = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(0))
    return [[y, *torch.autograd.grad(y, leaves, cotangent)] for y in (ours, theirs)]


def steps_first(*tensors):
    return [t.transpose(1, 2) for t in tensors]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("steepness", [0.1, 4.0])
def test_a_decay_per_channel_is_gated_linear_attention(length, steepness):
    q, k, v, w, _ = inputs(length, steepness=steepness)
    theirs = naive("gla").naive_recurrent_gla(*steps_first(q, k, v, w))[0].transpose(1, 2)
    assert_same(*both(recurrence(q * 6**-0.5, k, v, w), theirs, [q, k, v, w]))


@pytest.mark.parametrize("length", LENGTHS)
def test_the_delta_rule_is_a_correction_without_decay(length):
    q, k, v, w, beta = inputs(length)
    theirs = naive("delta_rule").delta_rule_recurrence(q, k, v, beta)[0]
    ours = recurrence(q * 6**-0.5, beta * k, v, 0 * w[..., :1], -beta * k, k)
    assert_same(*both(ours, theirs, [q, k, v, beta]))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("steepness", [0.1, 4.0])
def test_a_decay_per_head_makes_it_the_gated_delta_rule(length, steepness):
    q, k, v, w, beta = inputs(length, 1, steepness)
    rule = naive("gated_delta_rule").naive_recurrent_gated_delta_rule
    theirs = rule(*steps_first(q, k, v, beta.squeeze(3), w.squeeze(3)))[0].transpose(1, 2)
    ours = recurrence(q * 6**-0.5, beta * k, v, w, -w.exp() * beta * k, k)
    assert_same(*both(ours, theirs, [q, k, v, w, beta]))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("steepness", [0.1, 4.0])
def test_with_writes_and_reads_of_its_own_it_is_the_general_rule(length, steepness):
    """RWKV-7's: diagonal plus low rank."""
    q, k, v, w, beta = inputs(length, steepness=steepness)
    reads = F.normalize(torch.randn(2, 3, length, 6), dim=3).requires_grad_()
    rule = naive("generalized_delta_rule/dplr").dplr_recurrence
    theirs = rule(q, k, v, reads, -beta * reads, w)[0]
    ours = recurrence(q * 6**-0.5, k, v, w, -beta * reads, reads)
    assert_same(*both(ours, theirs, [q, k, v, w, beta, reads]))


def plain(q, k, v, w, writes, reads):
    """The equation at the head of the module, step by step."""
    state, ys = torch.zeros(*q.shape[:2], q.shape[3], v.shape[3], dtype=q.dtype), []
    for t in range(q.shape[2]):
        now = [x[:, :, t].unsqueeze(3) for x in (q, k, v, w, writes, reads)]
        asked, key, value, decay, write, read = now
        state = decay.exp() * state + write @ (read.mT @ state) + key @ value.mT
        ys.append((state.mT @ asked).squeeze(3))
    return torch.stack(ys, dim=2)


@pytest.mark.parametrize("chunk", [1, 3, CHUNK])
@pytest.mark.parametrize("length", [1, 7, 33])
def test_in_double_precision_it_is_the_equation_whatever_the_chunk(length, chunk):
    q, k, v, w, beta = (t.detach().double() for t in inputs(length))
    leaves = [t.requires_grad_() for t in (q, k, v, w, -beta * k, k.flip(2).clone())]
    ours = recurrence(*leaves, chunk=chunk)
    assert ours.dtype == torch.float64
    cotangent = torch.randn(ours.shape, generator=torch.Generator().manual_seed(0)).double()
    for a, b in zip(
        torch.autograd.grad(ours, leaves, cotangent),
        torch.autograd.grad(plain(*leaves), leaves, cotangent),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_the_strongest_decay_overflows_nothing_and_a_stronger_one_counts_as_it():
    q, k, v, w, beta = inputs(40)
    strong = [torch.full_like(w, value).requires_grad_() for value in (STRONGEST, -200.0)]
    ys = [recurrence(q, k, v, s, -beta * k, k) for s in strong]
    assert torch.equal(*ys)
    gradients = torch.autograd.grad(ys[0].sum(), [q, k, v, strong[0], beta])
    assert all(g.isfinite().all() for g in gradients)
    assert_same([ys[0]], [plain(q, k, v, strong[0], -beta * k, k)])


def test_half_a_correction_and_a_chunk_that_can_not_be_are_refused():
    q, k, v, w, _ = inputs(4)
    with pytest.raises(ValueError, match="writes, reads"):
        recurrence(q, k, v, w, writes=k)
    for chunk in (0, CHUNK + 1):
        with pytest.raises(ValueError, match="chunk"):
            recurrence(q, k, v, w, chunk=chunk)
