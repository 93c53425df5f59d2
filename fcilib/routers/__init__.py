"""Who picks the tokens: `x (B, L, d)` and q to scores `(B, C)`, and the k best of them.

Each router is a file, and a line here.
"""

from fcilib.routers.bandits import OFUL as OFUL
from fcilib.routers.bandits import LinUCB as LinUCB
from fcilib.routers.bandits import ThompsonSampling as ThompsonSampling
from fcilib.routers.block import BlockRouter as BlockRouter
from fcilib.routers.bloom import BloomIndex as BloomIndex
from fcilib.routers.bm25 import BM25Index as BM25Index
from fcilib.routers.budget import Budgeted as Budgeted
from fcilib.routers.contrastive import ContrastiveInvestigator as ContrastiveInvestigator
from fcilib.routers.cosine import Cosine as Cosine
from fcilib.routers.expert_choice import ExpertChoice as ExpertChoice
from fcilib.routers.feedback import ClosedLoop as ClosedLoop
from fcilib.routers.hubs import HubRouter as HubRouter
from fcilib.routers.investigator import Investigator as Investigator
from fcilib.routers.kmeans import KMeans as KMeans
from fcilib.routers.lsh import LSH as LSH
from fcilib.routers.memory import MemoryBank as MemoryBank
from fcilib.routers.product_key import ProductKey as ProductKey
from fcilib.routers.random import RandomRouter as RandomRouter
from fcilib.routers.rank_one import RankOne as RankOne
from fcilib.routers.router import mask_candidates as mask_candidates
from fcilib.routers.router import pick as pick
from fcilib.routers.segment import SegmentRouter as SegmentRouter
