"""Descriptions: strict, whole, and their own identity."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fcilib import experiment as module
from fcilib.backbones import TRANSFORMER_3M
from fcilib.experiment import Experiment, Training
from fcilib.indices import BM25Index
from fcilib.profiles import PROFILES, profile
from fcilib.representations import Attention, Embedding, Flow, Frozen
from fcilib.routers import Investigator, RankOne
from fcilib.tasks import Evidence

ATTENTION = {"kind": "attention"}
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
        ("task.evidence.length", {"task": {"kind": "evidence", "length": 512.5}}),
        ("training.epochs", {"training": {"epochs": -1}}),
        ("training.routing_weight", {"training": {"routing_weight": (1.0,)}}),
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
    ]
    assert len({v.identity for v in variants}) == len(variants)


def test_numerics_are_part_of_the_identity(monkeypatch):
    before = BASE.identity
    monkeypatch.setattr(module, "NUMERICS", 10**6)
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
