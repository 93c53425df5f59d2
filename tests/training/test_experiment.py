"""Descriptions: strict, whole, and their own identity."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn import Identity, LayerNorm

from fcilib.backbones import TRANSFORMER_3M
from fcilib.model.council import Council
from fcilib.representations import Attention, Contrastive, Embedding, Flow, Frozen
from fcilib.routers import BloomIndex, BM25Index, Investigator, RankOne, SegmentRouter
from fcilib.study.profiles import PROFILES, profile
from fcilib.tasks import Evidence, Ladder
from fcilib.training.experiment import Experiment, Training
from fcilib.training.records import Records

COMMITTED = Path(__file__).parents[2] / "records" / "quick"

ATTENTION = {"kind": "attention"}
HALF = "\ud800"
"""Half a character: no text."""
BASE = Experiment(task=Evidence(), representation=Embedding(), router=Investigator())


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("representation.attention.layres", {"representation": {**ATTENTION, "layres": 1}}),
        ("representation.attention.layers", {"representation": {**ATTENTION, "layers": "1"}}),
        ("representation.attention.mask", {"representation": {**ATTENTION, "mask": None}}),
        ("representation", {"representation": {"kind": "mamba"}}),
        ("router.investigator.candidates", {"router": {"kind": "investigator", "candidates": "x"}}),
        ("router.rank-one.heads", {"router": {"kind": "rank-one", "heads": 4}}),
        (
            "representation.attention.embedding_scale",
            {"representation": {**ATTENTION, "embedding_scale": 0.0}},
        ),
        (
            "representation.attention.embeddings",
            {"representation": {**ATTENTION, "embeddings": "melted"}},
        ),
        (
            "representation.attention.positions",
            {"representation": {**ATTENTION, "positions": "rotary"}},
        ),
        (
            "representation.contrastive",
            {"representation": {"kind": "contrastive", "embeddings": "frozen"}},
        ),
        ("normalisation", {"normalisation": "batch"}),
        ("task.ladder.rung", {"task": {"kind": "ladder"}}),
        ("task.evidence.length", {"task": {"kind": "evidence", "length": 512.5}}),
        ("training.epochs", {"training": {"epochs": -1}}),
        ("training.routing_weight", {"training": {"routing_weight": (1.0,)}}),
        ("training.learning_rate", {"training": {"learning_rate": math.inf}}),
        ("training.routing_weight.1", {"training": {"routing_weight": (1.0, math.nan)}}),
        ("training", {"training": {"routing_weight": (1.0, -0.1)}}),
        (
            "training",
            {"training": {"routing_weight": (0.0, 0.1), "routing_decay": "exponential"}},
        ),
        ("council.slots", {"council": {"slots": True}}),
        ("seeds", {"seeds": 3}),
        ("seed", {"seed": -1}),
    ],
)
def test_a_bad_field_is_refused_by_its_path(path, change):
    content = {**BASE.model_dump(), **change}
    with pytest.raises(ValidationError) as caught:
        Experiment.model_validate(content)
    paths = [".".join(map(str, e["loc"])) for e in caught.value.errors()]
    assert any(p.startswith(path) for p in paths), paths


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1), st.sampled_from(["task", "representation", "router", "training"]))
def test_no_unknown_key_is_ever_swallowed(key, part):
    content = BASE.model_dump()
    if key in content[part]:
        return
    content[part] = {**content[part], key: 1}
    with pytest.raises(ValidationError, match="Extra inputs"):
        Experiment.model_validate(content)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("seed", {"seed": 2**63}),
        ("length", {"task": {"kind": "evidence", "length": 10**400}}),
        ("name", {"representation": {"kind": "frozen", "backbone": {"kind": "hub", "name": HALF}}}),
    ],
)
def test_what_no_machine_can_hold_is_refused_by_name(field, change):
    with pytest.raises(ValidationError, match=f"Value error, {field}: is "):
        Experiment.model_validate({**BASE.model_dump(), **change})


def test_a_zero_has_no_sign():
    plus, minus = (
        BASE.model_copy(update={"training": Training(weight_decay=z)}) for z in (0.0, -0.0)
    )
    assert plus == minus
    assert plus.identity == minus.identity


def test_json_there_and_back():
    for spec in (BASE, BASE.model_copy(update={"router": None})):
        again = Experiment.model_validate_json(spec.model_dump_json())
        assert again == spec
        assert again.identity == spec.identity


def test_every_difference_is_another_identity():
    variants = [
        BASE,
        BASE.with_seed(1),
        BASE.model_copy(update={"representation": Attention()}),
        BASE.model_copy(update={"representation": Attention(layers=2)}),
        BASE.model_copy(update={"representation": Flow()}),
        BASE.model_copy(update={"router": RankOne()}),
        BASE.model_copy(update={"router": None}),
        BASE.model_copy(update={"router": Investigator(candidates="others")}),
        BASE.model_copy(update={"task": Evidence(near=True)}),
        BASE.model_copy(update={"training": Training(epochs=1)}),
        BASE.model_copy(update={"normalisation": "none"}),
        BASE.model_copy(update={"representation": Embedding(embedding_scale=0.5)}),
        BASE.model_copy(update={"representation": Embedding(embeddings="frozen")}),
        BASE.model_copy(update={"representation": Embedding(positions="sinusoidal")}),
        *(BASE.model_copy(update={"task": Ladder(rung=r)}) for r in ("token", "left", "hop")),
    ]
    assert len({v.identity for v in variants}) == len(variants)


@pytest.mark.parametrize("representation", [Embedding, Attention, Flow, Contrastive])
def test_a_default_said_aloud_is_no_other_identity(representation):
    silent = Experiment(task=Evidence(), representation=representation(), router=None)
    said = Experiment(
        task=Evidence(),
        representation=representation(
            embedding_scale=1.0, embeddings="trained", positions="learned", vectors="drawn"
        ),
        router=None,
        normalisation="layer",
    )
    assert said.identity == silent.identity
    joined = {"normalisation", "embedding_scale", "embeddings", "vectors"}
    assert not joined & {*said.essence(), *said.essence()["representation"]}


@pytest.mark.parametrize("path", sorted(COMMITTED.glob("*.json"))[::20], ids=lambda p: p.stem)
def test_what_was_recorded_before_a_field_joined_keeps_its_identity(path):
    """Committed files, as they are, and as they were before the fields had their names."""
    described = json.loads(path.read_bytes())["experiment"]
    experiment = Experiment.model_validate_json(json.dumps(described))
    assert experiment.identity == path.stem
    assert Records(COMMITTED).find(experiment).identity == path.stem
    if experiment.normalisation == "layer":
        described.pop("normalisation", None)
    for field in ("embedding_scale", "embeddings", "vectors"):
        if field not in experiment.representation.essence():
            described["representation"].pop(field, None)
    assert Experiment.model_validate_json(json.dumps(described)).identity == path.stem


def test_numerics_are_part_of_the_identity(monkeypatch):
    before = BASE.identity
    monkeypatch.setattr("fcilib.specs.identity.NUMERICS", 10**6)
    assert BASE.identity != before


def test_experiments_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        BASE.seed = 1


def test_the_papers_protocol_is_the_default():
    """Section 3.2 and 3.1, where the paper speaks."""
    training, task = PROFILES["paper"].training, PROFILES["paper"].evidence
    assert (training.sequences, training.batch, training.epochs) == (8000, 32, 40)
    assert training.routing_weight == (1.0, 0.1)
    assert (task.length, task.vocabulary, task.min_distance) == (512, 256, 200)
    assert (Investigator().heads, Investigator().k) == (4, 8)


def test_an_unknown_profile_is_refused():
    with pytest.raises(ValueError, match="smoke, quick, paper"):
        profile("huge")


def test_an_index_has_no_tokens_to_read_on_a_frozen_backbone():
    frozen = Frozen(backbone=TRANSFORMER_3M)
    with pytest.raises(ValidationError, match="router: an index reads tokens"):
        Experiment(task=Evidence(), representation=frozen, router=BM25Index())


@pytest.mark.parametrize(("normalisation", "norm"), [("layer", LayerNorm), ("none", Identity)])
def test_a_model_is_built_as_it_is_described(normalisation, norm):
    spec = Experiment(
        task=PROFILES["smoke"].evidence,
        width=24,
        representation=Embedding(positions="none"),
        router=Investigator(candidates="others", k=2),
        normalisation=normalisation,
        council=Council(slots="learned"),
    )
    model = spec.build()
    assert type(model.norm) is norm
    assert model.router_spec == spec.router
    assert model.head.weight.shape == (spec.task.vocabulary, 24)
    assert model.council.slots.shape == (2 * (1 + 1), 24)  # two picks, each with its neighbour
    tokens = spec.task.draw(2, 0).tokens
    assert model.represent(tokens).shape == (2, spec.task.length, 24)
    assert Experiment(**{**dict(spec), "router": None}).build().router is None
    placed = Experiment(**{**dict(spec), "representation": Embedding()}).build()
    assert placed.represent(tokens).shape == (2, spec.task.length, 24)


def described(**parts):
    return Experiment(**{**dict(BASE), **parts})


SHARES = SegmentRouter(segment=4)


@pytest.mark.parametrize(
    ("reason", "parts"),
    [
        (
            "router: an index reads tokens, and a frozen backbone hands on states",
            {"representation": Frozen(backbone=TRANSFORMER_3M), "router": BloomIndex()},
        ),
        (
            "probing: 'by-epoch' keeps a router's scores, and there is no router",
            {"probing": "by-epoch", "router": None},
        ),
        (
            "probing: 'mechanism' keeps a router's scores, and there is no router",
            {"probing": "mechanism", "router": None},
        ),
        (
            "probing: 'by-epoch' needs 2 held-out sequences",
            {"probing": "by-epoch", "training": Training(held_out=1)},
        ),
        (
            "probing: 'mechanism' needs a router of tokens, not of segments",
            {"probing": "mechanism", "router": SHARES},
        ),
        (
            "probing: 'mechanism' needs a router of tokens, not of segments",
            {"probing": "mechanism", "router": SegmentRouter(segment=2)},
        ),
        (
            "probing: 'states' are those of a frozen backbone, and there is none",
            {"probing": "states"},
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_the_reason(reason, parts):
    with pytest.raises(ValidationError) as caught:
        described(**parts)
    assert [error["msg"] for error in caught.value.errors()] == [f"Value error, {reason}"]


@pytest.mark.parametrize(
    "parts",
    [
        {"router": BloomIndex()},
        {"representation": Frozen(backbone=TRANSFORMER_3M)},
        {"representation": Frozen(backbone=TRANSFORMER_3M), "probing": "states"},
        {"probing": "standard", "router": None},
        {"probing": "thorough", "router": None},
        {"probing": "by-epoch", "training": Training(held_out=2)},
        {"probing": "by-epoch", "router": SHARES},
        {"probing": "mechanism", "training": Training(held_out=1)},
        {"probing": "mechanism", "router": SegmentRouter(segment=1)},
        {"probing": "thorough", "router": SHARES, "training": Training(held_out=1)},
    ],
)
def test_parts_that_fit_are_taken(parts):
    whole = described(**parts)
    assert all(getattr(whole, name) == part for name, part in parts.items())


@pytest.mark.parametrize(
    ("weights", "decay", "lowest"),
    [
        ((1.0, -0.1), "linear", "-0.1"),
        ((-2.0, 0.1), "linear", "-2"),
        ((0.0, 0.1), "exponential", "0"),
        ((1.0, 0.0), "exponential", "0"),
        ((-0.5, 0.1), "exponential", "-0.5"),
    ],
)
def test_weights_that_nothing_can_go_between_are_refused_with_the_reason(weights, decay, lowest):
    with pytest.raises(ValidationError) as caught:
        Training(routing_weight=weights, routing_decay=decay)
    reason = f"routing_weight: {lowest} is no weight to begin or end at ({decay})"
    assert caught.value.errors()[0]["msg"] == f"Value error, {reason}"


@pytest.mark.parametrize("weights", [(0.0, 0.1), (1.0, 0.0), (0.0, 0.0), (0.5, 0.5)])
def test_a_weight_may_be_nothing_where_it_goes_in_a_line(weights):
    assert Training(routing_weight=weights).routing_weight == weights
    if min(weights) > 0:
        Training(routing_weight=weights, routing_decay="exponential")
