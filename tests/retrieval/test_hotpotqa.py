"""HotpotQA: every way to get the questions."""

import copy
import json
import os
import sys
import threading
import time
import types
import warnings
from pathlib import Path

import pytest

from fcilib.retrieval import hotpotqa
from fcilib.retrieval.hotpotqa import SAMPLE, STANDIN
from fcilib.retrieval.scoring import METRICS, chance
from fcilib.retrieval.segments import Segments


def rows():
    """Four rows as on the hub; the first two are to train on."""
    return [
        {
            "id": f"row-{number}",
            "question": "Where does the ferry of Thaskmere land?",
            "answer": "Ulverholt",
            "type": "bridge",
            "level": "easy",
            "supporting_facts": {"title": ["Ferry", "Quay"], "sent_id": [1, number % 2]},
            "context": {
                "title": ["Quay", "Baker", "Ferry"],
                "sentences": [
                    ["The quay is in Ulverholt.", " It is new."],
                    ["A baker.", ""],
                    ["The ferry is green.", f" It lands at the quay {number} times a day."],
                ],
            },
        }
        for number in range(4)
    ]


def write_lines(path, content):
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


def test_sentences_are_those_of_all_paragraphs_in_order(tmp_path):
    found = hotpotqa.load(write_lines(tmp_path / "some.jsonl", rows()))
    assert (found.name, found.train, found.dropped) == ("some", (), 0)
    first, second = found.validation[:2]
    assert first.sentences == (
        "The quay is in Ulverholt.",
        " It is new.",
        "A baker.",
        "",
        "The ferry is green.",
        " It lands at the quay 0 times a day.",
    )
    assert first.supporting == {0, 5}
    assert second.supporting == {1, 5}


@pytest.mark.parametrize(
    ("field", "spoil"),
    [
        ("id", lambda row: row.pop("id")),
        ("question", lambda row: row.pop("question")),
        ("question", lambda row: row.update(question=" ")),
        ("question", lambda row: row.update(question=None)),
        ("answer", lambda row: row.update(answer=7)),
        ("context", lambda row: row.pop("context")),
        ("context.sentences", lambda row: row["context"].pop("sentences")),
        ("context.sentences.1", lambda row: row["context"]["sentences"].__setitem__(1, "A baker.")),
        ("context", lambda row: row["context"]["title"].pop()),
        ("supporting_facts", lambda row: row["supporting_facts"]["title"].pop()),
        ("supporting_facts.sent_id.0", lambda row: row["supporting_facts"].update(sent_id=[-1, 0])),
        (
            "supporting_facts.title",
            lambda row: row.update(supporting_facts={"title": [], "sent_id": []}),
        ),
        ("split", lambda row: row.update(split="test")),
    ],
)
def test_a_row_that_is_not_as_on_the_hub_is_named(tmp_path, field, spoil):
    four = rows()
    spoil(four[2])
    path = write_lines(tmp_path / "some.jsonl", four)
    label = "number 3" if field == "id" else "row-2"
    with pytest.raises(ValueError, match=rf"some\.jsonl: row {label}: {field}: "):
        hotpotqa.load(path)


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path):
    lines = write_lines(tmp_path / "some.jsonl", rows()).read_bytes()
    spaced = b"\xef\xbb\xbf" + lines.replace(b"\n", b"\r\n\n  \n") + b"\n"
    (tmp_path / "spaced.jsonl").write_bytes(spaced)
    plain, found = (hotpotqa.load(tmp_path / f"{n}.jsonl") for n in ("some", "spaced"))
    assert found.validation == plain.validation


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row["supporting_facts"]["sent_id"].__setitem__(0, 2),
        lambda row: row["supporting_facts"]["title"].__setitem__(0, "Lighthouse"),
        lambda row: row["context"]["title"].__setitem__(1, "Ferry"),
    ],
)
def test_a_question_whose_supporting_fact_dangles_is_dropped_and_counted(tmp_path, spoil):
    whole = hotpotqa.load(write_lines(tmp_path / "some.jsonl", rows()))
    four = rows()
    spoil(four[2])
    path = write_lines(tmp_path / "some.jsonl", four)
    with pytest.warns(UserWarning, match=r"some: 1 of 4 questions are left out: .* Mend") as caught:
        found = hotpotqa.load(path)
    assert [Path(w.filename) for w in caught] == [Path(__file__)]
    assert [q.id for q in found.validation] == ["row-0", "row-1", "row-3"]
    assert found.dropped == 1
    assert found.note.startswith(whole.note)
    assert "1 of 4 questions are left out" in found.note


def test_what_is_left_of_a_set_is_not_that_set(tmp_path):
    """Else its figures would be read from, and kept as, the record of the whole set."""
    standin = Path(hotpotqa.__file__).with_name("standin.jsonl").read_text(encoding="utf-8")
    dangling = {**rows()[0], "supporting_facts": {"title": ["Lighthouse"], "sent_id": [0]}}
    path = tmp_path / "more.jsonl"
    path.write_text(standin + json.dumps(dangling) + "\n", encoding="utf-8")
    with pytest.warns(UserWarning, match="left out"):
        found = hotpotqa.load(path)
    assert found.validation == hotpotqa.standin().validation
    assert found.digest != STANDIN.digest
    assert found.note != STANDIN.note


@pytest.mark.parametrize("splits", [("train", "validation"), ("validation", "validation")])
def test_an_id_that_stands_twice_is_refused(tmp_path, splits):
    """Else a router would be tested on a question that it was trained on."""
    twice = [{**row, "id": "row-0", "split": s} for row, s in zip(rows(), splits, strict=False)]
    path = write_lines(tmp_path / "some.jsonl", twice)
    with pytest.raises(ValueError, match=r"some\.jsonl: row row-0: id: stands in two rows; remove"):
        hotpotqa.load(path)


def test_a_path_that_holds_no_questions_is_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"source: .*nowhere does not exist"):
        hotpotqa.load(tmp_path / "nowhere")
    monkeypatch.setenv(hotpotqa.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"FCI_HOTPOTQA: .*nowhere does not exist"):
        hotpotqa.load()
    with pytest.raises(ValueError, match=r"holds no validation-\*\.parquet"):
        hotpotqa.load(tmp_path)
    (tmp_path / "some.csv").write_text("id")
    with pytest.raises(ValueError, match=r"some\.csv is neither"):
        hotpotqa.load(tmp_path / "some.csv")
    (tmp_path / "broken.jsonl").write_bytes(json.dumps(rows()[0]).encode() + b"\n{\xff\n")
    with pytest.raises(ValueError, match=r"broken\.jsonl: line 2 is not JSON"):
        hotpotqa.load(tmp_path / "broken.jsonl")
    with pytest.raises(ValueError, match=r"list\.jsonl: row 1: "):
        hotpotqa.load(write_lines(tmp_path / "list.jsonl", [[]]))
    astray = {**rows()[0], "supporting_facts": {"title": ["nowhere"], "sent_id": [0]}}
    with pytest.raises(
        ValueError, match=r"no validation question; in 1 left out, .* names no sent"
    ):
        hotpotqa.load(write_lines(tmp_path / "astray.jsonl", [astray]))
    with pytest.raises(ValueError, match=r"train\.jsonl: has no validation question"):
        hotpotqa.load(
            write_lines(tmp_path / "train.jsonl", [{**row, "split": "train"} for row in rows()])
        )


# Sources


def arrow():
    """pyarrow's table and its Parquet module."""
    reason = 'pyarrow is not installed: pip install -e ".[scale]"'
    return (
        pytest.importorskip("pyarrow", reason=reason),
        pytest.importorskip("pyarrow.parquet", reason=reason),
    )


def write_hub(folder, train, validation):
    """Those rows in the hub's layout, the validation split in two files."""
    pa, pq = arrow()
    (folder / "distractor").mkdir(parents=True)
    half = len(validation) // 2
    for name, part in {
        "train-00000-of-00001": train,
        "validation-00000-of-00002": validation[:half],
        "validation-00001-of-00002": validation[half:],
    }.items():
        pq.write_table(pa.Table.from_pylist(part), folder / "distractor" / f"{name}.parquet")
    return folder


@pytest.fixture
def without_hub(monkeypatch):
    """`datasets` and the hub's client as where nothing answers; the list of what was asked."""
    calls = []

    def refuse(*args, **kwargs):
        calls.append((args, kwargs))
        raise ConnectionError("no route")

    return fake_hub(monkeypatch, refuse, refuse, calls)


def fake_hub(monkeypatch, info, load, calls, offline=False):
    monkeypatch.delenv(hotpotqa.VARIABLE, raising=False)
    config = types.SimpleNamespace(HF_HUB_OFFLINE=offline)
    client = types.SimpleNamespace(dataset_info=info)
    datasets = types.SimpleNamespace(config=config, load_dataset=load)
    hub = types.SimpleNamespace(HfApi=lambda: client)
    monkeypatch.setitem(sys.modules, "datasets", datasets)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    return calls


def test_every_source_gives_the_same_digest(tmp_path, monkeypatch):
    four = rows()
    marked = [{**row, "split": "train" if n < 2 else "validation"} for n, row in enumerate(four)]
    lines = hotpotqa.load(write_lines(tmp_path / "some.jsonl", marked))

    fake_hub(
        monkeypatch,
        info=lambda *_, **__: None,
        load=lambda *_: {"train": four[:2], "validation": four[2:]},
        calls=[],
    )
    from_hub = hotpotqa.load()
    assert from_hub.name == hotpotqa.HUB
    assert (len(from_hub.train), len(from_hub.validation)) == (2, 2)
    assert lines.digest == from_hub.digest

    folder = write_hub(tmp_path / "copy", four[:2], four[2:])
    monkeypatch.setenv(hotpotqa.VARIABLE, str(folder))
    for found in (
        hotpotqa.load(),
        hotpotqa.load(folder),
        hotpotqa.load(str(folder / "distractor")),
    ):
        assert (found.train, found.validation) == (lines.train, lines.validation)
        assert found.digest == lines.digest
    assert hotpotqa.load(folder).name == "copy"


@pytest.mark.parametrize("field", ["id", "question", "answer"])
def test_the_digest_sees_every_field_and_the_split(tmp_path, field):
    digests = {hotpotqa.load(write_lines(tmp_path / "some.jsonl", rows())).digest}
    other = copy.deepcopy(rows())
    other[3][field] += "!"
    digests.add(hotpotqa.load(write_lines(tmp_path / "some.jsonl", other)).digest)
    other = copy.deepcopy(rows())
    other[3]["context"]["sentences"][1][0] += " "
    digests.add(hotpotqa.load(write_lines(tmp_path / "some.jsonl", other)).digest)
    other = copy.deepcopy(rows())
    other[3]["supporting_facts"]["sent_id"][0] = 0
    digests.add(hotpotqa.load(write_lines(tmp_path / "some.jsonl", other)).digest)
    other = [{**row, "split": "train"} if n == 0 else row for n, row in enumerate(rows())]
    digests.add(hotpotqa.load(write_lines(tmp_path / "some.jsonl", other)).digest)
    assert len(digests) == 5


def test_one_parquet_file_is_validation_only(tmp_path):
    folder = write_hub(tmp_path / "copy", rows()[:2], rows()[2:])
    found = hotpotqa.load(folder / "distractor" / "validation-00000-of-00002.parquet")
    assert found.train == ()
    assert [q.id for q in found.validation] == ["row-2"]


def test_a_split_of_which_a_file_is_missing_is_refused(tmp_path):
    folder = write_hub(tmp_path / "copy", rows()[:2], rows()[2:])
    (folder / "distractor" / "validation-00001-of-00002.parquet").unlink()
    with pytest.raises(ValueError, match="holds 1 validation files of 2; put the split's 2 files"):
        hotpotqa.load(folder)


@pytest.mark.parametrize("damage", [slice(4, 200), slice(-60, None)])
def test_a_damaged_parquet_file_is_named(tmp_path, damage):
    folder = write_hub(tmp_path / "copy", rows()[:2], rows()[2:])
    content = bytearray((folder / "distractor" / "train-00000-of-00001.parquet").read_bytes())
    content[damage] = bytes(len(content[damage]))
    (tmp_path / "broken.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.parquet: can't be read as Parquet"):
        hotpotqa.load(tmp_path / "broken.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "validation-0.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[scale\]"'):
        hotpotqa.load(tmp_path)


def fallback():
    """What `load` falls back on, and its one line of warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = hotpotqa.load()
    assert [Path(w.filename) for w in caught] == [Path(__file__)]
    (line,) = str(caught[0].message).splitlines()
    assert "stand-in" in line
    assert hotpotqa.VARIABLE in line
    assert (found.name, found.digest) == (STANDIN.name, STANDIN.digest)
    return line


def test_where_the_hub_does_not_answer_the_standin_is_used_with_one_warning(without_hub):
    assert "the hub does not answer (ConnectionError)" in fallback()
    assert [args for args, _ in without_hub] == [(hotpotqa.HUB,)]  # load_dataset was not tried


def test_a_hub_that_says_nothing_is_not_waited_for(monkeypatch):
    release = threading.Event()
    fake_hub(monkeypatch, lambda *_, **__: release.wait(60), None, [])
    monkeypatch.setattr(hotpotqa, "ANSWER_SECONDS", 0.05)
    begun = time.monotonic()
    assert "no answer in time" in fallback()
    assert time.monotonic() - begun < 30
    release.set()


def test_a_download_that_fails_is_a_warning_too(monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    fake_hub(monkeypatch, lambda *_, **__: None, fail, [])
    assert "can't be had (OSError)" in fallback()


def test_offline_only_the_cache_is_asked(monkeypatch):
    calls = []

    def cached(*args):
        calls.append(args)
        return {"train": rows()[:2], "validation": rows()[2:]}

    fake_hub(monkeypatch, lambda *_, **__: pytest.fail("asked"), cached, calls, offline=True)
    assert len(hotpotqa.load().validation) == 2
    assert calls == [(hotpotqa.HUB, "distractor")]


def test_without_datasets_the_warning_says_what_to_install(monkeypatch):
    monkeypatch.delenv(hotpotqa.VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert 'pip install -e ".[scale]"' in fallback()


# The stand-in and the sample


def test_the_standin_is_what_it_says():
    found = hotpotqa.standin()
    assert found.digest == STANDIN.digest
    assert (len(found.train), len(found.validation)) == (16, 32)
    assert (found.name, found.note, found.dropped) == (STANDIN.name, STANDIN.note, 0)
    assert "stand-in of our own writing" in found.note
    path = Path(hotpotqa.__file__).with_name("standin.jsonl")
    assert path.stat().st_size < 250_000
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({row["id"] for row in lines}) == len(lines) >= 44
    assert {row["type"] for row in lines} == {"bridge", "comparison"}
    for row in lines:
        facts = row["supporting_facts"]
        assert len(set(facts["title"])) == 2
        assert 8 <= len(row["context"]["title"]) <= 10
        assert all(3 <= len(paragraph) <= 5 for paragraph in row["context"]["sentences"])
        paragraphs = dict(zip(*row["context"].values(), strict=True))
        support = [paragraphs[t][i] for t, i in zip(*facts.values(), strict=True)]
        if row["type"] == "bridge":
            assert any(row["answer"] in sentence for sentence in support), row["id"]
    for q in (*found.train, *found.validation):
        assert len(Segments.of(q)) == 16


def test_the_standin_keeps_its_label_under_another_name(tmp_path):
    path = Path(hotpotqa.__file__).with_name("standin.jsonl")
    (tmp_path / "hotpotqa.jsonl").write_bytes(path.read_bytes())
    assert hotpotqa.load(tmp_path / "hotpotqa.jsonl").note == STANDIN.note


@pytest.fixture(scope="module")
def sample():
    beside = Path(__file__).resolve().parents[3] / "shared" / "data" / "hotpotqa"
    folder = os.environ.get(hotpotqa.VARIABLE) or beside
    if not Path(folder).exists():
        pytest.skip("no HotpotQA: FCI_HOTPOTQA is not set, nor is there ../shared/data/hotpotqa")
    arrow()
    found = hotpotqa.load(folder)
    if found.digest != SAMPLE.digest and Path(folder) != beside:
        pytest.skip(f"FCI_HOTPOTQA leads to other questions ({found.digest}) than the sample")
    return found


def test_the_sample_is_the_one_that_figures_are_told_by(sample):
    assert (len(sample.train), len(sample.validation)) == (316, 1021)
    assert sample.digest == SAMPLE.digest
    assert sample.dropped == 0
    assert (sample.name, sample.note) == (SAMPLE.name, SAMPLE.note)


def test_chance_on_the_sample_is_well_above_the_papers_one_eighth(sample):
    cuts = [Segments.of(q) for q in sample.validation]
    chances = [chance(cut, 2) for cut in cuts]
    mean = {name: sum(c[name] for c in chances) / len(chances) for name in METRICS}
    assert 0.2 < mean["any_hit"] < 0.35
    assert mean["all_hit"] < 0.05
    assert mean["segment_recall"] == pytest.approx(1 / 8, abs=0.005)
    assert sum(len(cut) < 16 for cut in cuts) == 8
