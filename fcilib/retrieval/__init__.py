"""Picking the segments of a text that answer a question (paper, section 4.5)."""

from fcilib.retrieval.retrievers import AtRandom, Encoder, Keywords
from fcilib.retrieval.run import Retrieval, RetrievalRecord, find, retrieve
from fcilib.retrieval.scoring import METRICS

__all__ = [
    "METRICS",
    "AtRandom",
    "Encoder",
    "Keywords",
    "Retrieval",
    "RetrievalRecord",
    "find",
    "retrieve",
]
