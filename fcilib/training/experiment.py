"""An experiment: the whole description of one training run, and its identity."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fcilib.model.council import Council
from fcilib.model.fci import FCI, Normalisation
from fcilib.model.film import FILMED
from fcilib.model.probes import Probing
from fcilib.representations import Frozen
from fcilib.representations.base import RepresentationSpec
from fcilib.routers import BloomIndex, BM25Index
from fcilib.routers.router import RouterSpec
from fcilib.specs.identity import Numerical
from fcilib.specs.kinds import ByKind
from fcilib.specs.size import Size
from fcilib.specs.spec import Spec
from fcilib.tasks import Task


class Training(Spec):
    """How a model is trained. Where the paper speaks (section 3.2) the defaults are its own."""

    sequences: int = Field(8000, ge=1)
    """Sequences of an epoch."""
    data: Literal["fixed", "fresh"] = "fixed"
    """Whether every epoch goes over the same sequences, or over new ones."""
    batch: int = Field(32, ge=1)
    epochs: int = Field(40, ge=0)
    """0: the model is measured as it was initialised."""
    targets: Literal["true", "shuffled"] = "true"
    """`"shuffled"`, a control: in training, sequences are given each other's evidence and label."""
    routing_weight: tuple[float, float] = (1.0, 0.1)
    """Weight of the routing loss at the first and at the last step."""
    routing_decay: Literal["linear", "exponential"] = "linear"
    """How the weight gets from the one to the other."""
    learning_rate: float = Field(1e-3, gt=0)
    """The largest: OneCycle warms up to it in 30% of the steps, then anneals by cosine."""
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: matrix products under autocast; weights, sums and the scan's state stay fp32."""
    held_out: int = Field(1000, ge=1)
    """Fresh sequences that every reported metric is measured on."""

    @property
    def steps_of_epoch(self) -> int:
        """Optimiser steps of an epoch; its last batch may be smaller."""
        return math.ceil(self.sequences / self.batch)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.epochs * self.steps_of_epoch

    @model_validator(mode="after")
    def _weights_can_be_gone_between(self) -> Training:
        lowest = min(self.routing_weight)
        if lowest < 0 or (lowest == 0 and self.routing_decay == "exponential"):
            raise ValueError(
                f"routing_weight: {lowest:g} is no weight to begin or end at ({self.routing_decay})"
            )
        return self


class Lesson(Spec):
    """Another task of the same sizes, which the first epochs of a training are made of."""

    task: Annotated[Task, ByKind()]
    epochs: int = Field(ge=1)


class Experiment(Numerical):
    """One training run, fully specified.

    Equal descriptions are the same run: `identity` is a hash of the canonical JSON together with
    `fcilib.NUMERICS`, and names the run's record. Fields at their default are left out of it, so a
    field that joins later, with a default that keeps what runs did, leaves old records valid; a
    default that changes calls for another `NUMERICS`.
    """

    task: Annotated[Task, ByKind()]
    width: int = Field(128, ge=1)
    """d."""
    representation: Annotated[RepresentationSpec, ByKind()]
    router: Annotated[RouterSpec, ByKind()] | None
    """None: a plain model that predicts from the query's own vector."""
    normalisation: Normalisation = "layer"
    """What is done to the representation before router and Council see it: a LayerNorm, or none."""
    council: Council = Council()
    training: Training = Training()
    lesson: Lesson | None = None
    """What is practised first, in a curriculum; None for a training on the task from the start."""
    seed: int = Field(0, ge=0)
    """Seeds the data, the initial weights and the order of the batches."""
    probing: Probing = "standard"
    """How much is measured inside the trained model; see `fcilib.model.probes`."""

    @model_validator(mode="after")
    def _a_lesson_fits(self) -> Experiment:
        if self.lesson is None:
            return self
        first = self.lesson.task
        if (first.length, first.vocabulary) != (self.task.length, self.task.vocabulary):
            raise ValueError("lesson: its task has another length or vocabulary")
        if self.training.data == "fixed":
            raise ValueError(
                "lesson: needs data='fresh'; sequences that stay the same leave no room"
            )
        return self

    @model_validator(mode="after")
    def _an_index_has_tokens(self) -> Experiment:
        if isinstance(self.representation, Frozen) and isinstance(
            self.router, (BloomIndex, BM25Index)
        ):
            raise ValueError("router: an index reads tokens, and a frozen backbone hands on states")
        return self

    @model_validator(mode="after")
    def _there_are_states(self) -> Experiment:
        if self.probing == "states" and not isinstance(self.representation, Frozen):
            raise ValueError("probing: 'states' are those of a frozen backbone, and there is none")
        return self

    @model_validator(mode="after")
    def _scores_can_be_watched(self) -> Experiment:
        if self.probing in ("by-epoch", "mechanism") and self.router is None:
            raise ValueError(
                f"probing: {self.probing!r} keeps a router's scores, and there is no router"
            )
        if self.probing == "by-epoch" and self.training.held_out < FILMED:
            raise ValueError(f"probing: 'by-epoch' needs {FILMED} held-out sequences")
        if self.probing == "mechanism" and self.router is not None and self.router.granularity > 1:
            raise ValueError("probing: 'mechanism' needs a router of tokens, not of segments")
        return self

    def build(self) -> FCI:
        """The model, initialised from torch's current random state."""
        size = Size(self.task.vocabulary, self.task.length, self.width)
        return FCI(size, self.representation, self.router, self.council, self.normalisation)
