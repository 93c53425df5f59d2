"""Writing files so that nobody ever reads half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomic(path: Path, content: str | bytes) -> bool:
    """Put `content` at `path` in one step (temporary file, fsync, rename); make its folder.

    Returns False, and leaves the file and its time alone, where it already holds that content.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return False
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
        Path(name).unlink(missing_ok=True)  # an interruption may come right after the renaming
        raise
    return True
