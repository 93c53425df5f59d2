"""The experiments that decide the paper's claims, by the names that `claims.yaml` uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

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
    Budgeted,
    ClosedLoop,
    Investigator,
    LinUCB,
    MemoryBank,
    RandomRouter,
    RankOne,
    SegmentRouter,
    ThompsonSampling,
)
from fcilib.specs.spec import Spec
from fcilib.study.profiles import Profile
from fcilib.training.experiment import Experiment

AnySpec = TypeVar("AnySpec", bound=Spec)

Decider = Experiment | Retrieval

ONLY = ""
"""The protocol's name where there is only one."""


def deciders(sizes: Profile) -> dict[str, dict[str, Decider]]:
    """By name, each experiment at these sizes under every protocol that it can be run under."""
    evidence = sizes.evidence
    by_class = _with(evidence, class_size=3)
    both_ways, pairwise = Flow(layers=1, bidirectional=True), Investigator()
    segments = {"segment": sizes.segment}
    given = {"within": sizes.arms}
    pretraining = {"epochs": sizes.training.epochs}

    def run(representation, router=pairwise, task=evidence, training=sizes.training, **more):
        parts = {"representation": representation, "router": router, "training": training}
        return _protocols(Experiment(task=task, width=sizes.width, **parts, **more))

    def frozen(backbone, bridge="none"):
        return run(Frozen(backbone=backbone, bridge=bridge), training=sizes.frozen)

    def contrastive(frozen):
        return run(Contrastive(frozen=frozen, **pretraining), probing="thorough")

    return {
        "plain-near": run(Attention(layers=4), None, _with(evidence, near=True)),
        "plain-far": run(Attention(layers=4), None),
        "random": run(Embedding(), RandomRouter()),
        "raw": run(Embedding()),
        "content-only": run(Embedding(positions="none")),
        **{f"flow-{n}": run(Flow(layers=n)) for n in (1, 2, 4)},
        **{f"attention-{n}": run(Attention(layers=n)) for n in (1, 2, 4)},
        **{f"causal-{n}": run(Attention(layers=n, mask="causal")) for n in (1, 2, 4)},
        "sparse": run(Attention(mask="sparse")),
        "bidirectional-mamba": run(both_ways),
        "bidirectional-mamba-rank-one": run(both_ways, RankOne()),
        "attention-rank-one": run(Attention(), RankOne()),
        "perceiver-16": run(Perceiver(hubs=16)),
        "perceiver-1": run(Perceiver(hubs=1)),
        "global-mean": run(GlobalMean()),
        "fourier": run(Fourier()),
        "contrastive-frozen": contrastive(frozen=True),
        "contrastive-tuned": contrastive(frozen=False),
        "segment-flow": run(Flow(layers=1), SegmentRouter(**segments)),
        "segment-bidirectional-mamba": run(both_ways, SegmentRouter(**segments)),
        "segment-linear-attention": run(LinearAttention(), SegmentRouter(**segments)),
        "segment-mean": run(Embedding(), SegmentRouter(**segments)),
        "segment-max": run(Embedding(), SegmentRouter(summary="max", **segments)),
        "segment-linear-score": run(
            Embedding(), SegmentRouter(score="linear-attention", **segments)
        ),
        "memory-bank": run(Embedding(), MemoryBank()),
        "linucb": run(Embedding(), LinUCB(**given)),
        "thompson": run(Embedding(), ThompsonSampling(**given)),
        "oful": run(Embedding(), OFUL(**given)),
        "budget-50": run(Embedding(), Budgeted(fraction=0.5)),
        "budget-25": run(Embedding(), Budgeted(fraction=0.25)),
        "closed-loop-2": run(Embedding(), ClosedLoop(rounds=2)),
        "closed-loop-3": run(Embedding(), ClosedLoop(rounds=3)),
        "bloom": run(Embedding(), BloomIndex(bits=8 * sizes.segment, k=4, **segments)),
        "semantic-initialisation": run(Embedding(alike=by_class.class_size), task=by_class),
        "semantic-anchors": run(Anchored(), task=by_class),
        "mqar-attention": run(Attention(), task=sizes.mqar),
        "mqar-flow": run(Flow(), task=sizes.mqar),
        "mqar-raw": run(Embedding(), task=sizes.mqar),
        "small-attention": run(Attention(), training=sizes.frozen),
        "small-causal": run(Attention(mask="causal"), training=sizes.frozen),
        "small-sparse": run(Attention(mask="sparse"), training=sizes.frozen),
        "small-flow": run(Flow(), training=sizes.frozen),
        "small-raw": run(Embedding(), training=sizes.frozen),
        "pythia-1b": frozen(PYTHIA_1B),
        "pythia-1b-bridge": frozen(PYTHIA_1B, "full"),
        "mamba-1.4b": frozen(MAMBA_1_4B),
        "mamba-370m": frozen(MAMBA_370M),
        "bm25": {
            "white space": _retrieval(Keywords()),
            "words": _retrieval(Keywords(tokens="words")),
        },
        "random-retrieval": {ONLY: _retrieval(AtRandom())},
    }


def chance_of(experiment: Experiment) -> Experiment:
    """The run whose metrics are the chance level of an experiment's.

    The same task, and a router that picks at random among the same candidates.
    """
    router, parts = experiment.router, {"candidates": "others"}
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
    return {
        candidates: _with(experiment, router=_with(experiment.router, candidates=candidates))
        for candidates in ("all", "others")
    }


def _retrieval(retriever: Keywords | AtRandom) -> Retrieval:
    return Retrieval(retriever=retriever, questions=SAMPLE.digest)


def _with(spec: AnySpec, **changes: object) -> AnySpec:
    """The description with some fields changed, and checked."""
    return type(spec).model_validate({**dict(spec), **changes})
