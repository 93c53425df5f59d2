"""Today's methods beside what the paper's principle predicts of each, written before any run.

The principle (paper, sections 5 and 6): routing needs vectors with context from both sides, and a
pairwise comparison; with both it succeeds, "regardless of architecture", and with either alone it
fails. The paper tests none of these methods. Where its words leave two readings, the prediction is
`OPEN`, and `why` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fcilib.ledger.claims import FAILURE, SUCCESS
from fcilib.representations import (
    Based,
    DeltaNet,
    Embedding,
    Flow,
    GatedLinearAttention,
    Hgrn2,
    Hyena,
    Mamba2,
    Rwkv7,
)
from fcilib.representations.base import RepresentationSpec
from fcilib.routers import (
    LSH,
    BlockRouter,
    ExpertChoice,
    HubRouter,
    Investigator,
    KMeans,
    ProductKey,
)
from fcilib.routers.router import RouterSpec
from fcilib.study.profiles import Profile
from fcilib.tasks import MQAR
from fcilib.training.experiment import Experiment

Prediction = Literal["routes", "fails", "open"]
ROUTES: Prediction = "routes"
FAILS: Prediction = "fails"
OPEN: Prediction = "open"

HUBS = (1, 2, 4, 8, 16, 32)
"""The sweep over hubs; HubRouter's paper reports 8 to 14 of 1 to 32 as reliable."""


@dataclass(frozen=True)
class Method:
    """A representation with a router behind it, and what is said of the two beforehand."""

    label: str
    representation: RepresentationSpec
    router: RouterSpec
    predicted: Prediction
    why: str
    """The words of the paper that the prediction follows from, by section."""


RECURRENT = {
    "Mamba-2": Mamba2(),
    "gated linear attention": GatedLinearAttention(),
    "HGRN2": Hgrn2(),
    "DeltaNet": DeltaNet(),
    "Gated DeltaNet": DeltaNet(gated=True),
    "RWKV-7": Rwkv7(),
    "Hyena": Hyena(),
}
"""What reads in one direction, by label, or in both."""

ONE_WAY = "4.7: a causal recurrence has no information about what follows, and fails"
BOTH_WAYS = "4.6: forward and backward passes give each position context from both sides"
ATTENTION = "4.7: causal attention with end-to-end training routes"
WINDOW = "5: window attention should enable routing within each window; the evidence is beyond it"


def representations(sizes: Profile) -> list[Method]:
    """Every representation in front of the Investigator, in one direction and in both."""
    pairwise = Investigator(candidates="others")
    methods = []
    for label, spec in RECURRENT.items():
        both = spec.model_copy(update={"bidirectional": True})
        methods.append(Method(label, spec, pairwise, FAILS, ONE_WAY))
        methods.append(Method(f"bidirectional {label}", both, pairwise, ROUTES, BOTH_WAYS))
    window = max(2, sizes.ladder.length // 4)
    why = f"{ATTENTION}; {WINDOW}"
    return [
        *methods,
        Method("Based", Based(window=window), pairwise, OPEN, why),
        Method(
            "bidirectional Based",
            Based(window=window, bidirectional=True),
            pairwise,
            ROUTES,
            BOTH_WAYS,
        ),
    ]


def routers() -> list[Method]:
    """Every router behind raw embeddings, which lack context, and behind bidirectional Mamba."""
    compared = "5: pairwise comparison can be sparse"
    by_summary = "4.3: routing by summaries of segments ends at a ceiling"
    by_itself = "5: every mechanism that avoids pairwise comparison fails"
    hashing = "5: whether learned hashing can do without comparison is left open"
    fingerprints = "4.7: a comparison of rank one suffices"
    kinds: list[tuple[str, RouterSpec, Prediction, str]] = [
        ("LSH", LSH(candidates="others"), ROUTES, compared),
        ("k-means", KMeans(candidates="others"), ROUTES, compared),
        ("blocks, mean", BlockRouter(candidates="others"), FAILS, by_summary),
        ("blocks, learned", BlockRouter(candidates="others", compression="learned"), FAILS,
         by_summary),
        ("expert choice", ExpertChoice(candidates="others"), FAILS, by_itself),
        ("product keys", ProductKey(candidates="others"), OPEN, hashing),
        *((f"hubs, {m}", HubRouter(candidates="others", hubs=m), ROUTES, fingerprints)
          for m in HUBS),
    ]  # fmt: skip
    raw, mamba = Embedding(), Flow(layers=1, bidirectional=True)
    no_context = "4.1: raw embeddings have no context, and fail"
    return [
        *(Method(label, raw, router, FAILS, no_context) for label, router, *_ in kinds),
        *(
            Method(f"{label}, on bidirectional Mamba", mamba, router, predicted, why)
            for label, router, predicted, why in kinds
        ),
    ]


def outcome(precision: float) -> str:
    """What a measured precision is: that it routes, that it fails, or in between."""
    if precision >= SUCCESS:
        return ROUTES
    return FAILS if precision <= FAILURE else "in between"


def on_evidence(sizes: Profile, method: Method) -> Experiment:
    """The method on Distant Evidence, with the query excluded."""
    return Experiment(
        task=sizes.evidence,
        width=sizes.width,
        representation=method.representation,
        router=method.router,
        training=sizes.training,
    )


def recall_task(sizes: Profile, pairs: int) -> MQAR:
    """MQAR with so many pairs, in sequences as long as on the ladder."""
    length, vocabulary = sizes.ladder.length, sizes.mqar.vocabulary
    return MQAR(form="multi", pairs=pairs, length=length, vocabulary=vocabulary)


def on_recall(sizes: Profile, method: Method) -> Experiment:
    """The method on MQAR with four pairs, trained as on the ladder."""
    task = recall_task(sizes, pairs=4)
    return on_evidence(sizes, method).model_copy(update={"task": task, "training": sizes.climbing})


def on_ladder(sizes: Profile, method: Method, rung: Literal["left", "right"]) -> Experiment:
    """The method where the token before, or after, tells the evidence from its look-alikes."""
    return Experiment(
        task=sizes.ladder.model_copy(update={"rung": rung}),
        width=sizes.width,
        representation=method.representation,
        router=method.router,
        training=sizes.climbing,
    )
