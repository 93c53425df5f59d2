"""Frozen backbones in an experiment: what is kept, what is trained, what a bridge computes."""

import json
import math

import pytest
import torch

from fcilib import backbones
from fcilib.backbones import ByteLM, HubModel, byte_lm, features
from fcilib.layers.attention import RankOneAttention
from fcilib.model.states import measure_states
from fcilib.representations import Attention, Embedding, Flow, Frozen
from fcilib.routers import Investigator, RankOne
from fcilib.specs.size import Size
from fcilib.study.profiles import PROFILES
from fcilib.training.experiment import Experiment
from fcilib.training.loop import train
from fcilib.training.records import Records
from fcilib.training.run import run_one

SMOKE = PROFILES["smoke"]
TASK = SMOKE.evidence
SIZE = Size(TASK.vocabulary, TASK.length, SMOKE.width)
BRIDGES = ["none", "full", "sparse", "rank-one"]


def byte_model(family="transformer"):
    return ByteLM(family=family, layers=2, width=24, context=32, steps=2)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A folder that holds the weights of both families, trained on a few bytes."""
    pytest.importorskip("transformers", reason="needs transformers, of the extra test")
    root = tmp_path_factory.mktemp("backbones")
    text = torch.frombuffer(bytearray(b"one two three four " * 40), dtype=torch.uint8)
    for family in ("transformer", "mamba"):
        backbones.pretrained(byte_model(family), root, byte_lm.Corpus(text, text))
    return root


def forget():
    """As in a new process."""
    backbones.load.cache_clear()
    backbones.fingerprint.cache_clear()


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch, pretrained):
    monkeypatch.setenv("FCI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FCI_BACKBONES", str(pretrained))
    forget()
    yield
    forget()


def frozen(bridge="none", family="transformer", **more):
    return Frozen(backbone=byte_model(family), bridge=bridge, **more)


def experiment(representation, router=None, **more):
    return Experiment(
        task=TASK,
        width=SMOKE.width,
        representation=representation,
        router=router or Investigator(candidates="others"),
        training=SMOKE.frozen.model_copy(update=more),
    )


def built(spec, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return spec.build(SIZE)


# What the layers on top are given.


@pytest.mark.parametrize("layer", [0, 1, -1])
@pytest.mark.parametrize("weights", ["pretrained", "random"])
@pytest.mark.parametrize("family", ["transformer", "mamba"])
def test_states_that_were_prepared_are_those_of_the_tokens(family, weights, layer):
    module = built(frozen("full", family, weights=weights, layer=layer))
    batch = TASK.draw(21, 0)
    prepared = module.prepare(batch)
    assert prepared.tokens.dtype == torch.bfloat16
    assert prepared.tokens.shape == (21, TASK.length, 24)
    for name in ("query", "evidence", "label"):
        assert torch.equal(getattr(prepared, name), getattr(batch, name))
    x = module(batch.tokens)
    assert x.shape == (21, TASK.length, SMOKE.width)
    assert torch.equal(module(prepared.tokens), x)
    expected = backbones.load(byte_model(family), weights).states(batch.tokens, 16, layer)
    assert torch.equal(prepared.tokens, expected)


def test_states_are_computed_once_for_all_that_stands_on_them(monkeypatch):
    batch = TASK.draw(9, 0)
    first = built(frozen()).prepare(batch)
    backbones.load.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(backbones, "load", lambda *_: pytest.fail("loaded"))
        for bridge in BRIDGES:
            module = built(frozen(bridge, positions="learned"), seed=1)
            assert torch.equal(module.prepare(batch).tokens, first.tokens)


@pytest.mark.parametrize(
    "changed", [{"layer": 1}, {"weights": "random"}, {"family": "mamba"}, {"seed": 1}], ids=str
)
def test_what_changes_the_states_has_files_of_its_own(changed):
    first = built(frozen()).prepare(TASK.draw(9, 0))
    batch = TASK.draw(9, changed.get("seed", 0))
    module = built(frozen(**{k: v for k, v in changed.items() if k != "seed"}))
    other = module.prepare(batch)
    assert torch.equal(other.tokens, module.states(batch.tokens))
    assert not torch.equal(other.tokens, first.tokens)


def test_other_weights_under_the_same_name_have_states_of_their_own(tmp_path):
    """A folder that was written again, or a model that was pretrained again on another corpus."""
    model = byte_model().build()
    spec = Frozen(backbone=HubModel(name=str(tmp_path / "model")))
    batch = TASK.draw(4, 0)
    found = []
    for step in range(2):
        with torch.no_grad():
            model.get_input_embeddings().weight.add_(step)
        model.save_pretrained(tmp_path / "model")
        forget()
        found.append(spec.build(SIZE).prepare(batch).tokens)
    assert not torch.equal(*found)


def test_layer_0_has_no_context_and_the_last_has():
    tokens = TASK.draw(4, 0).tokens
    for layer, seen in ((0, False), (-1, True)):
        module = built(frozen(layer=layer))
        changed = tokens.clone()
        changed[:, 0] = (changed[:, 0] + 1) % 16
        same = (module(tokens) == module(changed)).all(dim=2)
        assert not same[:, 0].any()
        assert same[:, 1:].all() != seen
    for bridge in ("full", "rank-one", "sparse"):
        module = built(frozen(bridge, layer=0))
        assert not (module(tokens)[:, 1:] == module(changed)[:, 1:]).all()


def test_positions_are_told_where_asked():
    tokens = torch.ones(1, TASK.length, dtype=torch.long)
    plain, told = (built(frozen(positions=p, layer=0))(tokens)[0] for p in ("none", "learned"))
    assert torch.equal(plain, plain[:1].expand_as(plain))
    assert not torch.allclose(told[0], told[1])
    assert frozen().positions == "none"


# What is trained.


@pytest.mark.parametrize("positions", ["none", "learned"])
@pytest.mark.parametrize("bridge", BRIDGES)
def test_all_that_stands_on_the_backbone_is_trained_and_nothing_of_it(bridge, positions):
    module = built(frozen(bridge, positions=positions))
    module(TASK.draw(5, 0).tokens).square().sum().backward()
    parts = {"norm", "project"}
    parts |= {"position"} if positions == "learned" else set()
    parts |= {"bridge"} if bridge != "none" else set()
    assert {name.split(".")[0] for name, _ in module.named_parameters()} == parts
    assert {name.split(".")[0] for name in module.state_dict()} == parts
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    backbone = backbones.load(byte_model())
    assert all(p.grad is None and not p.requires_grad for p in backbone.parameters())


def test_training_leaves_the_backbone_as_it_was(pretrained):
    before = {name: t.clone() for name, t in backbones.load(byte_model()).state_dict().items()}
    stored = (pretrained / byte_model().identity / "model.safetensors").read_bytes()
    outcome = train(experiment(frozen("full")))
    after = backbones.load(byte_model()).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (pretrained / byte_model().identity / "model.safetensors").read_bytes() == stored
    assert not any("model" in name for name in outcome.model.state_dict())


# Whole runs.


@pytest.mark.parametrize("family", ["transformer", "mamba"])
@pytest.mark.parametrize("bridge", BRIDGES)
def test_every_bridge_trains_and_its_record_can_be_read_back(tmp_path, family, bridge):
    spec, records = experiment(frozen(bridge, family)), Records(tmp_path / "records")
    record = run_one(spec, records)
    assert records.read(records.path(spec)) == record
    assert run_one(spec, records) == record
    assert all(math.isfinite(value) for value in record.metrics.values())
    assert record.curve["loss"][-1] < record.curve["loss"][0]
    expected = sum(p.numel() for p in spec.build().parameters())
    assert record.parameters == expected


def test_a_run_can_keep_what_the_states_say_of_the_tokens():
    plain = experiment(frozen(layer=1))
    probed = plain.model_copy(update={"probing": "states"})
    outcome, drawn = train(probed), TASK.draw(probed.training.held_out, 0, "test")
    said = measure_states(built(probed.representation).prepare(drawn).tokens, drawn)
    assert outcome.probes == train(plain).probes | said
    assert outcome.metrics == train(plain).metrics


@pytest.mark.parametrize("router", [None, RankOne(candidates="others")], ids=["none", "rank-one"])
def test_a_run_is_repeatable_from_tokens_and_from_disk(router):
    spec = experiment(frozen("full"), router)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second = train(spec), train(spec)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.curve == second.curve
    assert first.probes == second.probes


def test_whether_states_lie_on_disk_changes_nothing(monkeypatch):
    """The first run of a process loads the backbone, later ones don't: a matter of no number."""
    for family in ("transformer", "mamba"):
        spec = experiment(frozen("sparse", family))
        first = train(spec)
        backbones.load.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(backbones, "load", lambda *_: pytest.fail("loaded"))
            second = train(spec)
        assert first.curve == second.curve


class Stopped(Exception):
    pass


@pytest.mark.parametrize("stop_at", [1, 5, 9])
@pytest.mark.parametrize("bridge", ["none", "sparse", "rank-one"])
def test_a_stopped_run_ends_as_if_it_had_not_been(tmp_path, bridge, stop_at):
    spec = experiment(frozen(bridge), epochs=3)
    expected = train(spec)
    checkpoint = tmp_path / "checkpoint.safetensors"

    def stop(done, *_):
        if done >= stop_at:
            raise Stopped

    with pytest.raises(Stopped):
        train(spec, checkpoint, stop)
    resumed_from = []
    outcome = train(spec, checkpoint, lambda done, *_: resumed_from.append(done))
    assert resumed_from[0] == 4 * ((stop_at - 1) // 4) + 1
    assert outcome.curve == expected.curve
    assert outcome.metrics == expected.metrics
    assert outcome.probes == expected.probes
    ended, whole = outcome.model.state_dict(), expected.model.state_dict()
    assert list(ended) == list(whole)
    assert all(torch.equal(ended[name], whole[name]) for name in whole)


def test_a_run_stopped_while_states_are_computed_goes_on_from_the_last_piece(tmp_path, monkeypatch):
    spec = experiment(frozen())
    monkeypatch.setattr(features, "PIECE", 50)  # 128 and 64 sequences: five pieces
    expected = train(spec)
    monkeypatch.setenv("FCI_CACHE", str(tmp_path / "second"))
    computed, states = [], backbones.FrozenBackbone.states

    def count(self, tokens, *rest):
        if len(computed) == 2:
            computed.append(0)
            raise Stopped
        computed.append(len(tokens))
        return states(self, tokens, *rest)

    monkeypatch.setattr(backbones.FrozenBackbone, "states", count)
    with pytest.raises(Stopped):
        train(spec)
    outcome = train(spec)
    assert computed == [50, 50, 0, 28, 50, 14]
    assert outcome.curve == expected.curve
    assert outcome.metrics == expected.metrics


# Attention by fingerprints.


def dense(layer, x):
    """softmax(s s^T) v, a head at a time, all of it written out."""
    heads, width = layer.heads, x.shape[-1]
    mixed = x @ layer.qkv.weight.T + layer.qkv.bias
    prints, values = mixed[..., :heads], mixed[..., heads:].split(width // heads, dim=-1)
    read = []
    for head in range(heads):
        s = prints[..., head]
        scores = s[:, :, None] * s[:, None, :]
        read.append(torch.softmax(scores, dim=2) @ values[head])
    return torch.cat(read, dim=-1) @ layer.out.weight.T + layer.out.bias


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 7, 33])
def test_rank_one_attention_is_that_of_products_of_fingerprints(length, heads):
    torch.manual_seed(0)
    layer = RankOneAttention(16, heads).double()
    x = (2 * torch.randn(3, length, 16, dtype=torch.float64)).requires_grad_()
    found, expected = layer(x), dense(layer, x)
    torch.testing.assert_close(found, expected)
    cotangent = torch.randn_like(expected)
    wanted = [x, *layer.parameters()]
    for one, two in zip(
        torch.autograd.grad(found, wanted, cotangent),
        torch.autograd.grad(expected, wanted, cotangent),
        strict=True,
    ):
        torch.testing.assert_close(one, two)


def test_rank_one_attention_has_a_number_per_head_in_place_of_queries_and_keys():
    layer = RankOneAttention(16, 4)
    assert sum(p.numel() for p in layer.parameters()) == 17 * (4 + 16) + 17 * 16
    with pytest.raises(ValueError, match="heads: 3 does not divide the width 16"):
        RankOneAttention(16, 3)


# Identity.


REST = (
    '"router":{"candidates":"others","kind":"investigator"},'
    '"task":{"distractors":2,"kind":"evidence","length":32,"min_distance":8,"vocabulary":16},'
    '"training":{"epochs":2,"held_out":64,"sequences":128},"width":16}'
)


@pytest.mark.parametrize(
    ("representation", "known"),
    [
        (Embedding(), '{"kind":"embedding"}'),
        (Attention(layers=2), '{"kind":"attention","layers":2}'),
        (Flow(layers=1, bidirectional=True), '{"bidirectional":true,"kind":"flow","layers":1}'),
    ],
    ids=["embedding", "attention", "flow"],
)
def test_other_experiments_are_what_they_were_before_this_representation(representation, known):
    """Their text names their records, and says nothing of what it does not use."""
    assert experiment(representation).canonical() == f'{{"representation":{known},{REST}'


def test_a_frozen_experiment_comes_back_from_its_json():
    spec = experiment(frozen("rank-one", "mamba", layer=1, weights="random"))
    again = Experiment.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert again.identity == spec.identity
    inner = json.loads(spec.canonical())["representation"]
    assert inner["backbone"] == byte_model("mamba").essence()
    assert (inner["layer"], inner["weights"], inner["bridge"]) == (1, "random", "rank-one")


def test_whatever_changes_a_run_changes_its_identity():
    specs = [
        frozen(),
        *(frozen(bridge) for bridge in BRIDGES[1:]),
        frozen(family="mamba"),
        frozen(layer=0),
        frozen(weights="random"),
        frozen(positions="learned"),
        frozen("full", heads=2),
    ]
    assert len({experiment(spec).identity for spec in specs}) == len(specs)


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("bridge", {"bridge": "causal"}),
        ("weights", {"weights": "untrained"}),
        ("heads", {"heads": 0}),
        ("colour", {"colour": "red"}),
    ],
)
def test_bad_fields_are_named(field, options):
    with pytest.raises(ValueError, match=field):
        frozen(**options)


def test_a_task_with_more_tokens_than_the_backbone_is_refused():
    spec = frozen().build(Size(vocabulary=300, length=32, width=16))
    with pytest.raises(ValueError, match="vocabulary: 300"):
        spec.prepare(TASK.draw(2, 0))
