"""Hyena's convolution against NumPy's, and the layer channel by channel."""

import numpy as np
import pytest
import torch

from fcilib.layers.hyena import DistanceFilter, HyenaLayer, convolve
from fcilib.specs.size import Size


@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_the_convolution_is_numpys_cut_to_the_past(length):
    torch.manual_seed(0)
    x, taps = torch.randn(2, 3, length), torch.randn(3, length)
    got = convolve(x, taps)
    for b in range(2):
        for c in range(3):
            expected = np.convolve(x[b, c].numpy(), taps[c].numpy())[:length]
            np.testing.assert_allclose(got[b, c].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("length", [1, 5, 30])
def test_its_gradient_is_that_of_the_sum_over_distances(length):
    torch.manual_seed(0)
    leaves = [torch.randn(2, 3, length), torch.randn(3, length)]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    x, taps = leaves
    shifted = [
        taps[:, d, None] * torch.nn.functional.pad(x, (d, 0))[..., :length] for d in range(length)
    ]
    expected, got = sum(shifted), convolve(x, taps)
    weight = torch.randn_like(got)
    for a, b in zip(
        torch.autograd.grad((got * weight).sum(), leaves),
        torch.autograd.grad((expected * weight).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_a_filter_knows_distances_and_a_shorter_sequence_gets_its_beginning():
    torch.manual_seed(0)
    make = DistanceFilter(40, 6)
    torch.testing.assert_close(make(40)[:, :11], make(11))
    slowest, fastest = make.rates[0], make.rates[-1]
    assert torch.exp(-slowest * 1.5).item() == pytest.approx(0.01, rel=1e-3)
    assert torch.exp(-fastest * 0.3).item() == pytest.approx(0.01, rel=1e-3)


def test_the_layer_is_gates_around_the_convolution():
    torch.manual_seed(0)
    layer = HyenaLayer(Size(vocabulary=5, length=12, width=4))
    x = torch.randn(1, 9, 4)
    with torch.no_grad():
        got = layer(x)[0].numpy()
        mixed = layer.enter(x)[0].T.numpy()
        weight, bias = layer.short.weight[:, 0].numpy(), layer.short.bias.numpy()
        taps, skip = layer.filter(9).numpy(), layer.skip.numpy()
        out, last = layer.out.weight.numpy(), layer.out.bias.numpy()
    short = [
        np.convolve(row, w[::-1])[:9] + b for row, w, b in zip(mixed, weight, bias, strict=True)
    ]
    gate, factor, value = np.split(np.stack(short), 3)
    product = factor * value
    long = np.stack([np.convolve(p, t)[:9] for p, t in zip(product, taps, strict=True)])
    expected = ((long + skip[:, None] * product) * gate).T @ out.T + last
    np.testing.assert_allclose(got, expected, atol=1e-5)
