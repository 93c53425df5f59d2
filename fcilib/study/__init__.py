"""What a chapter works with: a profile's sizes, a study of some seeds, and its results."""

from fcilib.study.study import Study

__all__ = ["Study"]
