"""The problems a router is asked to solve."""

from typing import Annotated

from pydantic import Field

from fcilib.tasks.batch import Batch
from fcilib.tasks.evidence import Evidence
from fcilib.tasks.ladder import Ladder
from fcilib.tasks.mqar import MQAR

Task = Annotated[Evidence | MQAR | Ladder, Field(discriminator="kind")]
"""Every task an experiment can name, told apart by `kind`."""

__all__ = ["MQAR", "Batch", "Evidence", "Ladder", "Task"]
