"""Ten thousand random specs: each is valid, and whole, or refused by the name of a field."""

import json
import math
import random
import re

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fcilib.cost import Bench
from fcilib.representations import Frozen
from fcilib.retrieval import Retrieval
from fcilib.specs.spec import Spec
from fcilib.training.experiment import Experiment

NUMBERS = {Experiment: 8000, Retrieval: 1000, Bench: 1000}

BUILT = 200
"""Of the valid experiments that are small, so many are built and shown two sequences."""

SMALL = 128
"""No size of a small one is larger."""

# Valid content, from the models' own schema.


class Maker:
    """Draws content that a model's JSON schema allows; sizes are small more often than not."""

    def __init__(self, model, rng):
        self.schema = model.model_json_schema()
        self.rng = rng

    def make(self, schema=None):
        schema = schema or self.schema
        rng = self.rng
        if "$ref" in schema:
            return self.make(self.schema["$defs"][schema["$ref"].rpartition("/")[2]])
        for choices in ("oneOf", "anyOf"):
            if choices in schema:
                return self.make(rng.choice(schema[choices]))
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return rng.choice(schema["enum"])
        return getattr(self, f"_{schema['type']}")(schema)

    def _null(self, schema):
        return None

    def _boolean(self, schema):
        return self.rng.random() < 0.5

    def _string(self, schema):
        return self.rng.choice(["", "a", "04555a79def13e66", "main", "EleutherAI/pythia-1b"])

    def _integer(self, schema):
        low = schema.get("minimum", self.rng.choice([1, 1, 1, -2]))
        high = self.rng.choice([low, low + 3, low + 16, low + 128, low + 128, 10**9])
        high = max(low, min(high, schema.get("exclusiveMaximum", math.inf) - 1))
        step = self.rng.choice([1, 1, 4])
        step = schema.get("multipleOf", step)
        return max(low, self.rng.randint(low, high) // step * step)

    def _number(self, schema):
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        high = schema.get("maximum", schema.get("exclusiveMaximum", 2))
        return self.rng.choice([self.rng.uniform(low, high)] * 9 + [low, high, 1])

    def _array(self, schema):
        if "prefixItems" in schema:
            return [self.make(item) for item in schema["prefixItems"]]
        low = schema.get("minItems", 0)
        found = [self.make(schema["items"]) for _ in range(self.rng.randint(low, low + 3))]
        return sorted(set(found)) if schema["items"].get("type") == "integer" else found

    def _object(self, schema):
        if "properties" not in schema:
            values = schema["additionalProperties"]
            return {name: self.make(values) for name in self.rng.sample("abc", 2)}
        required = {*schema.get("required", ()), "kind"}
        return {
            name: self.make(value)
            for name, value in schema["properties"].items()
            if name in required or self.rng.random() < 0.35
        }


# What may be wrong with it.

SURROGATE = r"\ud800"
"""Half a character, as Python and JSON write it."""

ODD = [
    None, True, False, 0, -1, 1, 2, 7, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**25,
    10**400, -(2**63), 0.0, -0.0, 0.5, 1.0, -1.5, 1e-320, 1e308, math.nan, math.inf, -math.inf,
    "", "1", "nan", "x", "\ud800", "\0", b"x", [], [1], [[]], (), {}, {"kind": "embedding"},
    {"kind": None}, {"kind": []}, {1: 2}, {None: 1}, {"kind": {"kind": {}}}, {1, 2}, frozenset(),
    object(), int, len, 1j, range(3), np.int64(3), np.float64(0.5), np.array([1, 2]),
    torch.tensor(1), slice(None), Ellipsis,
]  # fmt: skip


def deep(levels):
    """A list in a list in a list …"""
    found = []
    for _ in range(levels):
        found = [found]
    return found


def places(content):
    """Every container of it, and the key or index under which something lies there."""
    found = []
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        found.append((content, key))
        if isinstance(value, (dict, list)):
            found += places(value)
    return found


def spoil(holder, key, rng):
    """One thing that may be wrong there."""
    kind = rng.random()
    if kind < 0.6:
        holder[key] = rng.choice(ODD) if kind < 0.58 else deep(100)
    elif kind < 0.8 and isinstance(holder, dict):
        holder[rng.choice(["kindd", "seeds", "", "\ud800", "layers", "__class__", "k"])] = 1
    elif kind < 0.9 and isinstance(holder, dict):
        holder.pop(key, None)
    elif isinstance(holder.get("kind") if isinstance(holder, dict) else None, str):
        holder["kind"] = rng.choice(["attention", "evidence", "Investigator", "", "random"])


def drawn(maker, rng):
    content = maker.make()
    found = places(content)
    for _ in range(rng.choice([0, 0, 1, 1, 1, 2, 5])):
        spoil(*rng.choice(found), rng)
    return content


# What must hold.


def fields(model=Spec):
    """The names of all fields of all specs."""
    found = set(getattr(model, "model_fields", ()))
    return found.union(*(fields(child) for child in model.__subclasses__()))


FIELDS = fields()


def names_a_field(text):
    first = re.match(r"(?:Value error, )?(\w+):? ", text)
    return first is not None and first[1] in FIELDS


def read(model, content, rng):
    """The spec, from Python's values or from JSON, where tuples are arrays."""
    if rng.random() < 0.5:
        try:
            return model.model_validate_json(json.dumps(content))
        except (TypeError, OverflowError):  # there is no JSON of it
            pass
    return model.model_validate(with_tuples(content))


def with_tuples(content):
    if type(content) is dict:
        return {key: with_tuples(value) for key, value in content.items()}
    return tuple(map(with_tuples, content)) if type(content) is list else content


def check_refusal(refusal):
    for error in refusal.errors():
        if error["type"] == "value_error":
            assert names_a_field(error["msg"]), error
        elif error["type"] in ("string_unicode", "json_invalid"):
            assert SURROGATE in repr(error["input"]), "it is no text, and names nothing"
        else:
            assert error["loc"], error


def check_valid(spec):
    """It has an identity, which its canonical text carries to whoever reads it."""
    model = type(spec)
    canonical = spec.canonical()
    json.loads(canonical, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    again = model.model_validate_json(canonical)
    assert again == spec
    assert again.canonical() == canonical
    assert again.identity == spec.identity
    assert hash(again) == hash(spec)
    assert model.model_validate_json(spec.model_dump_json()) == spec
    assert model.model_validate(spec.model_dump()) == spec
    assert spec.with_seed(1).seed == 1


def sizes(content):
    """Every number in it."""
    if isinstance(content, dict):
        return [n for value in content.values() for n in sizes(value)]
    if isinstance(content, (list, tuple)):
        return [n for value in content for n in sizes(value)]
    return [content] if isinstance(content, (int, float)) else []


def is_small(spec):
    described = spec.model_dump(exclude={"training", "seed"})
    # A default of the tasks: no small one otherwise.
    described["task"] = {k: v for k, v in described["task"].items() if k != "min_distance"}
    return not isinstance(spec.representation, Frozen) and max(sizes(described)) <= SMALL


def check_small(spec):
    """It is built, and reads two sequences; or a ValueError says which field is at fault."""
    fault = None
    try:
        with torch.random.fork_rng():
            torch.manual_seed(spec.seed)
            model = spec.build()
        batch = spec.task.draw(2, spec.seed)
        output = model(batch.tokens, batch.query, batch.evidence)
        assert output.logits.shape == (2, spec.task.vocabulary)
    except ValueError as error:
        fault = str(error)
    assert fault is None or names_a_field(fault), fault
    return fault is None


@pytest.mark.parametrize("model", NUMBERS, ids=lambda model: model.__name__)
def test_a_random_spec_is_valid_and_whole_or_refused_by_field(model):
    rng = random.Random(f"specs of {model.__name__}")
    maker = Maker(model, rng)
    told = {"valid": 0, "refused": 0, "small": 0, "built": 0}
    for number in range(NUMBERS[model]):
        content = drawn(maker, rng)
        try:
            try:
                spec = read(model, content, rng)
            except ValidationError as refusal:
                check_refusal(refusal)
                told["refused"] += 1
                continue
            check_valid(spec)
            told["valid"] += 1
            if model is Experiment and told["small"] < BUILT and is_small(spec):
                told["small"] += 1
                told["built"] += check_small(spec)
        except BaseException as error:
            error.add_note(f"at the {number}th: {content!r}"[:2000])
            raise
    assert told["valid"] + told["refused"] == NUMBERS[model]
    assert min(told["valid"], told["refused"]) > NUMBERS[model] / 10
    if model is Experiment:
        assert told["small"] == BUILT
        assert BUILT / 10 < told["built"] < BUILT, "some are built, some refused"


def test_all_in_all_they_are_ten_thousand():
    assert sum(NUMBERS.values()) == 10_000
