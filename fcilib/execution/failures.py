"""Runs that failed, reported at the end, when all others are recorded."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Mapping

from fcilib.training.experiment import Experiment

Failures = dict[Experiment, Exception]
"""Why runs failed, for those that did."""


class RunsFailed(RuntimeError):
    """Some runs failed; all others are recorded. The message has each one's spec and error."""

    def __init__(self, failures: Mapping[Experiment, Exception], total: int) -> None:
        self.failures = dict(failures)
        head = f"{len(failures)} of {total} runs failed; all others are recorded:"
        super().__init__("\n".join([head, *(_line(*item) for item in failures.items())]))


def _line(experiment: Experiment, error: Exception) -> str:
    return f"  {experiment.canonical()}\n    {type(error).__name__}: {error}"


def portable(error: Exception) -> Exception:
    """The error being handled, fit to be sent to another process, with its traceback as a note.

    One that can't be pickled becomes a RuntimeError that says the same.
    """
    note = traceback.format_exc()
    try:
        sent = pickle.loads(pickle.dumps(error))
    except Exception:
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    sent.add_note(note)
    return sent
