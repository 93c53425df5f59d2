"""The Mamba block against transformers' mixer and mambapy's block, with the same weights."""

import pytest
import torch
from mambapy.mamba import MambaBlock as MambapyBlock
from mambapy.mamba import MambaConfig as MambapyConfig
from transformers import MambaConfig, MambaModel

from fcilib.layers.mamba import MambaBlock

WIDTH = 24


def mixer(**options):
    """The mixer of a small, randomly initialised model, every weight moved off its default."""
    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=7, hidden_size=WIDTH, num_hidden_layers=1, state_size=8, **options
    )
    found = MambaModel(config).layers[0].mixer.train()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return found


def sequences(length):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, length, WIDTH, generator=generator).requires_grad_()


def results(block, x):
    """Output, and the gradients of the input and of every parameter by name."""
    y = block(x)
    names = [name for name, _ in block.named_parameters()]
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(4)).to(y.dtype)
    gradients = torch.autograd.grad(y, [x, *block.parameters()], cotangent)
    return dict(zip(["y", "x", *names], [y, *gradients], strict=True))


def assert_same(found, expected, tolerance=1e-5):
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        scale = want.abs().max()
        assert (found[name] - want).abs().max() <= tolerance * scale, name


@pytest.mark.parametrize("length", [1, 3, 17, 63, 129])
def test_equals_transformers(length):
    theirs = mixer()
    ours = MambaBlock(WIDTH, state=8)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    expected = results(theirs, sequences(length))
    assert_same(results(ours, sequences(length)), expected)


def test_transformers_loads_ours():
    ours = MambaBlock(WIDTH, state=8)
    theirs = mixer()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert_same({"y": ours(sequences(9))}, {"y": theirs(sequences(9))})


def test_equals_mambapy():
    torch.manual_seed(0)
    config = MambapyConfig(d_model=WIDTH, n_layers=1, d_state=8)
    theirs = MambapyBlock(config)
    ours = MambaBlock(WIDTH, state=8)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    expected = results(theirs, sequences(33))
    found = results(ours, sequences(33))
    assert_same(found, {name: expected[name] for name in found})


def test_reverse_is_flip_block_flip():
    torch.manual_seed(0)
    forward = MambaBlock(WIDTH)
    backward = MambaBlock(WIDTH, reverse=True)
    backward.load_state_dict(forward.state_dict())
    x = sequences(21)
    expected = results(lambda_block(forward), x)
    assert_same(results(backward, x), expected)


def lambda_block(block):
    """`flip(block(flip(x)))` with the parameters of the block under their own names."""

    class Flipped(torch.nn.Module):
        def forward(self, x):
            return block(x.flip(1)).flip(1)

        def named_parameters(self, *args, **kwargs):
            return block.named_parameters(*args, **kwargs)

    return Flipped()


def test_looks_one_way_only():
    torch.manual_seed(0)
    for reverse, untouched in ((False, slice(0, 10)), (True, slice(11, 20))):
        block = MambaBlock(WIDTH, reverse=reverse)
        x = sequences(20).detach()
        changed = x.clone()
        changed[:, 10] += 1
        with torch.no_grad():
            assert torch.equal(block(x)[:, untouched], block(changed)[:, untouched])


def test_initial_values_are_the_papers():
    torch.manual_seed(0)
    block = MambaBlock(64, state=16)
    assert (block.dt_rank, tuple(block.A_log.shape)) == (4, (128, 16))
    expected = torch.arange(1.0, 17.0).expand(128, 16)
    torch.testing.assert_close(block.A_log.exp(), expected)
    step = torch.nn.functional.softplus(block.dt_proj.bias)
    assert step.min() >= 0.99e-3
    assert step.max() <= 1.01e-1
    assert block.dt_proj.weight.abs().max() <= 4**-0.5
    assert torch.equal(block.D, torch.ones(128))


def test_bfloat16_autocast_trains():
    torch.manual_seed(0)
    block = MambaBlock(WIDTH)
    x = sequences(11)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = block(x)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in block.parameters())
    torch.testing.assert_close(y.float(), block(x), rtol=0.05, atol=0.05)


def test_double_stays_double():
    torch.manual_seed(0)
    block = MambaBlock(WIDTH)
    single = block(sequences(13))
    double = block.double()(sequences(13).double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["width", "state", "conv", "expand", "dt_rank"])
@pytest.mark.parametrize("size", [0, -1, 1.5, "many"])
def test_bad_size_is_named(name, size):
    sizes = {"width": 8, name: size}
    with pytest.raises(ValueError, match=f"^{name} must be a positive integer"):
        MambaBlock(**sizes)


@pytest.mark.parametrize("reverse", [False, True])
def test_without_the_scan_it_is_the_block_whose_scan_takes_nothing_in(reverse):
    """Weights of the whole block with B = C = 0 and D = 1: y is the convolution's own output."""
    torch.manual_seed(0)
    whole, alone = (
        MambaBlock(WIDTH, reverse=reverse),
        MambaBlock(WIDTH, reverse=reverse, scan=False),
    )
    with torch.no_grad():
        whole.x_proj.weight.zero_()
    state = whole.state_dict()
    alone.load_state_dict({name: state[name] for name in alone.state_dict()}, strict=True)
    x = sequences(19)
    found = results(alone, x)
    expected = results(whole, x)
    assert_same(found, {name: expected[name] for name in found})


@pytest.mark.parametrize("taps", [1, 2, 4])
def test_without_the_scan_a_token_reaches_as_far_as_the_convolution(taps):
    torch.manual_seed(0)
    block = MambaBlock(WIDTH, conv=taps, scan=False)
    x = sequences(20).detach()
    changed = x.clone()
    changed[:, 10] += 1
    with torch.no_grad():
        moved = (block(x) != block(changed)).any(dim=2).any(dim=0)
    assert moved.nonzero().squeeze(1).tolist() == list(range(10, 10 + taps))


def test_one_tap_leaves_the_scan_alone_as_transformers_has_it():
    theirs = mixer(conv_kernel=1)
    ours = MambaBlock(WIDTH, state=8, conv=1)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert_same(results(ours, sequences(17)), results(theirs, sequences(17)))
