"""Writing files so that nobody ever reads half of one, and that a failure says why."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


class StoreError(OSError):
    """A file can't be written; the message is one sentence, with the file and the reason."""


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the system says against writing at `path` into a StoreError."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        reason = (error.strerror or str(error)).lower()
        raise StoreError(f"{path} can't be written: {reason}") from None


def write_atomic(path: Path, content: str | bytes) -> bool:
    """Put `content` at `path` in one step (temporary file, fsync, rename); make its folder.

    Returns False, and leaves the file and its time alone, where it already holds that content.
    Raises StoreError where that can't be done; what was at `path` before is then still there.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return False
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)  # mkstemp's 0600 would end up in what is published
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)  # an interruption may come after the renaming
            raise
    return True


def sweep(*paths: Path) -> None:
    """Remove what killed writers of these files left beside them.

    To be called under the lock that every writer of them holds.
    """
    for path in paths:
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            left.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that is a file at `path`, in a folder that is made where there is none.

    Raises StoreError where neither can be written.
    """
    lock = FileLock(path)
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
