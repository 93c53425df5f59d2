"""Who picks the tokens: `x (B, L, d)` and q to scores `(B, C)`, and the k best of them."""

from typing import Annotated

from pydantic import Field

from fcilib.routers.bandits import OFUL, LinUCB, ThompsonSampling
from fcilib.routers.bloom import BloomIndex
from fcilib.routers.bm25 import BM25Index
from fcilib.routers.budget import Budgeted
from fcilib.routers.feedback import ClosedLoop
from fcilib.routers.investigator import Investigator
from fcilib.routers.memory import MemoryBank
from fcilib.routers.random import RandomRouter
from fcilib.routers.rank_one import RankOne
from fcilib.routers.router import mask_candidates, pick
from fcilib.routers.segment import SegmentRouter

Router = Annotated[
    Investigator
    | RankOne
    | SegmentRouter
    | MemoryBank
    | LinUCB
    | ThompsonSampling
    | OFUL
    | Budgeted
    | ClosedLoop
    | RandomRouter
    | BloomIndex
    | BM25Index,
    Field(discriminator="kind"),
]
"""Every router an experiment can name, told apart by `kind`."""

__all__ = [
    "OFUL",
    "BM25Index",
    "BloomIndex",
    "Budgeted",
    "ClosedLoop",
    "Investigator",
    "LinUCB",
    "MemoryBank",
    "RandomRouter",
    "RankOne",
    "Router",
    "SegmentRouter",
    "ThompsonSampling",
    "mask_candidates",
    "pick",
]
