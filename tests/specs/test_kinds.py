"""Kinds that the library does not list, and how one comes to be listed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import torch
from pydantic import ValidationError

import fcilib
from fcilib.cost import Bench, Represent, Route, find_cost, measure_cost
from fcilib.cost.meter import Call
from fcilib.cost.workloads import Workload
from fcilib.execution.executors import execute
from fcilib.representations import Embedding, GlobalMean
from fcilib.representations.base import RepresentationSpec
from fcilib.routers import Investigator, RankOne
from fcilib.routers.router import RouterModule, RouterSpec, SegmentSpec
from fcilib.storage.sealed import RecordError
from fcilib.study.profiles import PROFILES
from fcilib.tasks import Batch, Task
from fcilib.training.experiment import Experiment
from fcilib.training.records import Records
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


class First(Task):
    """The evidence is the first token, and the label its copy."""

    kind: Literal["first"] = "first"
    length: int = 16
    vocabulary: int = 8

    def examples(self, count, rng):
        tokens = torch.randint(self.vocabulary, (count, self.length), generator=rng)
        last = torch.full((count,), self.length - 1)
        return Batch(tokens, last, torch.zeros_like(last), tokens[:, 0])


class Nothing(Workload):
    kind: Literal["nothing"] = "nothing"

    def prepare(self, length):
        return Call(lambda: None)


def experiment(**parts):
    described = {"representation": Embedding(), "router": Later(), "width": SMOKE.width, **parts}
    return Experiment(**{"task": SMOKE.evidence, "training": SMOKE.training, **described})


@pytest.mark.parametrize(
    "parts",
    [
        {"router": Later(steps=(3, 4), k=2)},
        {"router": Thirds()},
        {"representation": Doubled()},
        {"task": First(length=12)},
    ],
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
    records, spec = Records(tmp_path), experiment(task=First())
    made = run_one(spec, records)
    assert records.find(spec) == records.read(records.path(spec)) == made
    assert made.experiment.router == Later()
    assert made.experiment.task == First()


def test_its_cost_is_measured_kept_and_read(tmp_path):
    parts = {
        "row": Route(router=Later(k=2), width=8),
        "vectors": Represent(representation=Doubled(), width=8),
        "nothing": Nothing(),
    }
    bench = Bench(workloads=parts, lengths=(16,), rounds=1)
    cost = measure_cost(bench, tmp_path)
    assert find_cost(bench, tmp_path) == cost
    assert cost.bench.workloads == parts


def test_workers_need_not_be_able_to_import_it(tmp_path):
    """As those of a notebook's cell: a class within a function has no name to import it by."""

    class Here(RouterSpec):
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


def test_a_record_from_before_a_field_is_refused(tmp_path):
    """Its default may not be what the class did, and defaults are no part of a record's name."""

    def define(**fields):
        body = {"kind": "grown", "build": lambda self, size: LaterScores(), **fields}
        notes = {"kind": Literal["grown"], **dict.fromkeys(fields, int)}
        name = "test_a_record_from_before_a_field_is_refused.<locals>.Grown"
        return type("Grown", (Later,), {**body, "__annotations__": notes, "__qualname__": name})

    records, before = Records(tmp_path), experiment(router=define()())
    run_one(before, records)
    assert records.find(before) is not None
    after = experiment(router=define(dimensions=2)())
    assert after.identity == before.identity
    with pytest.raises(RecordError, match="kind: 'grown' has new fields since: dimensions"):
        records.find(after)
    named = Experiment.model_validate_json(json.dumps(after.essence()))
    assert named == after


def test_a_router_is_no_representation():
    assert "'later' is none of" in refusal(Later(), "representation")
    assert "'global-mean' is none of" in refusal(GlobalMean())


# One file and one line.

TASK = """
class Added(Evidence):
    "Added by a reader: the evidence is far, and nothing else is by."

    kind: Literal["added"] = "added"
    length: int = 32
    vocabulary: int = 16
    min_distance: int = 8
    distractors: int = 0
"""

REPRESENTATION = """
class Added(RepresentationSpec):
    "Added by a reader: vectors and a linear map."

    kind: Literal["added"] = "added"

    def build(self, size):
        return Layers(TokenEmbedding(size, self), nn.Linear(size.width, size.width))
"""

ROUTER = """
class Added(RouterSpec):
    "Added by a reader: the length of a token's vector."

    kind: Literal["added"] = "added"

    def build(self, size):
        return AddedScores()


class AddedScores(RouterModule):
    def forward(self, x, query):
        return x.norm(dim=2)
"""

IMPORTS = {
    "tasks": "from fcilib.tasks.evidence import Evidence",
    "representations": "from torch import nn\nfrom fcilib.representations.base import *",
    "routers": "from fcilib.routers.router import *",
}

ADDED = {
    "tasks": ("test_task.py", TASK),
    "representations": ("test_representations.py", REPRESENTATION),
    "routers": ("test_routers.py", ROUTER),
}

NEXT = "-- next --"

SEEN = f"""
import pytest

assert pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", "tests"]) == 0
print("{NEXT}")

from fcilib.cli import app

app(["kinds"], standalone_mode=False)
print("{NEXT}")

from fcilib import representations, routers, tasks
from fcilib.study import Study

study = Study.from_parameters(
    dict(profile="smoke", seeds=1, executor="inline", records="records")
)
parts = dict(representation=representations.Embedding(), router=routers.Investigator())
landscape = dict(
    known=study.experiment(**parts),
    tasks=study.experiment(**parts, task=tasks.Added()),
    representations=study.experiment(**parts | dict(representation=representations.Added())),
    routers=study.experiment(**parts | dict(router=routers.Added())),
)
print(study.run(landscape).summary("precision"))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Of a copy of the library with a task, a representation and a router more, each a file and a
    line: the tests that are collected, the kinds that `fci` lists, and a landscape.
    """
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(Path(fcilib.__file__).parent, root / "fcilib")
    (root / "tests").mkdir()
    for wing, (tests, source) in ADDED.items():
        shutil.copy(Path(__file__).parents[1] / wing / tests, root / "tests")
        room = root / "fcilib" / wing
        head = f"from typing import Literal\n{IMPORTS[wing]}\n"
        (room / "added.py").write_text(head + source, encoding="utf-8")
        with (room / "__init__.py").open("a", encoding="utf-8") as registry:
            registry.write(f"from fcilib.{wing}.added import Added as Added\n")
    run = subprocess.run(
        [sys.executable, "-P", "-c", SEEN],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout.split(NEXT)


@pytest.mark.parametrize("wing", ADDED)
def test_one_file_and_one_line_add_it_to_tests_commands_and_landscape(seen, wing):
    collected, listed, landscape = (part.splitlines() for part in seen)
    tests = ADDED[wing][0]
    assert any(tests in line and "added" in line.partition("[")[2] for line in collected)
    after = listed[listed.index(wing) :]
    end = next((i for i, line in enumerate(after[1:], 1) if line[:1] != " "), None)
    assert any(
        line.startswith("  added  ") and "Added by a reader: " in line for line in after[:end]
    )
    assert {"known", wing} <= {line.split()[0] for line in landscape if line}
