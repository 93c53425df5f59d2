"""Routers and representations that the library does not list."""

import json
from typing import Literal

import pytest
from pydantic import ValidationError

from fcilib.execution.executors import execute
from fcilib.representations import Embedding, GlobalMean
from fcilib.representations.base import RepresentationSpec
from fcilib.routers import Investigator, RankOne
from fcilib.routers.router import RouterModule, RouterSpec, SegmentSpec
from fcilib.study.profiles import PROFILES
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records, read
from fcilib.training.run import run_one

SMOKE = PROFILES["smoke"]


class Later(RouterSpec):
    """Scores that rise along the sequence."""

    kind: Literal["later"] = "later"
    steps: tuple[int, int] = (1, 2)

    def build(self, size):
        return LaterScores()


class LaterScores(RouterModule):
    def forward(self, x, query):
        return x.new_ones(x.shape[:2]).cumsum(dim=1)


class Thirds(SegmentSpec):
    kind: Literal["thirds"] = "thirds"


class Doubled(RepresentationSpec):
    kind: Literal["doubled"] = "doubled"
    inner: Embedding = Embedding()

    def build(self, size):
        return self.inner.build(size)


def experiment(**parts):
    described = {"representation": Embedding(), "router": Later(), "width": SMOKE.width, **parts}
    return Experiment(task=SMOKE.evidence, training=SMOKE.training, **described)


@pytest.mark.parametrize(
    "parts",
    [{"router": Later(steps=(3, 4), k=2)}, {"router": Thirds()}, {"representation": Doubled()}],
)
def test_what_is_not_listed_goes_into_text_and_comes_back(parts):
    spec = experiment(**parts)
    for again in (
        Experiment.model_validate_json(spec.model_dump_json()),
        Experiment.model_validate(spec.model_dump()),
        spec.with_seed(0),
    ):
        assert again == spec
        assert again.identity == spec.identity
    assert spec.identity != experiment(router=RankOne()).identity
    assert json.loads(experiment(router=Later(steps=(3, 4))).canonical())["router"] == {
        "kind": "later",
        "steps": [3, 4],
    }


def test_its_record_is_kept_and_read(tmp_path):
    records = Records(tmp_path)
    made = run_one(experiment(), records)
    assert records.find(experiment()) == read(records.path(experiment())) == made
    assert made.experiment.router == Later()


def test_workers_need_not_be_able_to_import_it(tmp_path):
    """As those of a notebook's cell: a class within a function has no name to import it by."""

    class Here(Later):
        kind: Literal["here"] = "here"

        def build(self, size):
            return HereScores()

    class HereScores(RouterModule):
        def forward(self, x, query):
            return x.sum(dim=2)

    records, specs = Records(tmp_path), [experiment(router=Here(k=k)) for k in (2, 3)]
    execute(specs, records, "process", lambda done: None)
    assert [records.find(spec).experiment for spec in specs] == specs


def refusal(content, part="router"):
    with pytest.raises(ValidationError) as caught:
        Experiment.model_validate({**experiment().model_dump(), part: content})
    (error,) = caught.value.errors()
    assert error["loc"][0] == part
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


def test_an_unknown_kind_is_refused_with_those_there_are():
    message = refusal({"kind": "telepathy"})
    assert "kind: 'telepathy' is none of " in message
    for kind in ("bloom", "investigator", "later", "rank-one"):
        assert kind in message
    assert "attention" in refusal({"kind": "telepathy"}, "representation")
    assert "kind: None is none of" in refusal({})


@pytest.mark.parametrize("field", [{"steps": (1, "2")}, {"stepps": (1, 2)}])
def test_its_fields_are_as_strict_as_any(field):
    assert refusal({"kind": "later", **field}).startswith(f"router.own.{next(iter(field))}")


def test_two_classes_of_one_kind_are_refused_by_their_names():
    class Investigator2(Investigator):
        """Forgets to name its kind."""

        heads: int = 8

    message = refusal(Investigator2())
    assert "kind: 'investigator' is that of fcilib.routers.investigator.Investigator and" in message
    assert message.endswith("Investigator2; each needs its own")


def test_a_class_defined_anew_takes_the_place_of_the_first():
    def define():
        class Anew(RouterSpec):
            kind: Literal["anew"] = "anew"

        return Anew

    first, second = define(), define()
    assert type(experiment(router=second()).router) is second
    assert type(experiment(router={"kind": "anew"}).router) is second
    assert "defined anew; make it again" in refusal(first())


def test_a_router_is_no_representation():
    assert "'later' is none of" in refusal(Later(), "representation")
    assert "'global-mean' is none of" in refusal(GlobalMean())
