"""HotpotQA in its distractor setting, as retrieval (Yang et al., 2018; paper, 4.5).

    context    [s0 s1 s2] [s3 s4] [s5 s6 s7 s8] ...  ten paragraphs, two of which support the answer
    segments   [s0 s1] [s2 s3 s4] [s5 s6] [s7 s8] ...  the same sentences, cut by length alone
    gold           *                 *                 segments that hold a supporting sentence

Who sees the question picks two of the sixteen segments. A question's paragraphs and their titles
are not shown: only sentences, in order.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from math import comb
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError, model_validator

from fcilib.system.network import ANSWER_SECONDS, within

HUB = "hotpotqa/hotpot_qa"
"""The data set's name on the Hugging Face hub."""

VARIABLE = "FCI_HOTPOTQA"
"""Environment variable: a folder or file that `load` reads in place of the hub."""

SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Question:
    """A question and its context. Raises ValueError unless `supporting` names some sentences."""

    id: str
    question: str
    answer: str
    sentences: tuple[str, ...]
    """Of all paragraphs, in order, as the source has them: some are empty or only white space."""
    supporting: frozenset[int]
    """Which of `sentences` are needed to answer, by index."""

    def __post_init__(self) -> None:
        if not self.supporting or not self.supporting <= set(range(len(self.sentences))):
            raise ValueError(
                f"{self.id}: supporting: {sorted(self.supporting)} are not one or more of its "
                f"{len(self.sentences)} sentences"
            )


@dataclass(frozen=True)
class Segment:
    """A run of whole sentences."""

    start: int
    """Index of its first sentence."""
    stop: int
    """Index after its last."""
    text: str
    """Its sentences, one space between them."""
    gold: bool
    """Whether a supporting sentence is among them."""


@dataclass(frozen=True)
class Segments:
    """A question's context, cut: every sentence is in one segment, in order."""

    parts: tuple[Segment, ...]
    homes: tuple[int, ...]
    """The segment of each supporting sentence, in the order of the sentences."""

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def texts(self) -> list[str]:
        """What an index is built over."""
        return [part.text for part in self.parts]

    @property
    def gold(self) -> frozenset[int]:
        """The segments that hold a supporting sentence."""
        return frozenset(self.homes)


def segments(question: Question, number: int = 16) -> Segments:
    """Cut a context into `number` runs of whole sentences of about as many words each.

    Cut i is made at the end of the sentence that is nearest to the share i / number of all words
    (split at white space; the earlier end of two that are as near), or nearest among those that
    leave a sentence to every segment. A context of fewer sentences than `number` gives as many
    segments as it has sentences. Raises ValueError on a number below 1.
    """
    if number < 1:
        raise ValueError(f"number: {number} segments; there must be one or more")
    count = len(question.sentences)
    number = min(number, count)
    ends = list(accumulate((len(s.split()) for s in question.sentences), initial=0))
    cuts = [0]
    for i in range(1, number):
        free = range(cuts[-1] + 1, count - (number - i) + 1)
        off = [abs(number * ends[end] - i * ends[-1]) for end in free]
        cuts.append(free[off.index(min(off))])
    cuts.append(count)
    parts: list[Segment] = []
    homes: list[int] = []
    for start, stop in pairwise(cuts):
        stripped = (sentence.strip() for sentence in question.sentences[start:stop])
        text = " ".join(sentence for sentence in stripped if sentence)
        held = len(question.supporting.intersection(range(start, stop)))
        homes += [len(parts)] * held
        parts.append(Segment(start, stop, text, gold=held > 0))
    return Segments(tuple(parts), tuple(homes))


def score(picked: Iterable[int], segments: Segments) -> dict[str, float]:
    """How good a choice of segments is, each from 0 to 1.

    `any_hit`: is a supporting sentence in a picked segment? The paper's metric.
    `all_hit`: are all supporting sentences in picked segments?
    `segment_recall`: the share of gold segments that were picked.

    Raises ValueError on an index that is no segment's.
    """
    chosen = {operator.index(index) for index in picked}
    if not chosen <= set(range(len(segments))):
        raise ValueError(f"picked: {sorted(chosen)} are not all among {len(segments)} segments")
    found = [home in chosen for home in segments.homes]
    return {
        "any_hit": float(any(found)),
        "all_hit": float(all(found)),
        "segment_recall": len(segments.gold & chosen) / len(segments.gold),
    }


def chance(segments: Segments, pick: int) -> dict[str, float]:
    """The mean of `score` over all ways to pick that many segments, by counting.

    Where there are fewer segments than `pick`, all are picked. Raises ValueError on a negative
    `pick`.
    """
    if pick < 0:
        raise ValueError(f"pick: {pick} is negative")
    n, g = len(segments), len(segments.gold)
    p = min(pick, n)
    return {
        "any_hit": 1 - comb(n - g, p) / comb(n, p),
        "all_hit": comb(n - g, p - g) / comb(n, p) if g <= p else 0.0,
        "segment_recall": p / n,
    }


@dataclass(frozen=True)
class QuestionSet:
    """Questions to train on and to report on, and what they are."""

    name: str
    train: tuple[Question, ...]
    validation: tuple[Question, ...]
    note: str
    """A sentence to be put beside every figure measured on them."""
    dropped: int = 0
    """Questions left out because a supporting fact names no sentence of their context."""

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits for the questions alone: the same from whatever source."""
        sha = hashlib.sha256()
        for split in SPLITS:
            for q in getattr(self, split):
                row = [split, q.id, q.question, q.answer, q.sentences, sorted(q.supporting)]
                sha.update((json.dumps(row, separators=(",", ":")) + "\n").encode())
        return sha.hexdigest()[:16]


@dataclass(frozen=True)
class Known:
    """What is known of a question set without having it."""

    name: str
    digest: str
    note: str
    train: int
    """Number of questions, as is `validation`."""
    validation: int

    def describes(self, questions: QuestionSet) -> bool:
        """Whether these are its questions."""
        sizes = (len(questions.train), len(questions.validation))
        return sizes == (self.train, self.validation) and questions.digest == self.digest


SAMPLE = Known(
    "hotpotqa-sample",
    "04555a79def13e66",
    "A convenience sample of HotpotQA's distractor setting, gathered from public copies of parts "
    "of the data set; not a random one.",
    train=316,
    validation=1021,
)
"""The real questions that this project's own figures are measured on."""

STANDIN = Known(
    "standin",
    "4223313ccc3686bf",
    "An embedded stand-in of our own writing in HotpotQA's form, about invented places, people and "
    "things; not HotpotQA.",
    train=16,
    validation=32,
)
"""What `load` falls back on."""


def load(source: str | Path | None = None) -> QuestionSet:
    """HotpotQA from the first of: `source`, the path in `VARIABLE`, the hub, the stand-in.

    A path is a folder in the hub's layout (`distractor/train-*.parquet` and
    `distractor/validation-*.parquet`; without the former there is nothing to train on), a folder
    that holds these files itself, or one .parquet or .jsonl file of validation questions. Rows are
    as on the hub; one may also have a field `split` that says where it belongs.

    The hub is asked through `datasets` and has `ANSWER_SECONDS` to answer; with HF_HUB_OFFLINE
    set, only its cache is. Falling back on the stand-in is one warning.

    Raises:
        ValueError: a path that is none of these, or a row that is not as on the hub, by its path,
            id and field.
        ImportError: a .parquet file, where pyarrow is not installed.
    """
    origin = "source"
    if source is None and os.environ.get(VARIABLE):
        origin, source = VARIABLE, os.environ[VARIABLE]
    if source is not None:
        return _from_path(Path(source).expanduser(), origin)
    try:
        rows = _hub_rows()
    except _NoHubError as reason:
        questions = standin()
        count = len(questions.train) + len(questions.validation)
        warnings.warn(
            f"HotpotQA: {reason}. In its place stands an embedded stand-in: {count} questions of "
            f"our own writing. Set {VARIABLE} to a copy of the data in the hub's layout.",
            stacklevel=2,
        )
        return questions
    return _gathered(HUB, rows, HUB, "HotpotQA, distractor setting, from the hub.")


def standin() -> QuestionSet:
    """The embedded stand-in: read from `standin.jsonl`, whose rows all have the field `split`."""
    return _from_path(Path(__file__).with_name("standin.jsonl"), "source")


Row = tuple[str, str, dict[str, Any]]
"""Where a question was read, the split it belongs to unless it says otherwise, its fields."""


def _from_path(path: Path, origin: str) -> QuestionSet:
    if not path.exists():
        raise ValueError(f"{origin}: {path} does not exist")
    files = [("validation", path)]
    if path.is_dir():
        folder = path / "distractor" if (path / "distractor").is_dir() else path
        files = [(split, p) for split in SPLITS for p in sorted(folder.glob(f"{split}-*.parquet"))]
        if "validation" not in dict(files):
            raise ValueError(f"{origin}: {folder} holds no validation-*.parquet")
    elif path.suffix not in (".parquet", ".jsonl"):
        raise ValueError(f"{origin}: {path} is neither a folder nor a .parquet or .jsonl file")
    rows = ((str(file), split, row) for split, file in files for row in _file_rows(file))
    name = path.resolve().name.removesuffix(path.suffix)
    questions = _gathered(name, rows, str(path), "In HotpotQA's form, from a local copy.")
    for known in (SAMPLE, STANDIN):
        if known.describes(questions):
            return replace(questions, name=known.name, note=known.note)
    return questions


def _file_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of one file, as the hub has them."""
    if file.suffix == ".jsonl":
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{file}: line {number} is not JSON: {error}") from error
        return
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(
            f'{file}: to read it, pyarrow has to be installed: pip install -e ".[scale]"'
        ) from error
    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(1000):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{file}: can't be read as Parquet: {error}") from error


class _NoHubError(Exception):
    """Why the hub's data can't be had, as half a sentence."""


def _hub_rows() -> Iterator[Row]:
    """All rows of the hub's data set. Raises _NoHubError where it can't be had."""
    try:
        import datasets
        import huggingface_hub
    except ImportError as error:
        raise _NoHubError('datasets is not installed (pip install -e ".[scale]")') from error
    # Where there is no network, load_dataset tries again and again for half a minute.
    if not datasets.config.HF_HUB_OFFLINE:
        answer = within(
            ANSWER_SECONDS,
            lambda: huggingface_hub.HfApi().dataset_info(HUB, timeout=ANSWER_SECONDS),
        )
        if answer is not None:
            raise _NoHubError(
                f"the hub does not answer ({answer}); HF_HUB_OFFLINE=1 would look in its cache"
            )
    try:
        splits = datasets.load_dataset(HUB, "distractor")
        return ((HUB, split, row) for split in SPLITS for row in splits[split])
    except Exception as error:  # of datasets, the hub's client, HTTP, the disk: all mean the same
        raise _NoHubError(f"the hub's copy can't be had ({type(error).__name__})") from error


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _Facts(_Strict):
    title: list[str]
    sent_id: list[NonNegativeInt]

    @model_validator(mode="after")
    def _in_step(self) -> _Facts:
        if not len(self.title) == len(self.sent_id) > 0:
            raise ValueError(f"{len(self.title)} in title, {len(self.sent_id)} in sent_id")
        return self


class _Context(_Strict):
    title: list[str]
    sentences: list[list[str]]

    @model_validator(mode="after")
    def _in_step(self) -> _Context:
        if len(self.title) != len(self.sentences):
            raise ValueError(f"{len(self.title)} in title, {len(self.sentences)} in sentences")
        return self


class _HubRow(_Strict):
    """The hub's schema, as far as it is used, and `split`."""

    id: str
    question: str
    answer: str
    supporting_facts: _Facts
    context: _Context
    split: Literal["train", "validation"] | None = None

    def as_question(self) -> Question | None:
        """The question, or None where a supporting fact does not name one sentence."""
        first = accumulate(map(len, self.context.sentences), initial=0)
        places: dict[str, list[range]] = {}
        for title, start, paragraph in zip(
            self.context.title, first, self.context.sentences, strict=False
        ):
            places.setdefault(title, []).append(range(start, start + len(paragraph)))
        supporting = set()
        for title, at in zip(
            self.supporting_facts.title, self.supporting_facts.sent_id, strict=True
        ):
            named = places.get(title, [])
            if len(named) != 1 or at >= len(named[0]):
                return None
            supporting.add(named[0][at])
        sentences = tuple(s for paragraph in self.context.sentences for s in paragraph)
        return Question(self.id, self.question, self.answer, sentences, frozenset(supporting))


def _gathered(name: str, rows: Iterable[Row], whence: str, note: str) -> QuestionSet:
    """The set of those rows. Raises ValueError by `whence`, a row's id and its field."""
    kept: dict[str, list[Question]] = {split: [] for split in SPLITS}
    dropped = 0
    for number, (where, split, fields) in enumerate(rows, 1):
        try:
            row = _HubRow.model_validate(fields)
        except ValidationError as error:
            label = fields.get("id", f"number {number}") if isinstance(fields, dict) else number
            fault = error.errors()[0]
            field = ".".join(map(str, fault["loc"]))
            raise ValueError(f"{where}: row {label}: {field}: {fault['msg']}") from None
        question = row.as_question()
        if question is None:
            dropped += 1
        else:
            kept[row.split or split].append(question)
    if not kept["validation"]:
        raise ValueError(f"{whence}: has no validation question ({dropped} dropped)")
    return QuestionSet(name, tuple(kept["train"]), tuple(kept["validation"]), note, dropped)
