"""Today's recurrences, Hyena and Based: which sides a token sees, and depth."""

import pytest
import torch

from fcilib.representations import (
    Based,
    DeltaNet,
    GatedLinearAttention,
    Hgrn2,
    Hyena,
    Mamba2,
    Rwkv4,
    Rwkv7,
)
from fcilib.specs.size import Size

SIZE = Size(vocabulary=20, length=37, width=16)

WITH_HEADS = [
    Mamba2,
    GatedLinearAttention,
    Hgrn2,
    DeltaNet,
    lambda **more: DeltaNet(gated=True, **more),
    Rwkv7,
]
KINDS = [*WITH_HEADS, Rwkv4, Hyena, lambda **more: Based(window=4, **more)]


def changed(spec, at=18):
    """Which positions' vectors change with the token at one of them."""
    torch.manual_seed(0)
    module = spec.build(SIZE)
    one = torch.randint(20, (1, 37))
    other = one.clone()
    other[0, at] = (other[0, at] + 1) % 20
    return (module(one) - module(other)).abs().amax(dim=2)[0] > 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_one_direction_sees_what_came_before_and_both_see_everything(kind, bidirectional, layers):
    seen = changed(kind(bidirectional=bidirectional, layers=layers))
    assert seen[18:23].all()  # a strong decay may have forgotten it later
    assert bool(seen[:18].any()) == bidirectional
    assert bool(seen[17]) == bidirectional


@pytest.mark.parametrize("kind", KINDS)
def test_depth_counts_what_there_is_to_compute(kind):
    once, twice = kind(), kind(bidirectional=True, layers=3)
    mixers = 2 if once.kind == "based" else 1
    assert once.depth == mixers
    assert twice.depth == 6


@pytest.mark.parametrize("kind", WITH_HEADS)
def test_heads_must_divide_the_width(kind):
    with pytest.raises(ValueError, match="heads"):
        kind(heads=5).build(SIZE)
