"""Flow as a whole against transformers' Mamba: the same weights, the same output and gradients."""

import pytest
import torch
from transformers import MambaConfig, MambaModel

from fcilib.representations import Flow
from fcilib.specs.size import Size

SIZE = Size(vocabulary=30, length=64, width=24)


def renamed(name):
    """A parameter of transformers' `MambaModel` under its name in Flow."""
    if name == "embeddings.weight":
        return "0.token.weight"
    _, layer, rest = name.split(".", 2)
    return f"{int(layer) + 1}.{rest.replace('mixer.', 'scans.0.')}"


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=30, hidden_size=24, state_size=16, num_hidden_layers=3, conv_kernel=4, expand=2
    )
    theirs = MambaModel(config).eval()
    ours = Flow(layers=3, positions="none").build(SIZE)
    state = {renamed(n): t for n, t in theirs.state_dict().items() if not n.startswith("norm_f")}
    ours.load_state_dict(state, strict=True)
    return ours, theirs


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 17), (2, 63), (3, 5)])
def test_flow_from_a_transformers_mamba_state_dict_gives_its_output(pair, batch, length):
    ours, theirs = pair
    tokens = torch.randint(30, (batch, length), generator=torch.Generator().manual_seed(length))
    got = theirs.norm_f(ours(tokens))
    expected = theirs(tokens, use_cache=False).last_hidden_state
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    ours.zero_grad()
    theirs.zero_grad()
    (got * weight).sum().backward()
    (expected * weight).sum().backward()
    found = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        if not name.startswith("norm_f"):
            scale = float(parameter.grad.abs().max())
            gradient = found[renamed(name)].grad
            torch.testing.assert_close(gradient, parameter.grad, atol=1e-4 * scale, rtol=0)
