"""HotpotQA in its distractor setting (Yang et al., 2018; paper, 4.5), and where it is read from."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from fcilib.retrieval.questions import SPLITS, Question, QuestionSet
from fcilib.system.network import ANSWER_SECONDS, within

HUB = "hotpotqa/hotpot_qa"
"""The data set's name on the Hugging Face hub."""

VARIABLE = "FCI_HOTPOTQA"
"""Environment variable: a folder or file that `load` reads in place of the hub."""


@dataclass(frozen=True)
class Known:
    """What is known of a question set without having it."""

    name: str
    digest: str
    note: str


SAMPLE = Known(
    "hotpotqa-sample",
    "04555a79def13e66",
    "A convenience sample of HotpotQA's distractor setting, gathered from public copies of parts "
    "of the data set; not a random one.",
)
"""The real questions that this project's own figures are measured on."""

STANDIN = Known(
    "standin",
    "4223313ccc3686bf",
    "An embedded stand-in of our own writing in HotpotQA's form, about invented places, people and "
    "things; not HotpotQA.",
)
"""What `load` falls back on."""


def load(source: str | Path | None = None) -> QuestionSet:
    """HotpotQA from the first of: `source`, the path in `VARIABLE`, the hub, the stand-in.

    A path is a folder in the hub's layout (`distractor/train-*.parquet` and
    `distractor/validation-*.parquet`; without the former there is nothing to train on), a folder
    that holds these files itself, or one .parquet or .jsonl file of validation questions. Rows are
    as on the hub; one may also have a field `split` that says where it belongs.

    The hub is asked through `datasets` and has `ANSWER_SECONDS` to answer; with HF_HUB_OFFLINE
    set, only its cache is. Falling back on the stand-in is one warning, and so are questions that
    are left out because a supporting fact does not name one sentence of their context.

    Raises:
        ValueError: a path that is none of these, a file of a split that is missing, a row that is
            not as on the hub, by its path, id and field, or an id that stands in two rows.
        ImportError: a .parquet file, where pyarrow is not installed.
    """
    origin = "source"
    if source is None and os.environ.get(VARIABLE):
        origin, source = VARIABLE, os.environ[VARIABLE]
    if source is not None:
        questions = _from_path(Path(source).expanduser(), origin)
    else:
        try:
            rows = _hub_rows()
        except _NoHubError as reason:
            questions = standin()
            count = len(questions.train) + len(questions.validation)
            warnings.warn(
                f"HotpotQA: {reason}. In its place stands an embedded stand-in: {count} questions "
                f"of our own writing. Set {VARIABLE} to a copy of the data in the hub's layout.",
                stacklevel=2,
            )
            return questions
        questions = _gathered(HUB, rows, HUB, "HotpotQA, distractor setting, from the hub.")
    if questions.dropped:
        warnings.warn(
            f"HotpotQA: {questions.name}: {_left_out(questions)} Mend these rows to keep them.",
            stacklevel=2,
        )
    return questions


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
        for split, file in files:
            number = sum(split == other for other, _ in files)
            total = file.stem.rpartition("-of-")[2]
            if total.isdecimal() and int(total) != number:
                raise ValueError(
                    f"{origin}: {folder} holds {number} {split} files of {int(total)}; put the "
                    f"split's {int(total)} files there, and no others"
                )
    elif path.suffix not in (".parquet", ".jsonl"):
        raise ValueError(f"{origin}: {path} is neither a folder nor a .parquet or .jsonl file")
    rows = ((str(file), split, row) for split, file in files for row in _file_rows(file))
    name = path.resolve().name.removesuffix(path.suffix)
    questions = _gathered(name, rows, str(path), "In HotpotQA's form, from a local copy.")
    for known in (SAMPLE, STANDIN):
        if known.digest == questions.digest:
            return replace(questions, name=known.name, note=known.note)
    return questions


def _file_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of one file, as the hub has them."""
    if file.suffix == ".jsonl":
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
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


class _Columns(_Strict):
    """Lists side by side: entry i of each belongs to entry i of `title`."""

    title: list[str]

    @model_validator(mode="after")
    def _in_step(self) -> Self:
        lengths = {name: len(column) for name, column in self}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"are of unequal length: {lengths}")
        return self


class _Facts(_Columns):
    title: list[str] = Field(min_length=1)
    sent_id: list[NonNegativeInt]


class _Context(_Columns):
    sentences: list[list[str]]


class _HubRow(_Strict):
    """The hub's schema, as far as it is used, and `split`."""

    id: str
    question: str = Field(pattern=r"\S")
    answer: str
    supporting_facts: _Facts
    context: _Context
    split: Literal["train", "validation"] | None = None

    def as_question(self) -> Question | None:
        """The question, or None where a supporting fact does not name one sentence."""
        titles, paragraphs = self.context.title, self.context.sentences
        ends = list(accumulate(map(len, paragraphs), initial=0))
        supporting = set()
        for title, at in zip(
            self.supporting_facts.title, self.supporting_facts.sent_id, strict=True
        ):
            if titles.count(title) != 1:
                return None
            paragraph = titles.index(title)
            if at >= len(paragraphs[paragraph]):
                return None
            supporting.add(ends[paragraph] + at)
        sentences = tuple(chain.from_iterable(paragraphs))
        return Question(self.id, self.question, self.answer, sentences, frozenset(supporting))


def _gathered(name: str, rows: Iterable[Row], whence: str, note: str) -> QuestionSet:
    """The set of those rows. Raises ValueError by `whence`, a row's id and its field."""
    kept: dict[str, list[Question]] = {split: [] for split in SPLITS}
    ids: set[str] = set()
    dropped = 0
    for number, (where, split, fields) in enumerate(rows, 1):
        try:
            row = _HubRow.model_validate(fields)
        except ValidationError as error:
            label = fields.get("id", f"number {number}") if isinstance(fields, dict) else number
            fault = error.errors()[0]
            field = ".".join(map(str, fault["loc"]))
            raise ValueError(f"{where}: row {label}: {field}: {fault['msg']}") from None
        if row.id in ids:
            raise ValueError(f"{where}: row {row.id}: id: stands in two rows; remove one of them")
        ids.add(row.id)
        question = row.as_question()
        if question is None:
            dropped += 1
        else:
            kept[row.split or split].append(question)
    if not kept["validation"]:
        nowhere = f"; in {dropped} left out, a supporting fact names no sentence" if dropped else ""
        raise ValueError(f"{whence}: has no validation question{nowhere}")
    questions = QuestionSet(name, tuple(kept["train"]), tuple(kept["validation"]), note, dropped)
    return replace(questions, note=f"{note} {_left_out(questions)}") if dropped else questions


def _left_out(questions: QuestionSet) -> str:
    kept = len(questions.train) + len(questions.validation)
    return (
        f"{questions.dropped} of {kept + questions.dropped} questions are left out: a supporting "
        f"fact of theirs does not name one sentence of the context."
    )
