"""What all representations owe the router, and what each owes its name."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fcilib.representations import (
    Attention,
    Embedding,
    Flow,
    Fourier,
    GlobalMean,
    LinearAttention,
    Perceiver,
)
from fcilib.representations.attention import SelfAttention, SparseAttention
from fcilib.representations.linear_attention import LinearSelfAttention
from fcilib.representations.mixing import FourierMixing
from fcilib.spec import Size

SIZE = Size(vocabulary=20, length=37, width=16)

EVERY = [
    Embedding(),
    Embedding(positions="none", layers=2),
    Flow(layers=2),
    Flow(layers=1, bidirectional=True),
    Attention(layers=2),
    Attention(mask="causal"),
    Attention(mask="sparse", window=8, global_tokens=3),
    LinearAttention(),
    Perceiver(hubs=1),
    Perceiver(hubs=4, layers=2),
    GlobalMean(),
    GlobalMean(residual=True),
    Fourier(),
    Fourier(residual=True, orthonormal=True),
]


def ids(spec):
    return "-".join(str(v) for v in spec.essence().values())


def tokens(batch=2, length=37):
    return torch.randint(20, (batch, length), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("spec", EVERY, ids=ids)
@pytest.mark.parametrize(("batch", "length"), [(2, 37), (1, 1), (3, 5)])
def test_shapes_and_a_gradient_for_every_parameter(spec, batch, length):
    module = spec.build(SIZE)
    x = module(tokens(batch, length))
    assert x.shape == (batch, length, 16)
    x.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("spec", EVERY, ids=ids)
def test_sequences_of_a_batch_do_not_see_each_other(spec):
    module = spec.build(SIZE)
    both = module(tokens(2))
    alone = module(tokens(2)[1:])
    torch.testing.assert_close(both[1:], alone, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("spec", "sees_before", "sees_after"),
    [
        (Embedding(layers=2), False, False),
        (Attention(), True, True),
        (Attention(mask="causal", layers=2), True, False),
        (Flow(layers=2), True, False),
        (Flow(layers=1, bidirectional=True), True, True),
        (LinearAttention(), True, True),
        (Perceiver(hubs=1), True, True),
        (GlobalMean(), True, True),
        (Fourier(), True, True),
    ],
    ids=lambda value: ids(value) if not isinstance(value, bool) else "",
)
def test_who_sees_whom(spec, sees_before, sees_after):
    """Changing one token changes the vectors on exactly the sides that can see it."""
    module = spec.build(SIZE)
    one = tokens(1)
    other = one.clone()
    other[0, 18] = (other[0, 18] + 1) % 20
    changed = (module(one) - module(other)).abs().amax(dim=2)[0] > 1e-6
    assert changed[18]
    assert bool(changed[19:].any()) == sees_before
    assert bool(changed[:18].any()) == sees_after


def test_without_positions_equal_tokens_get_equal_vectors():
    x = Embedding(positions="none").build(SIZE)(torch.tensor([[3, 7, 3]]))
    assert torch.equal(x[0, 0], x[0, 2])
    x = Embedding().build(SIZE)(torch.tensor([[3, 7, 3]]))
    assert not torch.equal(x[0, 0], x[0, 2])


def test_positions_alone_look_at_no_token():
    module = Embedding(tokens="none").build(SIZE)
    one, other = module(tokens(1)), module((tokens(1) + 1) % 20)
    assert torch.equal(one, other)
    assert (one[0, 0] - one[0, 1]).abs().max() > 0.1
    with pytest.raises(ValueError, match="nothing is embedded"):
        Embedding(tokens="none", positions="none")


def test_more_tokens_than_positions_is_refused():
    with pytest.raises(ValueError, match="37"):
        Embedding().build(SIZE)(tokens(1, 38))


@pytest.mark.parametrize("spec", [Attention(heads=3), LinearAttention(heads=5), Perceiver(heads=3)])
def test_heads_must_divide_the_width(spec):
    with pytest.raises(ValueError, match="heads"):
        spec.build(SIZE)


@pytest.mark.parametrize("causal", [False, True])
def test_self_attention_is_torchs(causal):
    ours = SelfAttention(16, 4, causal)
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    theirs.in_proj_weight.data = ours.qkv.weight.data
    theirs.in_proj_bias.data = ours.qkv.bias.data
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    x = torch.randn(2, 9, 16)
    mask = torch.ones(9, 9).triu(1).bool() if causal else None
    torch.testing.assert_close(ours(x), theirs(x, x, x, attn_mask=mask, need_weights=False)[0])


@pytest.mark.parametrize("length", [1, 3, 4, 5, 16, 37, 64])
@pytest.mark.parametrize(("window", "global_tokens"), [(2, 0), (8, 3), (32, 16), (8, 37)])
def test_sparse_attention_is_dense_attention_under_its_mask(length, window, global_tokens):
    sparse = SparseAttention(Size(20, 64, 16), 4, window, global_tokens)
    x = torch.randn(2, length, 16, requires_grad=True)
    q, k, v = sparse.split(x)
    dense = F.scaled_dot_product_attention(q, k, v, attn_mask=sparse.allowed(length))
    expected = sparse.merge(dense)
    got = sparse(x)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    weight = torch.randn_like(got)
    inputs = (x, *sparse.parameters())
    theirs = torch.autograd.grad((expected * weight).sum(), inputs, retain_graph=True)
    ours = torch.autograd.grad((got * weight).sum(), inputs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_the_papers_sparse_pattern_sees_about_a_tenth_of_the_pairs():
    allowed = SparseAttention(Size(256, 512, 16), 4, window=32, global_tokens=16).allowed(512)
    assert 0.09 < allowed.float().mean() < 0.13
    assert torch.equal(allowed, allowed.T)


def test_linear_attention_is_attention_with_its_kernel():
    module = LinearSelfAttention(16, 4)
    x = torch.randn(2, 11, 16)
    q, k, v = module.split(x)
    kernel = (F.elu(q) + 1) @ (F.elu(k) + 1).transpose(-1, -2)
    expected = module.merge(kernel / kernel.sum(dim=-1, keepdim=True) @ v)
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize("orthonormal", [False, True])
def test_fourier_mixing_is_numpys(orthonormal):
    x = torch.randn(2, 9, 16).double()
    expected = np.fft.fft(np.fft.fft(x.numpy(), axis=2), axis=1).real
    if orthonormal:
        expected = expected / (9 * 16) ** 0.5
    got = FourierMixing(orthonormal)(x).double()
    torch.testing.assert_close(got, torch.tensor(expected), atol=1e-4, rtol=0)


def test_the_mean_alone_makes_all_tokens_one():
    x = GlobalMean().build(SIZE)(tokens())
    torch.testing.assert_close(x, x[:, :1].expand_as(x))
    x = GlobalMean(residual=True).build(SIZE)(tokens())
    assert (x - x[:, :1]).abs().amax() > 0.1


def test_depth_zero_is_the_embedding_itself():
    names = [set(spec.build(SIZE).state_dict()) for spec in (Attention(layers=0), Embedding())]
    assert names[0] == names[1]
