"""What is made once: the first of several processes makes it, and the others find it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fcilib.storage.files import locked, sweep

T = TypeVar("T")


def find_or_make(
    find: Callable[[], T | None], make: Callable[[], T], lock: Path, *files: Path
) -> T:
    """What `find` returns; where that is None, what `make` returns.

    Only one process at a time makes it: the others wait, then find it. Where it is found, nothing
    is written.

    Args:
        find: looks for it, and returns None where it is not there.
        make: makes it and keeps it, so that `find` finds it from then on.
        lock: the file that is locked meanwhile.
        files: what `make` writes; what writers left beside them that were killed before, or are
            interrupted now, is removed.

    Raises:
        StoreError: the lock can't be written. Whatever `find` and `make` raise passes through.
    """
    if (existing := find()) is not None:
        return existing
    with locked(lock):
        sweep(*files)
        if (existing := find()) is not None:
            return existing
        try:
            return make()
        except BaseException:  # an interruption may have met a writer before it could tidy up
            sweep(*files)
            raise
