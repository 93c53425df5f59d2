"""What all representations owe the router, and what each owes its name."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn import functional as F

from fcilib.backbones import TRANSFORMER_3M
from fcilib.layers.attention import LinearSelfAttention, SelfAttention, SparseAttention
from fcilib.representations import (
    AblatedAttention,
    Anchored,
    Attention,
    Contrastive,
    Embedding,
    Flow,
    Fourier,
    Frozen,
    GlobalMean,
    Hybrid,
    LinearAttention,
    Perceiver,
)
from fcilib.representations.ablated import (
    KeyOnlyAttention,
    OwnValueAttention,
    UniformAttention,
)
from fcilib.representations.anchored import Sponsorship
from fcilib.representations.base import RepresentationSpec, TokenEmbedding, sinusoids
from fcilib.representations.embedding import LIKENESS, liken
from fcilib.representations.mixing import FourierMixing
from fcilib.routers import Investigator
from fcilib.specs.kinds import kinds
from fcilib.specs.size import Size
from fcilib.tasks import Evidence
from fcilib.training.experiment import Experiment, Training
from fcilib.training.loop import train

SIZE = Size(vocabulary=20, length=37, width=16)

VARIANTS = [
    Embedding(),
    Embedding(positions="none", layers=2),
    Flow(layers=2),
    Flow(layers=1, bidirectional=True),
    Attention(layers=2),
    Attention(mask="causal"),
    Attention(mask="sparse", window=8, global_tokens=3),
    Attention(feed_forward=False),
    LinearAttention(),
    Perceiver(hubs=1),
    Perceiver(hubs=4, layers=2),
    GlobalMean(),
    GlobalMean(residual=True),
    Fourier(),
    Fourier(residual=True, orthonormal=True),
    Embedding(alike=3),
    Anchored(),
    Anchored(positions="none", anchors=1),
    Contrastive(frozen=False),
    *(
        AblatedAttention(without=without, residual=residual)
        for without in ("nothing", "comparison", "normalisation", "aggregation")
        for residual in (True, False)
    ),
    AblatedAttention(without="comparison", layers=2),
    Hybrid(layers=("attention", "bidirectional-flow")),
]

TRIED = {Frozen, *map(type, VARIANTS)}
EVERY = [*VARIANTS, *(c() for c in kinds(RepresentationSpec).values() if c not in TRIED)]
"""With every other kind that the library lists, at its defaults. `Frozen` has tests of its own."""

ABLATED = [spec for spec in EVERY if isinstance(spec, AblatedAttention)]


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


@pytest.mark.parametrize(("batch", "length"), [(2, 37), (1, 1), (3, 5)])
def test_a_frozen_representation_has_shapes_and_no_gradient(batch, length):
    module = Contrastive().build(SIZE)
    x = module(tokens(batch, length))
    assert x.shape == (batch, length, 16)
    assert not x.requires_grad
    assert not any(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("spec", [*EVERY, Contrastive()], ids=ids)
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
        (Embedding(alike=3), False, False),
        (Anchored(), False, False),
        (Contrastive(), False, False),
        (Contrastive(frozen=False), False, False),
        *((spec, spec.without != "aggregation", spec.without != "aggregation") for spec in ABLATED),
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


@pytest.mark.parametrize(
    "spec",
    [
        Attention(heads=3),
        LinearAttention(heads=5),
        Perceiver(heads=3),
        AblatedAttention(heads=3, without="comparison"),
    ],
)
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_fourier_mixing_keeps_the_type_of_the_layers_around_it(dtype):
    torch.manual_seed(0)
    layers = Fourier(orthonormal=True).build(Size(20, 9, 16)).to(dtype)
    x = layers(torch.arange(18).view(2, 9))
    assert x.dtype == dtype
    assert x.isfinite().all()


def test_the_mean_alone_makes_all_tokens_one():
    x = GlobalMean().build(SIZE)(tokens())
    torch.testing.assert_close(x, x[:, :1].expand_as(x))
    x = GlobalMean(residual=True).build(SIZE)(tokens())
    assert (x - x[:, :1]).abs().amax() > 0.1


def test_depth_zero_is_the_embedding_itself():
    names = [set(spec.build(SIZE).state_dict()) for spec in (Attention(layers=0), Embedding())]
    assert names[0] == names[1]


# Attention with a step taken away, against torch's with weights that do without it.


def gradients(y, inputs):
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad((y * weight).sum(), inputs)


def test_without_nothing_is_attention():
    ours = AblatedAttention(layers=2).build(SIZE)
    theirs = Attention(layers=2).build(SIZE)
    theirs.load_state_dict(ours.state_dict())
    got, expected = ours(tokens()), theirs(tokens())
    assert torch.equal(got, expected)
    inputs = (tuple(ours.parameters()), tuple(theirs.parameters()))
    for a, b in zip(*(gradients(y, i) for y, i in zip((got, expected), inputs, strict=True)),
                    strict=True):  # fmt: skip
        assert torch.equal(a, b)


@pytest.mark.parametrize("length", [1, 9, 37])
@pytest.mark.parametrize("mixer", [KeyOnlyAttention, UniformAttention, OwnValueAttention])
def test_a_step_less_is_torchs_attention_with_weights_that_leave_it_out(mixer, length):
    ours = mixer(16, 4)
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    weight, bias = ours.qkv.weight.detach().clone(), ours.qkv.bias.detach().clone()
    mask = None
    if mixer is KeyOnlyAttention:  # every query is the same u
        weight[:16] = 0
        bias[:16] = ours.asking.detach().flatten()
    elif mixer is UniformAttention:  # all keys are zero, so all scores are equal
        weight[16:32] = 0
        bias[16:32] = 0
    else:  # every token may look at itself only
        mask = ~torch.eye(length, dtype=torch.bool)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = weight, bias
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    x = torch.randn(2, length, 16, requires_grad=True)
    got = ours(x)
    expected = theirs(x, x, x, attn_mask=mask, need_weights=False)[0]
    torch.testing.assert_close(got, expected)
    mine = gradients(got, (x, ours.qkv.weight, ours.out.weight))
    its = gradients(expected, (x, theirs.in_proj_weight, theirs.out_proj.weight))
    torch.testing.assert_close(mine[0], its[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mine[1][32:], its[1][32:], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mine[2], its[2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("mixer", "learns"),
    [
        (SelfAttention, (True, True, True)),
        (KeyOnlyAttention, (False, True, True)),
        (UniformAttention, (False, False, True)),
        (OwnValueAttention, (False, False, True)),
    ],
)
def test_what_a_taken_step_would_have_used_learns_nothing(mixer, learns):
    module = mixer(16, 4)
    module(torch.randn(2, 9, 16)).square().sum().backward()
    for part, expected in zip(module.qkv.weight.grad.split(16), learns, strict=True):
        assert bool(part.any()) == expected
    if mixer is KeyOnlyAttention:
        assert module.asking.grad.abs().sum() > 0


@pytest.mark.parametrize("without", ["comparison", "normalisation"])
def test_without_the_residual_such_attention_makes_all_tokens_one(without):
    spec = AblatedAttention(without=without, residual=False)
    x = spec.build(SIZE)(tokens())
    torch.testing.assert_close(x, x[:, :1].expand_as(x))
    x = AblatedAttention(without=without).build(SIZE)(tokens())
    assert (x - x[:, :1]).abs().amax() > 0.1


@pytest.mark.parametrize("without", ["nothing", "comparison", "normalisation", "aggregation"])
def test_the_residual_is_what_is_added_and_nothing_else(without):
    spec = AblatedAttention(without=without)
    sums, alone = spec.build(SIZE), spec.model_copy(update={"residual": False}).build(SIZE)
    alone.load_state_dict(sums.state_dict())
    block = sums[1]
    x = sums[0](tokens())
    mixed = block.mix(block.mix_norm(x))
    for module, read in ((sums, x + mixed), (alone, mixed)):
        expected = read + block.feed_forward(block.feed_forward_norm(read))
        torch.testing.assert_close(module(tokens()), expected)


# Anchors, likeness, contrast.


@pytest.mark.parametrize("shape", [(2, 37), (1, 1), (3, 5)])
def test_sponsorship_is_attention_to_the_anchors(shape):
    module = Sponsorship(16, 7)
    x = torch.randn(*shape, 16, requires_grad=True)
    anchors = module.anchors.expand(shape[0], 7, 16)
    expected = x + F.scaled_dot_product_attention(x, anchors, anchors)
    got = module(x)
    torch.testing.assert_close(got, expected)
    inputs = (x, module.anchors)
    for a, b in zip(gradients(got, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("vocabulary", "alike"), [(301, 3), (257, 8), (100, 7)])
def test_likened_vectors_resemble_those_of_their_run_and_no_others(vocabulary, alike):
    vectors = torch.randn(vocabulary, 512)
    before = vectors.clone()
    liken(vectors, alike)
    assert torch.equal(vectors[0], before[0])
    unit = F.normalize(vectors, dim=1)
    cosines = unit @ unit.T
    run = (torch.arange(vocabulary) - 1).div(alike, rounding_mode="floor")
    same = (run[:, None] == run) & ~torch.eye(vocabulary, dtype=torch.bool)
    assert same[1:].any(dim=1).float().mean() > 0.9
    assert cosines[same].mean().item() == pytest.approx(LIKENESS, abs=0.02)
    assert cosines[same].min() > 0.6
    other = cosines[run[:, None] != run]
    assert other.mean().item() == pytest.approx(0, abs=0.01)
    assert other.abs().max() < 0.35
    assert vectors.std().item() == pytest.approx(1, abs=0.02)


def test_an_embedding_of_likened_tokens_starts_from_them():
    x = Embedding(alike=3, positions="none").build(Size(31, 30, 256))(torch.arange(31)[None, 1:])
    unit = F.normalize(x[0], dim=1)
    cosines = (unit @ unit.T).unflatten(0, (10, 3)).unflatten(2, (10, 3))
    near = cosines.mean(dim=(1, 3))
    assert torch.equal(near.argmax(dim=1), torch.arange(10))
    assert near.diagonal().min() > 0.7


def pairs(count=96, seed=0):
    task = Evidence(length=37, vocabulary=20, min_distance=8, distractors=2)
    return task.draw(count, seed)


def contrast(**fields):
    torch.manual_seed(0)
    return Contrastive(**fields).build(SIZE)


def test_before_pretraining_the_projection_is_the_identity():
    torch.manual_seed(0)
    raw = Embedding().build(SIZE)(tokens())
    torch.testing.assert_close(contrast()(tokens()), raw)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("count", [1, 2, 31])
def test_the_contrastive_loss_is_a_loop_over_queries_and_evidence(temperature, count):
    module, batch = contrast(temperature=temperature), pairs(count)
    with torch.no_grad():
        module.project.weight.add_(torch.randn(16, 16) / 10)
        x = module(batch.tokens).double().numpy()
    losses = []
    for i in range(count):
        asking = x[i, batch.query[i]]
        likeness = []
        for j in range(count):
            answer = x[j, batch.evidence[j]]
            cosine = asking @ answer / np.linalg.norm(asking) / np.linalg.norm(answer)
            likeness.append(cosine / temperature)
        losses.append(np.log(np.sum(np.exp(likeness))) - likeness[i])
    assert module.loss(batch).item() == pytest.approx(np.mean(losses), abs=1e-4)


@pytest.mark.parametrize("frozen", [True, False])
def test_pretraining_lowers_the_contrastive_loss(frozen):
    module = contrast(frozen=frozen, epochs=8, learning_rate=0.01)
    data, fresh = pairs(256), pairs(64, seed=1)
    before = module.loss(data).item(), module.loss(fresh).item()
    module.pretrain(data)
    after = module.loss(data).item(), module.loss(fresh).item()
    assert after[0] < before[0] - 0.2
    assert after[1] < before[1] - 0.2
    assert all(p.requires_grad != frozen for p in module.parameters())
    assert all(p.grad is None for p in module.parameters())


def test_pretraining_repeats_and_no_epoch_of_it_changes_nothing():
    data = pairs()
    modules = [contrast(epochs=epochs) for epochs in (2, 2, 0)]
    untouched = contrast()
    for module in modules:
        torch.manual_seed(3)
        module.pretrain(data)
    one, other, none = (module.state_dict() for module in modules)
    for name, start in untouched.state_dict().items():
        assert torch.equal(one[name], other[name])
        assert torch.equal(none[name], start)
        assert not torch.equal(one[name], start)


@pytest.mark.parametrize("frozen", [True, False])
def test_what_is_frozen_stays_as_pretrained_and_what_is_not_moves(frozen):
    experiment = Experiment(
        task=Evidence(length=32, vocabulary=16, min_distance=8, distractors=2),
        width=16,
        representation=Contrastive(frozen=frozen, epochs=1),
        router=Investigator(),
        training=Training(sequences=128, epochs=1, held_out=32),
    )
    torch.manual_seed(0)
    model = experiment.build()
    model.representation.pretrain(experiment.task.draw(128, 0))
    outcome = train(experiment)
    ended = outcome.model.representation.state_dict()
    for name, pretrained in model.representation.state_dict().items():
        assert torch.equal(ended[name], pretrained) == frozen, name
    left = sum(p.numel() for p in model.representation.parameters())
    every = sum(p.numel() for p in model.parameters())
    assert outcome.parameters == (every - left if frozen else every)


# What the vectors start from, and whether they are trained.


def changed(spec, **fields):
    return type(spec).model_validate({**dict(spec), **fields})


def built(spec, size=SIZE):
    """The module, and what torch's random stream gives next."""
    torch.manual_seed(11)
    return spec.build(size), torch.rand(2)


def vector_names(module):
    """The parameters that are vectors of tokens and positions."""
    return {
        name
        for prefix, part in module.named_modules()
        if isinstance(part, TokenEmbedding)
        for name, _ in part.named_parameters(prefix=prefix)
    }


@pytest.mark.parametrize("scale", [0.25, 0.02, 3.0])
@pytest.mark.parametrize("spec", [*EVERY, Contrastive()], ids=ids)
def test_the_scale_is_that_of_the_vectors_and_of_nothing_else(spec, scale):
    plain, after = built(spec)
    scaled, after_scaled = built(changed(spec, embedding_scale=scale))
    vectors = vector_names(plain)
    assert vectors
    mine, its = dict(scaled.named_parameters()), dict(plain.named_parameters())
    assert mine.keys() == its.keys()
    for name in its:
        if name not in vectors:
            assert torch.equal(mine[name], its[name]), name
        elif getattr(spec, "alike", 1) == 1 or scale == 0.25:
            assert torch.equal(mine[name], scale * its[name]), name
        else:  # the sum of two that are scaled each, so rounded elsewhere
            torch.testing.assert_close(mine[name], scale * its[name])
    assert torch.equal(after, after_scaled)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
@pytest.mark.parametrize("alike", [1, 3])
def test_the_scale_is_the_standard_deviation_before_training(positions, alike):
    spec = Embedding(positions=positions, embedding_scale=0.02, alike=alike)
    for name, vectors in spec.build(Size(400, 300, 64)).named_parameters():
        assert vectors.square().mean().sqrt().item() == pytest.approx(0.02, rel=0.02), name


def test_likening_keeps_the_scale():
    vectors = 0.1 * torch.randn(301, 512)
    liken(vectors, 3, 0.1)
    assert vectors.std().item() == pytest.approx(0.1, rel=0.02)


@given(st.floats(max_value=0) | st.just(math.nan) | st.text() | st.none() | st.booleans())
def test_a_scale_that_is_none_is_refused_by_name(scale):
    with pytest.raises(ValidationError, match="embedding_scale"):
        Embedding(embedding_scale=scale)


@given(
    st.sampled_from(["positions", "embeddings"]),
    st.text().filter(lambda t: t not in ("learned", "sinusoidal", "none", "trained", "frozen")),
)
def test_a_choice_that_is_none_is_refused_by_name(field, choice):
    with pytest.raises(ValidationError, match=field):
        Attention(**{field: choice})


@pytest.mark.parametrize("spec", [s for s in EVERY if not isinstance(s, Contrastive)], ids=ids)
def test_frozen_vectors_start_the_same_and_get_no_gradient(spec):
    trained, after = built(spec)
    frozen, after_frozen = built(changed(spec, embeddings="frozen"))
    assert torch.equal(after, after_frozen)
    its, vectors = dict(trained.named_parameters()), vector_names(trained)
    for name, parameter in frozen.named_parameters():
        assert torch.equal(parameter, its[name])
        assert parameter.requires_grad == (name not in vectors), name
    x = frozen(tokens())
    if x.requires_grad:
        x.square().sum().backward()
    assert all(dict(frozen.named_parameters())[name].grad is None for name in vectors)


def short(representation):
    return Experiment(
        task=Evidence(length=32, vocabulary=16, min_distance=8, distractors=2),
        width=16,
        representation=representation,
        router=Investigator(),
        training=Training(sequences=128, epochs=1, held_out=32),
    )


def before_and_after(representation):
    """The parameters of the representation before training and after it."""
    experiment = short(representation)
    torch.manual_seed(experiment.seed)
    start = dict(experiment.build().representation.named_parameters())
    return start, dict(train(experiment).model.representation.named_parameters())


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("embeddings", ["trained", "frozen"])
def test_training_moves_what_is_trained_and_nothing_that_is_frozen(positions, embeddings):
    fields = {"positions": positions, "embeddings": embeddings}
    start, end = before_and_after(Attention(**fields))
    still = {name for name in start if torch.equal(start[name], end[name])}
    expected = set()
    if embeddings == "frozen":
        expected = {"0.token.weight", "0.position.weight"}
    elif positions == "sinusoidal":
        expected = {"0.position.weight"}
    assert still == expected


def test_parameters_are_those_that_are_trained():
    """32 position vectors and 16 token vectors of width 16 less."""
    both = [train(short(Attention(embeddings=e))).parameters for e in ("trained", "frozen")]
    assert both[0] - both[1] == (32 + 16) * 16


@pytest.mark.parametrize("length", [1, 37, 512])
@pytest.mark.parametrize("width", [2, 6, 64])
def test_sinusoids_are_those_of_vaswani_sines_first_and_scaled(length, width):
    """PE(p, 2i) = sin(p / 10000^(2i / d)) and PE(p, 2i + 1) = cos(…), times the root of two."""
    expected = [
        [
            2**0.5 * wave(position / 10000 ** (2 * i / width))
            for wave in (math.sin, math.cos)
            for i in range(width // 2)
        ]
        for position in range(length)
    ]
    torch.testing.assert_close(sinusoids(length, width), torch.tensor(expected), atol=2e-4, rtol=0)


@pytest.mark.parametrize("width", [1, 3, 17, 63])
def test_an_odd_width_is_the_next_one_without_its_last_cosine(width):
    assert torch.equal(sinusoids(40, width), sinusoids(40, width + 1)[:, :width])


@pytest.mark.parametrize("width", [2, 16, 64])
def test_sinusoids_have_a_mean_square_of_one_at_every_position(width):
    squares = sinusoids(200, width).square().mean(dim=1)
    torch.testing.assert_close(squares, torch.ones(200), atol=1e-4, rtol=0)


@pytest.mark.parametrize("width", [16, 17])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_sinusoids_are_added_to_the_token_and_scaled_with_it(width, scale):
    spec = Embedding(positions="sinusoidal", embedding_scale=scale)
    module, _ = built(spec, Size(20, 37, width))
    x = module(tokens(2, 9))
    token = module[0].token.weight[tokens(2, 9)]
    torch.testing.assert_close(x - token, (scale * sinusoids(9, width)).expand(2, 9, width))
    learned, after = built(Embedding(), Size(20, 37, width))
    assert torch.equal(module[0].token.weight, scale * learned[0].token.weight)
    assert torch.equal(after, built(spec, Size(20, 37, width))[1])


@pytest.mark.parametrize(
    "spec",
    [s for s in EVERY if not isinstance(s, Contrastive)] + [Contrastive(frozen=False)],
    ids=ids,
)
def test_sinusoids_are_never_trained(spec):
    module = changed(spec, positions="sinusoidal").build(SIZE)
    module(tokens()).square().sum().backward()
    (position,) = [p for n, p in module.named_parameters() if n.endswith("position.weight")]
    assert not position.requires_grad
    assert position.grad is None
    assert torch.equal(position, sinusoids(37, 16))


@pytest.mark.parametrize("frozen", [True, False])
def test_pretraining_leaves_sinusoids_alone(frozen):
    module = contrast(positions="sinusoidal", frozen=frozen, epochs=1)
    module.pretrain(pairs())
    assert torch.equal(module.embedding.position.weight, sinusoids(37, 16))


def test_too_long_a_sequence_is_refused_with_sinusoids_too():
    with pytest.raises(ValueError, match="37"):
        Embedding(positions="sinusoidal").build(SIZE)(tokens(1, 38))


def test_pretraining_of_frozen_embeddings_is_refused():
    with pytest.raises(ValidationError, match="embeddings: pretraining trains them"):
        Contrastive(embeddings="frozen")


@pytest.mark.parametrize("frozen", [True, False])
def test_contrastive_takes_a_scale_and_keeps_its_map_the_identity(frozen):
    scaled, _ = built(Contrastive(frozen=frozen, embedding_scale=0.25))
    plain, _ = built(Contrastive(frozen=frozen))
    torch.testing.assert_close(scaled(tokens()), 0.25 * plain(tokens()))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("embedding_scale", 0.5),
        ("embeddings", "frozen"),
        ("positions", "sinusoidal"),
        ("vectors", "minilm"),
    ],
)
def test_a_frozen_backbone_has_no_vectors_of_ours(field, value):
    with pytest.raises(ValidationError, match=field):
        Frozen(backbone=TRANSFORMER_3M, **{field: value})


def test_a_frozen_backbone_takes_the_defaults_said_aloud():
    said = Frozen(backbone=TRANSFORMER_3M, embedding_scale=1.0, embeddings="trained")
    assert said == Frozen(backbone=TRANSFORMER_3M)
