"""Whether a script may start worker processes: each of them runs the script's top level again."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path


def demand_guard() -> None:
    """Raise RuntimeError where a script calls from its top level, outside of the usual guard.

    So does a script that is no file, as one that Python reads from its standard input.

    A worker process imports the script that started it. Without `if __name__ == "__main__":` it
    would come to the same call, and try to start workers of its own. Notebooks, `python -c` and
    modules that are called from a guarded script have nothing to guard.
    """
    path = getattr(sys.modules["__main__"], "__file__", None)
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if path is None or (spec is not None and spec.name.endswith("__main__")):
        return
    lines = [
        frame.lineno
        for frame in inspect.stack(context=0)
        if frame.function == "<module>" and frame.frame.f_globals.get("__name__") == "__main__"
    ]
    try:
        tree = ast.parse(Path(path).read_bytes())
    except OSError:
        raise RuntimeError(
            f"executor: {path} is no file, and processes that start would have to run it again; "
            f'save the script, or use executor="inline"'
        ) from None
    except (ValueError, SyntaxError):  # a program that is no source text
        return
    guards = [node for node in tree.body if isinstance(node, ast.If) and _is_guard(node.test)]
    if any(not _inside(line, guards) for line in lines):
        raise RuntimeError(
            f"executor: {path} starts processes that run it again; put its calls under "
            f'`if __name__ == "__main__":`, or use executor="inline"'
        )


def _is_guard(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))


def _inside(line: int, guards: list[ast.If]) -> bool:
    return any(guard.lineno <= line <= (guard.end_lineno or line) for guard in guards)
