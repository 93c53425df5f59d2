"""Hyena against torch's direct convolutions, and against its first author's package vortex."""

import pytest
import torch
from naive import assert_same, gradients
from torch.nn import functional as F

from fcilib.layers.hyena import DistanceFilter, HyenaLayer, convolve
from fcilib.specs.size import Size


def direct(x, taps, bias=None):
    """torch's convolution `(B, d, L)` of each channel with its taps `(d, n)`, the last one now."""
    return F.conv1d(F.pad(x, (taps.shape[1] - 1, 0)), taps.unsqueeze(1), bias, groups=len(taps))


@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_the_convolution_is_torchs_direct_one(length):
    torch.manual_seed(0)
    leaves = [torch.randn(2, 3, length), torch.randn(3, length)]
    x, taps = (leaf.requires_grad_() for leaf in leaves)
    expected = direct(x, taps.flip(1))
    assert_same(gradients(convolve(x, taps), leaves), gradients(expected, leaves))


def test_a_filter_knows_distances_and_a_shorter_sequence_gets_its_beginning():
    torch.manual_seed(0)
    make = DistanceFilter(40, 6)
    torch.testing.assert_close(make(40)[:, :11], make(11))
    slowest, fastest = make.rates[0], make.rates[-1]
    assert torch.exp(-slowest * 1.5).item() == pytest.approx(0.01, rel=1e-3)
    assert torch.exp(-fastest * 0.3).item() == pytest.approx(0.01, rel=1e-3)


def by_torch(layer, x, taps):
    mixed = F.linear(x, layer.enter.weight, layer.enter.bias).mT
    gate, factor, value = direct(mixed, layer.short.weight[:, 0], layer.short.bias).chunk(3, dim=1)
    product = factor * value
    y = gate * (direct(product, taps.flip(1)) + layer.skip[:, None] * product)
    return F.linear(y.mT, layer.out.weight, layer.out.bias)


def by_vortex(layer, x, taps):
    package = pytest.importorskip("vortex.model.engine", reason="pip install -e .[oracles]")
    engine, sizes = package.HyenaInferenceEngine(), (len(taps), 1, len(taps), 0, len(taps))
    mixed, _ = engine.parallel_fir(
        F.conv1d, layer.enter(x), layer.short.weight, layer.short.bias, x.shape[1], dims=sizes
    )
    y = engine.parallel_iir(
        mixed, taps[None], layer.skip, x.shape[1], None, None, None, dims=sizes, layer_idx=0
    )
    return layer.out(y)


@pytest.mark.parametrize("form", [by_torch, by_vortex])
@pytest.mark.parametrize("length", [1, 2, 9, 12])
def test_the_layer_is_gates_around_the_convolution(form, length, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # vortex opens a log file where it is imported
    torch.manual_seed(0)
    layer = HyenaLayer(Size(vocabulary=5, length=12, width=4))
    x = torch.randn(2, length, 4, requires_grad=True)
    leaves = [x, *layer.parameters()]
    expected = form(layer, x, layer.filter(length))
    assert_same(gradients(layer(x), leaves), gradients(expected, leaves), 5e-5)
