"""The problems a router is asked to solve."""

from fcilib.tasks.batch import Batch
from fcilib.tasks.evidence import Evidence

Task = Evidence
"""Every task an experiment can name. A further task joins here, as a union told apart by `kind`."""

__all__ = ["Batch", "Evidence", "Task"]
