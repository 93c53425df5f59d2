"""Who picks the tokens: `x (B, L, d)` and q to scores `(B, L)`, and the k best of them."""

from typing import Annotated

from pydantic import Field

from fcilib.routers.investigator import Investigator
from fcilib.routers.random import RandomRouter
from fcilib.routers.rank_one import RankOne
from fcilib.routers.router import mask_candidates, pick

Router = Annotated[Investigator | RankOne | RandomRouter, Field(discriminator="kind")]
"""Every router an experiment can name, told apart by `kind`."""

__all__ = ["Investigator", "RandomRouter", "RankOne", "Router", "mask_candidates", "pick"]
