"""Picking the segments of a text that answer a question (paper, section 4.5), and answering it."""

from fcilib.retrieval.late import LateInteraction
from fcilib.retrieval.reading import Reading, ReadingRecord, find_reading, read
from fcilib.retrieval.retrievers import AtRandom, Encoder, Keywords
from fcilib.retrieval.run import Retrieval, RetrievalRecord, find, retrieve
from fcilib.retrieval.scoring import METRICS
from fcilib.retrieval.sparse import LearnedSparse

__all__ = [
    "METRICS",
    "AtRandom",
    "Encoder",
    "Keywords",
    "LateInteraction",
    "LearnedSparse",
    "Reading",
    "ReadingRecord",
    "Retrieval",
    "RetrievalRecord",
    "find",
    "find_reading",
    "read",
    "retrieve",
]
