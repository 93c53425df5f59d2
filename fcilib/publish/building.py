"""One process at a time makes or prints the rendered pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fcilib.publish.project import Project
from fcilib.storage.files import storing


@contextmanager
def building(project: Project, say: Callable[[str], None] = print) -> Iterator[None]:
    """Hold the rendered pages: only one process at a time makes or prints them, the others wait.

    Raises StoreError where nothing can be written beside the pages.
    """
    lock = FileLock(project.html.parent / "lock")
    with storing(Path(lock.lock_file)):
        project.html.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say("another process makes or prints these pages; waiting for it to end")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
