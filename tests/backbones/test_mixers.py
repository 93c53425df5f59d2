"""transformers' Mamba on this project's scan against its own way, position by position."""

import copy

import pytest
import torch

from fcilib.backbones.mixers import use_our_scan
from fcilib.layers.mamba import MambaBlock

transformers = pytest.importorskip("transformers", reason="needs transformers, of the extra test")

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "use_cache": False}


def mamba(kind="MambaForCausalLM", **options):
    """A small model of transformers, every weight moved off its default."""
    torch.manual_seed(0)
    config = transformers.MambaConfig(**{**SIZES, "state_size": 4, **options})
    model = getattr(transformers, kind)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def ids(length):
    rng = torch.Generator().manual_seed(2)
    return torch.randint(40, (3, length), generator=rng)


def results(model, length):
    """What the model gives, and the gradient of every parameter by name."""
    output = model(input_ids=ids(length))[0]
    rng = torch.Generator().manual_seed(3)
    cotangent = torch.randn(output.shape, generator=rng).to(output.dtype)
    names = [name for name, _ in model.named_parameters()]
    gradients = torch.autograd.grad(output, list(model.parameters()), cotangent)
    return dict(zip(["output", *names], [output, *gradients], strict=True))


def assert_same(found, expected, tolerance=1e-4):
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        assert (found[name] - want).abs().max() <= tolerance * want.abs().max(), name


@pytest.mark.parametrize("kind", ["MambaForCausalLM", "MambaModel"])
@pytest.mark.parametrize("length", [1, 3, 17, 65])
def test_equals_transformers_forward_and_backward(kind, length):
    theirs = mamba(kind)
    expected = results(theirs, length)
    assert_same(results(use_our_scan(copy.deepcopy(theirs)), length), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"conv_kernel": 2},
        {"expand": 3},
        {"time_step_rank": 5},
        {"state_size": 7},
        {"tie_word_embeddings": True},
        {"residual_in_fp32": False},
    ],
    ids=lambda options: next(iter(options)),
)
def test_every_size_of_the_configuration_is_heeded(options):
    theirs = mamba(**options)
    expected = results(theirs, 9)
    assert_same(results(use_our_scan(copy.deepcopy(theirs)), 9), expected)


def test_every_mixer_is_replaced_and_no_weight_changes():
    theirs = mamba()
    before = copy.deepcopy(theirs.state_dict())
    ours = use_our_scan(theirs)
    assert ours is theirs
    assert all(isinstance(layer.mixer, MambaBlock) for layer in ours.backbone.layers)
    after = ours.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in mamba().parameters())


def test_done_twice_is_done_once():
    once = use_our_scan(mamba())
    expected = results(once, 9)
    assert_same(results(use_our_scan(once), 9), expected, tolerance=0)


def test_what_is_saved_is_read_by_transformers(tmp_path):
    ours = use_our_scan(mamba())
    ours.save_pretrained(tmp_path)
    theirs = transformers.MambaForCausalLM.from_pretrained(tmp_path)
    assert not isinstance(theirs.backbone.layers[0].mixer, MambaBlock)
    assert_same(results(theirs, 9), results(ours, 9))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_no_input(side):
    theirs = mamba()
    ours = use_our_scan(copy.deepcopy(theirs))
    mask = torch.ones(3, 9, dtype=torch.int64)
    for row, missing in enumerate((0, 2, 5)):
        mask[row, slice(0, missing) if side == "left" else slice(9 - missing, 9)] = 0
    expected, found = (
        model(input_ids=ids(9), attention_mask=mask, use_cache=False).logits
        for model in (theirs, ours)
    )
    assert_same({"logits": found}, {"logits": expected})


@torch.no_grad()
def test_cached_steps_equal_those_of_transformers():
    theirs = mamba()
    ours = use_our_scan(copy.deepcopy(theirs))
    found, expected = [], []
    for model, logits in ((theirs, expected), (ours, found)):
        cache = None
        for part in ids(9).split([6, 1, 1, 1], dim=1):
            output = model(
                input_ids=part, cache_params=cache, past_key_values=cache, use_cache=True
            )
            cache = output.cache_params
            logits.append(output.logits)
    for step, want in zip(found, expected, strict=True):
        assert_same({"logits": step}, {"logits": want})


@pytest.mark.parametrize("seed", range(3))
def test_generates_what_transformers_generates(seed):
    theirs = mamba()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.manual_seed(seed)))
    ours = use_our_scan(copy.deepcopy(theirs))
    options = {"max_new_tokens": 12, "do_sample": False, "use_cache": True, "pad_token_id": 0}
    expected, found = (
        model.eval().generate(ids(5), attention_mask=torch.ones_like(ids(5)), **options)
        for model in (theirs, ours)
    )
    assert torch.equal(found, expected)


def test_width_need_not_be_a_multiple():
    theirs = mamba(intermediate_size=24)
    theirs.config.intermediate_size = 24
    expected = results(theirs, 9)
    assert_same(results(use_our_scan(copy.deepcopy(theirs)), 9), expected)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_type_and_mode_of_the_model_are_kept(dtype, training):
    model = use_our_scan(mamba().to(dtype).train(training))
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert {m.training for m in model.modules()} == {training}
    assert model(input_ids=ids(5)).logits.isfinite().all()


def test_anything_else_is_left_as_it_is():
    config = transformers.GPTNeoXConfig(**SIZES, num_attention_heads=2, intermediate_size=32)
    model = transformers.GPTNeoXModel(config)
    modules = [*model.modules()]
    assert use_our_scan(model) is model
    assert [*map(id, model.modules())] == [*map(id, modules)]


@pytest.mark.parametrize(
    "options", [{"use_bias": True}, {"use_conv_bias": False}, {"hidden_act": "gelu"}]
)
def test_a_mamba_of_another_make_is_refused(options):
    model = mamba(**options)
    mixers = [layer.mixer for layer in model.backbone.layers]
    with pytest.raises(ValueError, match="model: a Mamba with other biases or activations"):
        use_our_scan(model)
    assert [layer.mixer for layer in model.backbone.layers] == mixers
