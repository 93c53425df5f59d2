"""Routing without learning: indices over the tokens of segments."""

from typing import Annotated

from pydantic import Field

from fcilib.indices.bloom import BloomIndex
from fcilib.indices.bm25 import BM25Index

Index = Annotated[BloomIndex | BM25Index, Field(discriminator="kind")]
"""Every index an experiment can name in a router's place, told apart by `kind`."""

__all__ = ["BM25Index", "BloomIndex", "Index"]
