"""Every condition that the paper's claims and several chapters speak of, each declared once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from fcilib.backbones import MAMBA_1_4B, MAMBA_370M, PYTHIA_1B
from fcilib.representations import (
    Anchored,
    Attention,
    Contrastive,
    Embedding,
    Flow,
    Fourier,
    Frozen,
    GlobalMean,
    LinearAttention,
    Perceiver,
)
from fcilib.retrieval import AtRandom, Keywords, Retrieval
from fcilib.retrieval.hotpotqa import SAMPLE
from fcilib.routers import (
    OFUL,
    BloomIndex,
    BM25Index,
    Budgeted,
    ClosedLoop,
    ContrastiveInvestigator,
    Investigator,
    LinUCB,
    MemoryBank,
    RandomRouter,
    RankOne,
    SegmentRouter,
    ThompsonSampling,
)
from fcilib.study.profiles import PROFILES, Profile
from fcilib.training.experiment import Experiment

Decider = Experiment | Retrieval

ONLY = ""
"""The protocol's name where there is only one."""

PROTOCOLS = ("all", "others")
"""The sets of candidates that a router may pick from."""

CHANCE = "random router"
"""The label of the condition whose metrics are the chance level of all others run beside it."""

Style = tuple[str, str]
"""Colour and marker."""


@dataclass(frozen=True)
class Condition:
    """Experiments that differ in their protocol alone, and what they are called."""

    name: str
    """As `decided_by` in `claims.yaml` has it."""
    label: str
    """What tables and figures call it; one label may serve on several tasks."""
    under: Mapping[str, Decider]
    """By protocol; `ONLY` where there is one."""
    claim: str | None = None
    """The name of its headline claim on precision; None if the paper has none, or the condition
    is a control."""
    style: Style | None = None
    """Its own, and that of its relatives whose labels begin as its own does before the comma."""


def catalogue(sizes: Profile) -> dict[str, Condition]:
    """Every condition at these sizes, by name; those that decide claims first, then controls."""
    evidence = sizes.evidence
    by_class = evidence.model_copy(update={"class_size": 3})
    near = evidence.model_copy(update={"near": True})
    both_ways, pairwise = Flow(layers=1, bidirectional=True), Investigator()
    raw, places = Embedding(), Embedding(tokens="none")
    segments: dict[str, Any] = {"segment": sizes.segment}
    in_segment: dict[str, Any] = {"within": sizes.arms}
    pretraining: dict[str, Any] = {"epochs": sizes.training.epochs}
    of_class, mqar = {"task": by_class}, {"task": sizes.mqar}
    small = {"training": sizes.frozen}

    def run(representation, router=pairwise, task=evidence, training=sizes.training, **more):
        parts = {"representation": representation, "router": router, "training": training}
        return _protocols(Experiment(task=task, width=sizes.width, **parts, **more))

    def by_segment(representation, **more):
        return run(representation, SegmentRouter(**segments, **more))

    def frozen(backbone, bridge="none"):
        return run(Frozen(backbone=backbone, bridge=bridge), training=sizes.frozen)

    def contrastive(frozen):
        return run(Contrastive(frozen=frozen, **pretraining), probing="thorough")

    def retrieval(retriever):
        return Retrieval(retriever=retriever, questions=SAMPLE.digest)

    plain = Attention(layers=4)
    bm25 = {"white space": Keywords(), "words": Keywords(tokens="words")}
    # Okabe and Ito's palette, told apart by colour-blind readers; each with a marker, for print.
    rows: list[tuple[Any, ...]] = [
        ("plain-near", "near evidence", run(plain, None, near)),
        ("plain-far", "far evidence", run(plain, None)),
        ("random", CHANCE, run(raw, RandomRouter()), None, ("#777777", "|")),
        ("raw", "raw embeddings", run(raw), "raw", ("#000000", "s")),
        ("content-only", "content-only", run(Embedding(positions="none")), "content-only",
         ("#CC79A7", "D")),
        ("flow-1", "Flow, 1 layer", run(Flow(layers=1)), "flow"),
        ("flow-2", "Flow, 2 layers", run(Flow()), "unidirectional-flow", ("#E69F00", "^")),
        ("flow-4", "Flow, 4 layers", run(Flow(layers=4)), "flow"),
        ("attention-1", "attention, 1 layer", run(Attention()), "one-layer", ("#0072B2", "o")),
        ("attention-2", "attention, 2 layers", run(Attention(layers=2)), "more-layers"),
        ("attention-4", "attention, 4 layers", run(Attention(layers=4)), "more-layers"),
        ("causal-1", "causal attention, 1 layer", run(Attention(mask="causal")), "causal-attention",
         ("#56B4E9", "v")),
        ("causal-2", "causal attention, 2 layers", run(Attention(layers=2, mask="causal")),
         "scale-causal-2", ("#CC79A7", "v")),
        ("causal-4", "causal attention, 4 layers", run(Attention(layers=4, mask="causal")),
         "scale-causal-4"),
        ("sparse", "sparse attention", run(Attention(mask="sparse")), "sparse-attention",
         ("#56B4E9", "D")),
        ("bidirectional-mamba", "bidirectional Mamba", run(both_ways), "bidirectional-mamba",
         ("#D55E00", "P")),
        ("bidirectional-mamba-rank-one", "bidirectional Mamba, rank-1", run(both_ways, RankOne()),
         "bidirectional-mamba-rank-one"),
        ("attention-rank-one", "attention, rank-1", run(Attention(), RankOne()),
         "rank-one-attention"),
        ("perceiver-16", "Perceiver, 16 hubs", run(Perceiver(hubs=16)), "perceiver-16",
         ("#009E73", "X")),
        ("perceiver-1", "Perceiver, 1 hub", run(Perceiver(hubs=1)), "perceiver-1",
         ("#009E73", "x")),
        ("global-mean", "global mean", run(GlobalMean()), "global-mean", ("#999933", "<")),
        ("fourier", "Fourier mixing", run(Fourier()), "fourier", ("#999933", ">")),
        ("contrastive-projections", "pretrained router, random vectors",
         run(Embedding(embeddings="frozen"), ContrastiveInvestigator(**pretraining)),
         "contrastive-frozen"),
        ("contrastive-vectors", "pretrained vectors, frozen", contrastive(True)),
        ("contrastive-tuned", "pretrained vectors, learning", contrastive(False),
         "contrastive-tuned"),
        ("segment-flow", "segments: Flow, mean", by_segment(Flow(layers=1)), "segment-flow"),
        ("segment-bidirectional-mamba", "segments: bidirectional Mamba, mean",
         by_segment(both_ways), "segment-bidirectional-flow", ("#D55E00", "P")),
        ("segment-linear-attention", "segments: linear attention, mean",
         by_segment(LinearAttention()), "segment-linear-attention", ("#CC79A7", "h")),
        ("segment-mean", "segments: embeddings, mean", by_segment(raw), "segment-ceiling",
         ("#000000", "s")),
        ("segment-max", "segments: embeddings, max", by_segment(raw, summary="max"),
         "segment-ceiling", ("#56B4E9", "D")),
        ("segment-linear-score", "segments: embeddings, linear-attention score",
         by_segment(raw, score="linear-attention"), "segment-ceiling", ("#009E73", "p")),
        ("memory-bank", "memory bank", run(raw, MemoryBank()), "memory-bank"),
        ("linucb", "LinUCB", run(raw, LinUCB(**in_segment)), "linucb"),
        ("thompson", "Thompson sampling", run(raw, ThompsonSampling(**in_segment)), "thompson"),
        ("oful", "OFUL", run(raw, OFUL(**in_segment)), "oful"),
        ("budget-50", "MF-OFUL, 50%", run(raw, Budgeted(fraction=0.5)), "budget-50",
         ("#D55E00", "P")),
        ("budget-25", "MF-OFUL, 25%", run(raw, Budgeted(fraction=0.25)), "budget-25",
         ("#E69F00", "^")),
        ("closed-loop-2", "DOL, 2 rounds", run(raw, ClosedLoop(rounds=2)), "closed-loop"),
        ("closed-loop-3", "DOL, 3 rounds", run(raw, ClosedLoop(rounds=3)), "closed-loop"),
        ("bloom", "Bloom filter", run(raw, BloomIndex(bits=8 * sizes.segment, **segments)), "bloom",
         ("#0072B2", "X")),
        ("semantic-initialisation", "by class: structured initialisation",
         run(Embedding(alike=by_class.class_size), **of_class), "semantic"),
        ("semantic-anchors", "by class: anchors", run(Anchored(), **of_class), "semantic"),
        ("mqar-attention", "attention, 1 layer", run(Attention(), **mqar), "mqar-attention"),
        ("mqar-flow", "Flow, 2 layers", run(Flow(), **mqar), "mqar-flow"),
        ("mqar-raw", "raw embeddings", run(raw, **mqar), "mqar-raw"),
        ("mqar-bidirectional-flow", "bidirectional Mamba", run(both_ways, **mqar)),
        ("mqar-content-only", "content-only", run(Embedding(positions="none"), **mqar)),
        ("mqar-positions-only", "positions only", run(places, **mqar)),
        ("mqar-random", CHANCE, run(raw, RandomRouter(), **mqar)),
        ("small-attention", "attention, end to end", run(Attention(), **small)),
        ("small-causal", "causal attention, end to end", run(Attention(mask="causal"), **small)),
        ("small-sparse", "sparse attention, end to end", run(Attention(mask="sparse"), **small)),
        ("small-flow", "Flow, end to end", run(Flow(), **small)),
        ("small-raw", "raw embeddings, end to end", run(raw, **small)),
        ("pythia-1b", "Pythia-1B, no bridge", frozen(PYTHIA_1B), "frozen-pythia-1b"),
        ("pythia-1b-bridge", "Pythia-1B, full bridge", frozen(PYTHIA_1B, "full"), "bridge"),
        ("mamba-1.4b", "Mamba-1.4B, no bridge", frozen(MAMBA_1_4B), "frozen-mamba-1.4b"),
        ("mamba-370m", "Mamba-370M, no bridge", frozen(MAMBA_370M), "frozen-mamba-370m"),
        ("bm25", "BM25", {name: retrieval(words) for name, words in bm25.items()}),
        ("random-retrieval", "random segments", {ONLY: retrieval(AtRandom())}),
        # Controls, which are ours:
        ("random-segment", "random segment",
         run(raw, RandomRouter(k=SegmentRouter().k, **segments))),
        ("random-in-segment", "random token of the segment", run(raw, RandomRouter(**in_segment))),
        ("random-by-class", "random router, by class", run(raw, RandomRouter(), **of_class)),
        ("positions-only", "positions only", run(places), None, ("#999933", "*")),
        ("segment-positions-only", "positions only, segments", by_segment(places)),
        ("linucb-positions-only", "LinUCB, positions only", run(places, LinUCB(**in_segment))),
        ("linucb-products", "LinUCB, products", run(raw, LinUCB(features="product", **in_segment))),
        ("closed-loop-1", "DOL, 1 round", run(raw, ClosedLoop(rounds=1))),
        ("bm25-index", "BM25", run(raw, BM25Index(**segments))),
        ("raw-by-class", "by class: raw embeddings", run(raw, **of_class)),
        ("attention-by-class", "by class: attention, 1 layer", run(Attention(), **of_class)),
        ("global-mean-residual", "global mean, residual kept", run(GlobalMean(residual=True))),
        ("fourier-residual", "Fourier mixing, residual kept", run(Fourier(residual=True))),
        ("fourier-residual-orthonormal", "Fourier mixing, residual kept, orthonormal",
         run(Fourier(residual=True, orthonormal=True))),
    ]  # fmt: skip
    return {row[0]: Condition(*row) for row in rows}


@cache
def label_of(name: str) -> str:
    """What readers call a condition."""
    return catalogue(PROFILES["paper"])[name].label


def conditions(sizes: Profile, *names: str) -> dict[str, Condition]:
    """Conditions of the catalogue by their labels, which tables and figures show.

    Raises KeyError with the names that the catalogue does not have.
    """
    known = catalogue(sizes)
    if unknown := ", ".join(name for name in names if name not in known):
        raise KeyError(f"{unknown}: not in the catalogue, fcilib/ledger/catalogue.py")
    return {known[name].label: known[name] for name in names}


def by_protocol(shown: Mapping[str, Condition]) -> dict[str, dict[str, Decider]]:
    """What `Study.run_protocols` runs: each condition's experiment under "all" and "others"."""
    return {p: {label: c.under[p] for label, c in shown.items()} for p in PROTOCOLS}


@cache
def styles() -> Mapping[str, Style]:
    """By the words that labels begin with: colour and marker, as the catalogue declares them."""
    found: dict[str, Style] = {}
    for condition in catalogue(PROFILES["smoke"]).values():
        if condition.style:
            label = condition.label.removeprefix("segments: ")
            found.setdefault(label.partition(",")[0], condition.style)
            found[label] = condition.style
    return found


def chance_of(experiment: Experiment) -> Experiment:
    """The run whose metrics are the chance level of an experiment's.

    The same task, and a router that picks at random among the same candidates.
    """
    router = experiment.router
    parts: dict[str, Any] = {"candidates": "others"}
    if router is not None:
        parts = {name: getattr(router, name) for name in ("candidates", "k", "within")}
        parts["segment"] = router.granularity
    return Experiment(
        task=experiment.task,
        width=experiment.width,
        representation=Embedding(),
        router=RandomRouter(**parts),
        training=experiment.training,
        seed=experiment.seed,
    )


def _protocols(experiment: Experiment) -> Mapping[str, Experiment]:
    """The experiment with every set of candidates; alone, if it has no router."""
    if experiment.router is None:
        return {ONLY: experiment}
    routers = {c: experiment.router.model_copy(update={"candidates": c}) for c in PROTOCOLS}
    return {c: experiment.model_copy(update={"router": router}) for c, router in routers.items()}


WATCHED = 25
"""Epochs that a watched training is cut into, at least: so often its parts are measured."""


def watched(sizes: Profile, name: str, learning_rate: float = 1e-3) -> Experiment:
    """A condition of the catalogue under "all", with the parts of its scores kept by epoch.

    It has as many steps as the profile's training. Where that has fewer epochs than `WATCHED`, it
    is cut into shorter ones of new sequences, so that a rise within one of them can be seen.
    """
    training, finer = sizes.training, -(-WATCHED // sizes.training.epochs)
    update: dict[str, Any] = {"learning_rate": learning_rate}
    if finer > 1:
        sequences, epochs = -(-training.sequences // finer), training.epochs * finer
        held_out = -(-training.held_out // 2)
        update |= {"sequences": sequences, "epochs": epochs, "data": "fresh", "held_out": held_out}
    experiment = catalogue(sizes)[name].under.get("all")
    if not isinstance(experiment, Experiment):
        raise TypeError(f"name: {name!r} is no training under 'all'")
    update = {"training": training.model_copy(update=update), "probing": "mechanism"}
    return experiment.model_copy(update=update)


def small_control(sizes: Profile) -> dict[str, Experiment]:
    """The plain four-layer Transformer, "near" and "far", at a size and a rate it can learn at.

    Sequences of three eighths of the profile's length over a quarter of its tokens, the far
    evidence half of a sequence away; new sequences in every epoch, and three times the learning
    rate. Ours: the paper's own control is `plain-near` and `plain-far`.
    """
    full = sizes.evidence
    length, vocabulary = max(3 * full.length // 8, 32), max(full.vocabulary // 4, 16)
    update = {"length": length, "vocabulary": vocabulary, "min_distance": length // 2}
    task = full.model_copy(update=update)
    training = sizes.settled.model_copy(update={"data": "fresh", "learning_rate": 3e-3})
    return {
        where: Experiment(
            task=task.model_copy(update={"near": where == "near"}),
            width=sizes.width,
            representation=Attention(layers=4),
            router=None,
            training=training,
        )
        for where in ("near", "far")
    }
