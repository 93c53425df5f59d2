"""BaseConv against NumPy's convolution."""

import numpy as np
import pytest
import torch

from fcilib.layers.base_conv import BaseConvLayer
from fcilib.specs.size import Size

SIZE = Size(vocabulary=5, length=12, width=4)


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("length", [1, 2, 9, 12])
def test_the_layer_is_a_convolution_times_a_projection(long, length):
    torch.manual_seed(0)
    layer, x = BaseConvLayer(SIZE, long), torch.randn(2, length, 4)
    with torch.no_grad():
        got, projected = layer(x).numpy(), layer.projection(x).numpy()
        if long:
            taps, bias = layer.filter(length).clone(), torch.zeros(4)
            taps[:, 0] += 1
        else:
            taps, bias = layer.short.weight[:, 0].flip(1), layer.short.bias
    for row in range(2):
        for c in range(4):
            y = x[row, :, c].numpy()
            mixed = np.convolve(y, taps[c].numpy())[:length] + bias[c].item()
            np.testing.assert_allclose(got[row, :, c], y + mixed * projected[row, :, c], atol=1e-5)


def test_a_long_filter_does_not_fade():
    torch.manual_seed(0)
    layer = BaseConvLayer(Size(vocabulary=5, length=400, width=4), long=True)
    assert layer.filter.rates.abs().max() == 0


def test_the_gradient_of_a_short_one():
    """That of the long one's convolution is among Hyena's tests."""
    torch.manual_seed(0)
    layer = BaseConvLayer(SIZE, long=False).double()
    x = torch.randn(1, 7, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
