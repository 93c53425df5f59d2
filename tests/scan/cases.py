"""What every back end is tested on: inputs, results and the comparison of results."""

import torch

from fcilib.scan import causal_conv_silu, selective_scan

NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
# B, L, d, N: lengths around the chunks, widths around a block of channels
SHAPES = [
    (1, 1, 1, 1),
    (1, 3, 5, 2),
    (2, 17, 64, 16),
    (3, 63, 65, 3),
    (1, 129, 40, 16),
    (2, 8, 130, 4),
]
# B, L, d, K
CONV_SHAPES = [
    (1, 1, 1, 4),
    (2, 3, 5, 4),
    (2, 17, 64, 4),
    (1, 63, 130, 3),
    (3, 129, 65, 1),
    (1, 2, 3, 7),
]


def scan_id(shape):
    return "B{}-L{}-d{}-N{}".format(*shape)


def conv_id(shape):
    return "B{}-L{}-d{}-K{}".format(*shape)


def draw(B, L, d, N, dtype=torch.float64, seed=0, device="cpu"):
    """Inputs of a plausible scan, every one a leaf; the same numbers whatever the dtype."""
    normal = _normal(dtype, seed, device)
    inputs = {
        "u": normal(B, L, d),
        "delta": normal(B, L, d),
        "A": normal(d, N, change=lambda numbers: -(numbers.abs() + 0.25)),
        "B": normal(B, L, N),
        "C": normal(B, L, N),
        "D": normal(d),
        "z": normal(B, L, d),
        "delta_bias": normal(d),
    }
    return {name: tensor.requires_grad_() for name, tensor in inputs.items()}


def draw_conv(B, L, d, K, dtype=torch.float64, seed=0, device="cpu"):
    """Inputs of a convolution, as `draw`."""
    normal = _normal(dtype, seed, device)
    inputs = {"x": normal(B, L, d), "weight": normal(d, K), "bias": normal(d)}
    return {name: tensor.requires_grad_() for name, tensor in inputs.items()}


def results(inputs, backend, **options):
    """Output `y`, last state `h` and every gradient, under fixed cotangents."""
    options = {"delta_softplus": True, **options}
    y, h = selective_scan(**inputs, backend=backend, return_last_state=True, **options)
    return {"y": y, "h": h} | gradients((y, h), inputs)


def conv_results(inputs, backend, **options):
    """Output `y` and every gradient, under a fixed cotangent."""
    y = causal_conv_silu(**inputs, backend=backend, **options)
    return {"y": y} | gradients((y,), inputs)


def gradients_through(part, inputs, backend):
    """Of every input, through the output (part 0) or the last state (1) alone."""
    both = selective_scan(**inputs, delta_softplus=True, return_last_state=True, backend=backend)
    found = torch.autograd.grad(both[part].square().sum(), inputs.values(), allow_unused=True)
    zeros = (torch.zeros_like(tensor) for tensor in inputs.values())
    return {
        name: zero if gradient is None else gradient
        for name, gradient, zero in zip(inputs, found, zeros, strict=True)
    }


def gradients(outputs, inputs):
    """Of each input that is given, under cotangents that depend on nothing but the shapes."""
    generator = torch.Generator().manual_seed(1)
    loss = sum(
        (part.double() * torch.randn(part.shape, generator=generator).to(part.device)).sum()
        for part in outputs
    )
    given = {name: tensor for name, tensor in inputs.items() if tensor is not None}
    return dict(zip(given, torch.autograd.grad(loss, list(given.values())), strict=True))


def assert_same(found, expected, tolerance=2e-6, floor=1e-2):
    """Each result within `tolerance` of the largest entry of what is expected, or of `floor`."""
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        have = found[name].detach().cpu().double()
        want = want.detach().cpu().double()
        assert have.shape == want.shape, name
        worst = (have - want).abs().max()
        scale = want.abs().max().clamp(min=floor)
        assert worst <= tolerance * scale, f"{name}: {worst / scale:.1e}"


def assert_equal(found, expected):
    """Bit for bit."""
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        assert torch.equal(found[name], want), name


def _normal(dtype, seed, device):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, change=lambda numbers: numbers):
        # Changed in float64 and rounded to bfloat16, so that every dtype sees the same inputs.
        numbers = change(torch.randn(*shape, generator=generator).bfloat16().double())
        return numbers.bfloat16().to(device, dtype)

    return normal
