"""The executable edition of "When Does Content-Based Routing Work?" (arXiv:2603.20997v2).

What a user needs is here by name: `from fcilib import Experiment, Flow, Investigator, train`. A
name is imported from its wing when it is first used, so that `import fcilib` stays light.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

NAMES = {  # by the module that defines them
    "fcilib.tasks": "Batch Evidence Ladder MQAR",
    "fcilib.scan": "causal_conv_silu selective_scan",
    "fcilib.layers.mamba": "MambaBlock",
    "fcilib.representations": "AblatedAttention Anchored Attention Contrastive Embedding Flow "
    "Fourier Frozen GlobalMean Hybrid LinearAttention Perceiver",
    "fcilib.routers": "BM25Index BloomIndex Budgeted ClosedLoop Investigator LinUCB MemoryBank "
    "OFUL RandomRouter RankOne SegmentRouter ThompsonSampling",
    "fcilib.model.council": "Council",
    "fcilib.model.fci": "FCI",
    "fcilib.training.experiment": "Experiment Training",
    "fcilib.training.records": "Record Records",
    "fcilib.training.loop": "train",
    "fcilib.study.study": "Study",
}
_WINGS = {name: wing for wing, names in NAMES.items() for name in names.split()}

__all__ = sorted(_WINGS)


def __getattr__(name: str) -> Any:
    if name not in _WINGS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WINGS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WINGS})
