"""A retrieval and its record; a study of retrievals, with the questions and without them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from fcilib.backbones import MINILM
from fcilib.retrieval import (
    METRICS,
    AtRandom,
    Encoder,
    Keywords,
    Retrieval,
    find,
    hotpotqa,
    retrieve,
    retrievers,
)
from fcilib.retrieval.questions import Question, QuestionSet
from fcilib.storage.places import default_records
from fcilib.storage.sealed import RecordError
from fcilib.study import Study
from fcilib.training.records import Records

STANDIN = hotpotqa.standin()
WORDS = Retrieval(retriever=Keywords(tokens="words"), questions=STANDIN.digest)


def questions_of(*questions, train=()):
    """A set of those to report on: a question's text, its sentences and which one is needed."""
    made = [
        Question(f"question-{number}", text, "", tuple(sentences), frozenset({needed}))
        for number, (text, sentences, needed) in enumerate(questions)
    ]
    return QuestionSet("made", tuple(train), tuple(made), "Made for a test.")


def metrics(retriever, questions, folder):
    """What a retrieval over those questions measures."""
    run = Retrieval(retriever=retriever, questions=questions.digest)
    return retrieve(run, folder, lambda: questions).metrics


def never():
    raise AssertionError("the questions were asked for")


def test_a_record_is_made_once_and_read_back(tmp_path):
    record = retrieve(WORDS, tmp_path, lambda: STANDIN)
    assert retrieve(WORDS, tmp_path, never) == find(WORDS, tmp_path) == record
    assert record.validation == len(STANDIN.validation)
    assert record.note == STANDIN.note
    assert set(record.metrics) == set(record.chance) == set(METRICS)
    assert len((tmp_path / f"{WORDS.identity}.json").read_bytes()) < 20_000
    assert record.metrics["any_hit"] > record.chance["any_hit"]


def test_other_questions_than_named_are_refused(tmp_path):
    other = WORDS.model_copy(update={"questions": "0" * 16})
    with pytest.raises(ValueError, match="are not those of 0000000000000000"):
        retrieve(other, tmp_path, lambda: STANDIN)
    assert list(tmp_path.glob("*.json")) == []


def test_a_damaged_record_is_refused_by_name(tmp_path):
    retrieve(WORDS, tmp_path, lambda: STANDIN)
    path = tmp_path / f"{WORDS.identity}.json"
    path.write_text(path.read_text().replace('"any_hit": ', '"any_hit": 1'))
    with pytest.raises(RecordError, match=path.name):
        retrieve(WORDS, tmp_path, lambda: STANDIN)
    path.write_bytes((retrieve(WORDS.with_seed(1), tmp_path, lambda: STANDIN), b"")[1])
    path.write_bytes((tmp_path / f"{WORDS.with_seed(1).identity}.json").read_bytes())
    with pytest.raises(RecordError, match="another retrieval than its name says"):
        find(WORDS, tmp_path)


def test_chance_by_counting_is_what_random_picks_reach(tmp_path):
    records = [
        retrieve(
            Retrieval(retriever=AtRandom(), questions=STANDIN.digest, seed=seed),
            tmp_path,
            lambda: STANDIN,
        )
        for seed in range(30)
    ]
    for metric in METRICS:
        mean = sum(r.metrics[metric] for r in records) / len(records)
        error = records[0].chance_error[metric] / len(records) ** 0.5
        assert abs(mean - records[0].chance[metric]) < 3 * error


@pytest.mark.parametrize("needed", [0, 15])
@pytest.mark.parametrize("tokens", ["whitespace", "words"])
def test_a_question_that_shares_no_word_scores_chance_wherever_its_evidence_stands(
    tmp_path, needed, tokens
):
    sentences = [f"word{at}" for at in range(16)]
    questions = questions_of(*[("Who?", sentences, needed)] * 20)
    assert metrics(Keywords(tokens=tokens), questions, tmp_path) == dict.fromkeys(METRICS, 1 / 8)


@pytest.mark.parametrize("variant", ["okapi", "plus", "l"])
def test_a_context_of_blanks_scores_chance(tmp_path, variant):
    questions = questions_of(("Who?", (" ", "", "\t", ""), 3))
    assert metrics(Keywords(variant=variant), questions, tmp_path) == dict.fromkeys(METRICS, 0.5)


def test_scores_that_are_no_numbers_are_refused_by_the_question(tmp_path, monkeypatch):
    def diverged(self, pairs, train, seed):
        return [np.full(len(segments), np.nan) for _, segments in pairs]

    monkeypatch.setattr(Keywords, "score", diverged)
    questions = questions_of(("Who?", ("One.", "Two."), 0))
    with pytest.raises(ValueError, match="question question-0: scores: are not 2 finite numbers"):
        metrics(Keywords(), questions, tmp_path)
    assert list(tmp_path.glob("*.json")) == []


def test_a_set_without_questions_to_train_on_is_reported_on(tmp_path, monkeypatch):
    """One file of validation questions is one: an encoder without training needs no others."""
    monkeypatch.setattr(retrievers, "encode", lambda _, texts: torch.eye(len(texts)))
    questions = questions_of(("Who?", ("One.", "Two."), 0))
    run = Retrieval(retriever=Encoder(encoder=MINILM), questions=questions.digest)
    record = retrieve(run, tmp_path, lambda: questions)
    assert record.metrics["any_hit"] == 1
    assert (record.train, record.train_metrics) == (0, {})


def test_one_sentence_is_one_segment_that_everybody_picks(tmp_path):
    questions = questions_of(("Who?", ("Ann.",), 0))
    run = Retrieval(retriever=Keywords(), questions=questions.digest)
    record = retrieve(run, tmp_path, lambda: questions)
    assert record.metrics == record.chance == dict.fromkeys(METRICS, 1)
    assert record.chance_error == dict.fromkeys(METRICS, 0)


def test_more_picks_than_segments_are_refused():
    with pytest.raises(ValueError, match="picks: 3 of 2 segments; pick fewer"):
        Retrieval(retriever=Keywords(), questions="0" * 16, segments=2, picks=3)


def test_a_record_says_how_many_questions_were_left_out(tmp_path, monkeypatch):
    lines = Path(hotpotqa.__file__).with_name("standin.jsonl").read_text(encoding="utf-8")
    spoiled = [json.loads(line) for line in lines.splitlines()]
    for row in spoiled[:-1]:
        row["supporting_facts"]["sent_id"][0] = 99
    path = tmp_path / "some.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in spoiled), encoding="utf-8")
    monkeypatch.setenv(hotpotqa.VARIABLE, str(path))
    with pytest.warns(UserWarning, match="left out"):
        found = study(tmp_path, "quick", 1).retrieve({"words": Keywords()})
    assert found.questions.validation == 1
    assert f"{len(spoiled) - 1} of {len(spoiled)} questions are left out" in found.questions.note


@pytest.mark.parametrize("profile", ["smoke", "quick"])
def test_the_variable_is_followed_at_every_profile(tmp_path, monkeypatch, profile):
    monkeypatch.setenv(hotpotqa.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"FCI_HOTPOTQA: .*nowhere does not exist"):
        study(tmp_path, profile).retrieve({"words": Keywords()})


def study(folder, profile, seeds=2):
    return Study(profile, tuple(range(seeds)), "inline", Records(folder / profile))


def test_a_study_asks_each_seed_only_of_what_draws(tmp_path, monkeypatch):
    monkeypatch.delenv(hotpotqa.VARIABLE, raising=False)
    found = study(tmp_path, "smoke").retrieve({"words": Keywords(), "random": AtRandom()})
    assert list(found.frame.groupby("condition", sort=False).size()) == [1, 2]
    assert found.questions.name == STANDIN.name
    assert found.summary("any_hit").loc["words", "n"] == 1
    three = study(tmp_path, "smoke").retrieve({"words": Keywords()}, picks=3)
    assert three.frame.segment_recall_chance[0] > found.frame.segment_recall_chance[0]


def test_without_records_and_without_questions_the_stand_in_takes_their_place(
    tmp_path, monkeypatch
):
    monkeypatch.delenv(hotpotqa.VARIABLE, raising=False)
    monkeypatch.setattr(hotpotqa, "load", lambda: STANDIN)
    found = study(tmp_path, "quick", 1).retrieve({"words": Keywords()})
    assert found.questions.name == STANDIN.name


def test_the_books_own_records_are_found_without_the_questions(monkeypatch):
    monkeypatch.delenv(hotpotqa.VARIABLE, raising=False)
    monkeypatch.setattr(hotpotqa, "load", never)
    found = study(default_records(), "quick", 3).retrieve({"words": Keywords(tokens="words")})
    assert found.questions.name == hotpotqa.SAMPLE.name
    assert found.questions.validation == 1021


def test_the_books_own_records_are_what_the_questions_give(tmp_path, monkeypatch):
    beside = Path(__file__).resolve().parents[3] / "shared" / "data" / "hotpotqa"
    place = os.environ.get(hotpotqa.VARIABLE) or (str(beside) if beside.exists() else None)
    if place is None:
        pytest.skip(f"needs the sample of HotpotQA: set {hotpotqa.VARIABLE} to its folder")
    pytest.importorskip("pyarrow", reason="reading parquet needs pyarrow, of the extra scale")
    monkeypatch.setenv(hotpotqa.VARIABLE, place)
    questions = hotpotqa.load()
    if questions.digest != hotpotqa.SAMPLE.digest:
        pytest.skip(f"{place} holds other questions than the book's records are of")
    retrievers = {
        "white space": Keywords(),
        "words": Keywords(tokens="words"),
        "random": AtRandom(),
    }
    kept = study(default_records(), "quick", 3).retrieve(retrievers)
    again = study(tmp_path, "quick", 3).retrieve(retrievers)
    assert kept.frame.equals(again.frame)
