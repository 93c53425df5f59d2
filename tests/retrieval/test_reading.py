"""From segments to answers: what is handed over, what is counted, and who reads."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fcilib.retrieval import (
    AtRandom,
    Keywords,
    Reading,
    ReadingRecord,
    find_reading,
    hotpotqa,
    read,
    reader,
)
from fcilib.retrieval.answers import is_closed
from fcilib.retrieval.questions import Question, QuestionSet
from fcilib.retrieval.reader import PROMPT, LanguageModel, OpeningWords
from fcilib.retrieval.reading import chosen, picked
from fcilib.storage.places import default_records
from fcilib.storage.sealed import RecordError
from fcilib.storage.store import Store
from fcilib.study import Study
from fcilib.training.records import Records

STANDIN = hotpotqa.standin()
READER = OpeningWords(words=2)


def question(number, text, answer, *sentences, needed=(0,)):
    return Question(f"question-{number}", text, answer, sentences, frozenset(needed))


FOUR = QuestionSet(
    "made",
    (),
    (
        question(0, "Who baked bread?", "Ann Lee", "Ann Lee baked bread.", "Rain fell.", "Dogs."),
        question(1, "Who sold salt?", "Bob", "Salt was sold.", "By Bob in May.", "Cats."),
        question(2, "Did bread burn?", "yes", "Bread burned.", "Rain fell.", "Mice."),
        question(3, "Who saw rain?", "the Owl", "Cat saw rain.", "Dog saw.", "Owls saw."),
    ),
    "Made for a test.",
)


def reading(source, questions=FOUR, **fields):
    return Reading(source=source, reader=READER, questions=questions.digest, **fields)


def test_a_record_says_of_each_question_what_was_held_and_what_was_answered(tmp_path):
    record = read(reading("gold"), tmp_path, lambda: FOUR)
    assert record.held == "10-0"
    assert record.closed == "0010"
    assert record.exact == "1000"
    assert record.f1 == [1, 0, 0, 0]
    assert record.first == ["Ann Lee", "Salt was", "Bread burned.", "Cat saw"]
    assert record.held_chance == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    nothing = read(reading("nothing"), tmp_path, lambda: FOUR)
    assert (nothing.held, nothing.exact, nothing.first) == ("00-0", "0000", [""] * 4)


def test_all_gold_segments_are_handed_over_in_the_order_of_the_text(tmp_path):
    both = question(0, "Who?", "Ann", "Oslo lies.", "Sun.", "Ann lives there.", needed=(2, 0))
    questions = QuestionSet("made", (), (both,), "Made for a test.")
    run = Reading(source="gold", reader=OpeningWords(words=9), questions=questions.digest)
    assert read(run, tmp_path, lambda: questions).first == ["Oslo lies. Ann lives there."]


def test_a_record_is_made_once_and_a_damaged_one_is_refused(tmp_path):
    run = reading(Keywords(variant="plus"), picks=1)
    record = read(run, tmp_path, lambda: FOUR)

    def never():
        raise AssertionError("the questions were asked for")

    assert read(run, tmp_path, never) == find_reading(run, tmp_path) == record
    path = tmp_path / f"{run.identity}.json"
    path.write_text(path.read_text().replace(record.held, record.held.replace("0", "1", 1)))
    with pytest.raises(RecordError, match=path.name):
        read(run, tmp_path, never)


def test_other_questions_than_named_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"made .* are not those of"):
        read(reading("gold", STANDIN), tmp_path, lambda: FOUR)
    assert list(tmp_path.glob("*.json")) == []


@pytest.mark.parametrize(
    "fields",
    [{"source": "silver"}, {"read": -1}, {"picks": 0}, {"picks": 17}, {"reader": "me"}],
    ids=str,
)
def test_an_impossible_reading_is_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        Reading(**{"source": "gold", "questions": "0" * 16, **fields})


@pytest.mark.parametrize("prompt", ["{text}", "{question}", "{text} {question} {text}", "{}"])
def test_a_prompt_without_its_places_is_refused(prompt):
    with pytest.raises(ValueError, match="prompt"):
        LanguageModel(prompt=prompt)


def test_random_picks_hold_an_answer_as_often_as_chance_says(tmp_path):
    records = [
        read(reading(AtRandom(), STANDIN, seed=seed), tmp_path, lambda: STANDIN)
        for seed in range(30)
    ]
    bits = np.array([[c == "1" for c in r.held if c != "-"] for r in records])
    error = bits.mean(axis=0).std() / bits.size**0.5 + 0.5 / bits.size**0.5
    assert abs(bits.mean() - records[0].held_chance) < 3 * error


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(1, 9), st.integers(0, 99))
def test_the_best_are_picked_and_ties_are_drawn_for(scores, pick, seed):
    rng = torch.Generator().manual_seed(seed)
    picks = picked(np.array(scores, dtype=float), pick, rng)
    assert picks == sorted(set(picks))
    assert len(picks) == min(pick, len(scores))
    values = sorted((scores[at] for at in picks), reverse=True)
    assert values == sorted(scores, reverse=True)[: len(picks)]


def test_every_tied_segment_is_picked_in_turn():
    rng = torch.Generator().manual_seed(0)
    drawn = {tuple(picked(np.array([1.0, 0, 0, 0]), 2, rng)) for _ in range(50)}
    assert drawn == {(0, 1), (0, 2), (0, 3)}


def test_the_questions_read_are_always_the_same():
    assert chosen(1021, 300) == chosen(1021, 300)
    assert chosen(5, 9) == [0, 1, 2, 3, 4]
    assert set(chosen(1021, 100)) < set(chosen(1021, 300))


def test_a_study_reads_with_a_stand_in_at_profile_smoke(tmp_path, monkeypatch):
    monkeypatch.delenv(hotpotqa.VARIABLE, raising=False)
    study = Study("smoke", (3, 4), "inline", Records(tmp_path))
    found = study.read({"gold": "gold", "random": AtRandom()})
    assert found.records["gold"].reading.seed == 0
    assert found.records["random"].reading.seed == 3
    open_ended = [q for q in STANDIN.validation if not is_closed(q.answer)]
    assert found.each("recall").shape == (len(open_ended), 2)
    assert found.each("exact").shape == found.each("f1").shape == (len(STANDIN.validation), 2)
    assert found.questions.name == STANDIN.name


def test_the_books_own_readings_are_found_whole_and_small(monkeypatch):
    monkeypatch.delenv(hotpotqa.VARIABLE, raising=False)
    store = Store(default_records() / "quick" / "readings", ReadingRecord)
    records = list(store)
    assert {r.reading.questions for r in records} == {hotpotqa.SAMPLE.digest}
    for record in records:
        assert len(record.held) == record.validation == 1021
        asked = chosen(1021, record.reading.read)
        assert len(record.f1) == len(record.exact) == len(asked)
        assert record.closed == "".join(str(int(record.held[n] == "-")) for n in asked)
        assert all(score == 1 for score, bit in zip(record.f1, record.exact, strict=True)
                   if bit == "1")  # fmt: skip
        assert store.path(record.reading).stat().st_size < 20_000


class Parrot:
    """A tokenizer of characters, and a model that repeats a prompt's last words, then babbles."""

    eos_token_id = pad_token_id = 0

    def __init__(self):
        self.batches = []

    def __call__(self, texts, **options):
        if isinstance(texts, str):
            return {"input_ids": [ord(c) for c in texts]}
        self.batches.append(texts)
        longest = max(map(len, texts))
        rows = [[0] * (longest - len(t)) + [ord(c) for c in t] for t in texts]
        return {"input_ids": torch.tensor(rows)}

    def generate(self, input_ids, **options):
        assert options["do_sample"] is False
        assert (options["min_new_tokens"], options["max_new_tokens"]) == (1, 12)
        assert options["eos_token_id"] == [0, ord("\n")]
        added = torch.tensor([ord(c) for c in "\nmore"]).expand(len(input_ids), -1)
        return torch.cat([input_ids, input_ids[:, -13:-8], added], dim=1)

    def batch_decode(self, rows, **options):
        return ["".join(map(chr, row)) for row in rows.tolist()]


def test_a_language_model_is_asked_each_prompt_once_and_answers_in_a_line(monkeypatch):
    """Prompts are put together, padded on the left, deduplicated and kept."""
    parrot = Parrot()
    monkeypatch.setattr(reader, "_loaded", lambda _: (parrot, parrot))
    reader._known.cache_clear()
    model = LanguageModel()
    prompts = [(f"Is it {n:02d}?", ["One.", "Two."]) for n in range(20)]
    assert model.answers([*prompts, prompts[0]]) == [f"t {n:02d}?" for n in (*range(20), 0)]
    assert [len(batch) for batch in parrot.batches] == [16, 4]
    assert parrot.batches[0][0] == PROMPT.format(text="One.\nTwo.", question="Is it 00?")
    assert model.answers(prompts[3:5]) == ["t 03?", "t 04?"]
    assert len(parrot.batches) == 2
    reader._known.cache_clear()
