"""The fused convolution against torch's, in float64."""

import pytest
import torch
from torch.nn import functional as F

from fcilib.scan import causal_conv_silu, numba_conv, plumbing

SHAPES = [
    (1, 1, 1, 4),
    (2, 3, 5, 4),
    (2, 17, 64, 4),
    (1, 63, 130, 3),
    (3, 129, 65, 1),
    (1, 2, 3, 7),
]


def draw(B, L, d, K, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, generator=generator).bfloat16().to(dtype).requires_grad_()
        for shape in ((B, L, d), (d, K), (d,))
    ]


def results(inputs, **options):
    y = causal_conv_silu(*inputs, **options)
    leaves = [tensor for tensor in inputs if tensor is not None]
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return [y, *torch.autograd.grad(y, leaves, cotangent)]


def assert_same(found, expected, tolerance=2e-6):
    for have, want in zip(found, expected, strict=True):
        assert have.shape == want.shape
        scale = want.double().abs().max().clamp(min=1e-2)
        assert (have.double() - want.double()).abs().max() <= tolerance * scale


@pytest.fixture
def nan_filled(monkeypatch):
    def empty(*shape):
        return torch.full(shape, float("nan"))

    monkeypatch.setattr(plumbing, "empty", empty)
    monkeypatch.setattr(numba_conv, "empty", empty)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "B{}-L{}-d{}-K{}".format(*s))
def test_numba_equals_the_reference_in_float64(shape, reverse, nan_filled):
    expected = results(draw(*shape), backend="reference", reverse=reverse)
    found = results(draw(*shape, dtype=torch.float32), backend="numba", reverse=reverse)
    assert_same(found, expected)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_equals_a_padded_conv1d(backend):
    """As every Mamba writes it: pad both ends, cut the tail, activate."""
    x, weight, bias = draw(2, 19, 6, 4, dtype=torch.float32)
    y = F.conv1d(x.transpose(1, 2), weight[:, None], bias, padding=3, groups=6)[..., :19]
    expected = F.silu(y).transpose(1, 2)
    assert_same([causal_conv_silu(x, weight, bias, backend=backend)], [expected])


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_no_bias(backend, nan_filled):
    x, weight, bias = draw(2, 9, 6, 4, dtype=torch.float32)
    expected = causal_conv_silu(x, weight, torch.zeros_like(bias), backend=backend)
    found = results([x, weight, None], backend=backend)
    assert len(found) == 3
    assert_same(found[:1], [expected])


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_looks_one_way_only(backend):
    x, weight, bias = (t.detach() for t in draw(1, 12, 3, 4, dtype=torch.float32))
    changed = x.clone()
    changed[:, 6] += 1
    for reverse, untouched in ((False, slice(0, 6)), (True, slice(7, 12))):
        before, after = (
            causal_conv_silu(t, weight, bias, reverse=reverse, backend=backend)
            for t in (x, changed)
        )
        assert torch.equal(before[:, untouched], after[:, untouched])
        assert not torch.equal(before[:, 6], after[:, 6])


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_reverse_is_flip_conv_flip(backend):
    x, weight, bias = draw(2, 13, 5, 4, dtype=torch.float32)
    flipped = causal_conv_silu(x.flip(1), weight, bias, backend=backend).flip(1)
    found = causal_conv_silu(x, weight, bias, reverse=True, backend=backend)
    torch.testing.assert_close(found, flipped, rtol=1e-6, atol=1e-6)


def test_views_give_the_bits_of_their_copies():
    x, weight, bias = (t.detach() for t in draw(2, 13, 66, 4, dtype=torch.float32))
    wide = torch.cat([x, x + 1], dim=-1)
    for view in (wide[..., :66], x.transpose(0, 1).contiguous().transpose(0, 1)):
        leaves = [view.detach().requires_grad_(), weight.clone().requires_grad_(), bias.clone()]
        copies = [view.clone().contiguous().requires_grad_(), leaves[1].detach(), bias.clone()]
        copies[1].requires_grad_()
        for leaf in (leaves[2], copies[2]):
            leaf.requires_grad_()
        pairs = zip(results(leaves, backend="numba"), results(copies, backend="numba"), strict=True)
        assert all(torch.equal(have, want) for have, want in pairs)


def test_bits_do_not_depend_on_the_number_of_threads():
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            found.append(results(draw(5, 33, 130, 4, dtype=torch.float32), backend="numba"))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(have, want) for have, want in zip(other, found[0], strict=True))


def test_bfloat16():
    found = results(draw(2, 9, 6, 4, dtype=torch.bfloat16), backend="numba")
    assert all(tensor.dtype == torch.bfloat16 for tensor in found)
    assert_same(found, results(draw(2, 9, 6, 4), backend="reference"), tolerance=1e-2)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradcheck_of_the_reference(reverse):
    assert torch.autograd.gradcheck(
        lambda *t: causal_conv_silu(*t, reverse=reverse, backend="reference"),
        tuple(draw(2, 5, 3, 4)),
    )


def test_bad_input_is_named():
    x, weight, bias = (t.detach() for t in draw(2, 3, 4, 4, dtype=torch.float32))
    for arguments, blamed in (
        ((x[0], weight, bias), "x"),
        ((x.long(), weight, bias), "x"),
        ((x[:0], weight, bias), "x"),
        ((x, weight[:3], bias), "weight"),
        ((x, weight[:, None], bias), "weight"),
        ((x, weight[:, :0], bias), "weight"),
        ((x, weight, bias[:1]), "bias"),
        ((x, weight, 1.0), "bias"),
    ):
        with pytest.raises(ValueError, match=rf"^{blamed} must"):
            causal_conv_silu(*arguments)
    with pytest.raises(ValueError, match="auto, reference, numba"):
        causal_conv_silu(x, weight, bias, backend="cuda")
