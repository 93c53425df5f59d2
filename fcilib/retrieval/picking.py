"""What every run over questions names: the questions, and how much of a context is picked."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from fcilib.retrieval.questions import QuestionSet
from fcilib.retrieval.retriever import Pair
from fcilib.retrieval.segments import Segments
from fcilib.specs.identity import Numerical


class Picking(Numerical):
    """So many segments are picked of each question's context."""

    questions: str
    """The digest of a `QuestionSet`; its validation split is reported on."""
    segments: int = Field(16, ge=1)
    """Into how many runs of whole sentences a context is cut; the paper's number."""
    picks: int = Field(2, ge=1)
    """The paper's number, too. At most `segments`; of a shorter context all are picked."""
    seed: int = Field(0, ge=0)
    """Of the retriever, and of what is picked among segments that tie."""

    @model_validator(mode="after")
    def _picks_some(self) -> Self:
        if self.picks > self.segments:
            raise ValueError(f"picks: {self.picks} of {self.segments} segments; pick fewer")
        return self

    def pairs(self, questions: QuestionSet) -> tuple[list[Pair], list[Pair]]:
        """The validation and the train split, each question with its context, cut.

        Raises ValueError if they are other questions than `self.questions` names.
        """
        if questions.digest != self.questions:
            raise ValueError(
                f"questions: {questions.name} ({questions.digest}) are not those of "
                f"{self.questions}"
            )
        validation, train = (
            [(q, Segments.of(q, self.segments)) for q in split]
            for split in (questions.validation, questions.train)
        )
        return validation, train
