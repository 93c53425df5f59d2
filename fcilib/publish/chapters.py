"""Executing chapters.

    chapters/01_x.py --jupytext--> notebook --papermill--> book/01_x.ipynb

Executing a chapter twice from the same records gives the same bytes, so that `git status` stays
clean after `make book`. What differs from run to run goes to a side file, which feeds the Status
page (`fcilib.publish.status`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from fcilib.execution.watch import Watch
from fcilib.publish.normalise import is_ours, normalise, stderr_of
from fcilib.publish.parameters import parameters_of, parse_parameters
from fcilib.publish.project import BuildFailed, Chapter, PipelineError, Project, relative
from fcilib.publish.render import ANSI
from fcilib.publish.source import KERNELSPEC, read_chapter
from fcilib.publish.status import write_report
from fcilib.storage.files import storing, write_atomic

# Variables of the caller's terminal that would change what a cell prints or draws.
TERMINAL_VARIABLES = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "CLICOLOR", "MPLBACKEND")
# Or every kernel start warns that a kernel on this machine is spoken to without encryption.
KERNEL_ARGUMENTS = ["--IPKernelApp.log_level=CRITICAL"]
# Seconds that a cell has to end after Ctrl-C.
PATIENCE = 10.0


def execute_chapter(
    project: Project,
    chapter: Chapter,
    output: Path,
    parameters: Mapping[str, Any] | None = None,
) -> bool:
    """Execute one chapter and write it to `output`; return whether that file's bytes changed.

    Without `parameters` the parameter cell runs as it stands and nothing is injected. The output
    appears in one step, and only after every cell has passed; a failed chapter leaves what was
    there before, and its half-run notebook under `failed/`, in `_runs/` or beside an output
    outside the repository. What the kernel wrote to stderr goes to the caller's.

    Raises BuildFailed, and StoreError where the output can't be written, before anything runs. At
    KeyboardInterrupt the kernel is ended first, and what its runs have written is all that is kept.
    """
    parameters = dict(parameters or {})
    with storing(output):
        project.book.mkdir(exist_ok=True)
        _demand_writable(output.parent)
    started = time.time()
    with tempfile.TemporaryDirectory(prefix="fci-") as folder:
        raw = Path(folder) / f"{chapter.name}.ipynb"
        environment = _kernel_environment(project, chapter, Path(folder))
        with environment as progress, Watch(chapter.name, progress):
            try:
                notebook = papermill.execute_notebook(
                    read_chapter(chapter),
                    raw,
                    parameters=parameters,
                    cwd=project.book,
                    kernel_name=KERNELSPEC["name"],
                    progress_bar=False,
                    request_save_on_cell_execute=False,
                    extra_arguments=KERNEL_ARGUMENTS,
                    kernel_manager_class=_Kernel,
                )
            except PapermillExecutionError as error:
                inside = output.is_relative_to(project.root)
                kept = (project.scratch if inside else output.parent) / "failed" / raw.name
                try:
                    write_atomic(kept, raw.read_bytes())
                    there = f"The notebook up to there: {relative(kept, project.root)}"
                except OSError as fault:
                    there = f"The notebook up to there is not kept: {fault}"
                raise _failure(project, chapter, error, there) from None
            except NoSuchKernel:
                raise PipelineError(
                    "executing chapters needs a kernel of this environment: pip install ipykernel"
                ) from None
            except DeadKernelError:
                raise BuildFailed(
                    f"chapter {chapter.name} failed: its kernel died (out of memory, or killed)"
                ) from None
    _demand_complete(chapter, notebook)
    if warnings := stderr_of(notebook).strip():
        print(f"{chapter.name}: its kernel wrote to stderr:\n{warnings}", file=sys.stderr)
    clean = normalise(notebook, project.root)
    changed = write_atomic(output, nbformat.writes(clean) + "\n")
    if output.parent.resolve() == project.book.resolve():
        values = parameters_of(chapter) | parameters
        write_report(project.book, chapter.name, notebook, values, started)
    return changed


def demand_free(project: Project, output: Path) -> None:
    """Raise PipelineError where an executed chapter, away from the book, would replace a file.

    A notebook that was executed here, and not saved by anything else since, may be replaced.
    """
    if output.suffix != ".ipynb":
        raise PipelineError(f"{output}: an executed chapter is a notebook; name a file in .ipynb")
    if output.is_relative_to(project.book):
        raise PipelineError(f"{output}: is made by `fci book`; name a file outside of book/")
    if output.exists() and not is_ours(output):
        raise PipelineError(
            f"{output}: is there and was not executed by `fci`; move it, or write elsewhere"
        )


def execute_chapters(
    project: Project,
    chapters: Sequence[Chapter],
    folder: Path,
    texts: Mapping[str, str] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Execute chapters one after another into `folder`, with the same parameters for each.

    Every chapter's parameters are checked before the first one runs. Raises PipelineError.
    """
    parsed = {chapter: parse_parameters(chapter, texts or {}) for chapter in chapters}
    outputs = {chapter: folder / f"{chapter.name}.ipynb" for chapter in chapters}
    if folder != project.book:
        for output in outputs.values():
            demand_free(project, output)
    for chapter, output in outputs.items():
        begin = time.monotonic()
        changed = execute_chapter(project, chapter, output, parsed[chapter])
        note = "" if changed else " (unchanged)"
        seconds = time.monotonic() - begin
        say(f"{chapter.name}: {seconds:.1f} s -> {relative(output, project.root)}{note}")


class _Kernel(AsyncKernelManager):
    """Lets a cell end before the kernel does: shut down amid a cell, a kernel prints of its end."""

    async def shutdown_kernel(  # type: ignore[override]
        self, now: bool = False, restart: bool = False
    ) -> None:
        # There is one when Ctrl-C has ended the waiting for it.
        tasks = asyncio.all_tasks()
        cells = [t for t in tasks if getattr(t.get_coro(), "__name__", "") == "async_execute_cell"]
        if cells:
            await self.interrupt_kernel()
            ended, _ = await asyncio.wait(cells, timeout=PATIENCE)
            for cell in ended:
                cell.exception()  # asyncio prints one that nobody asks for
        await super().shutdown_kernel(now, restart)


@contextlib.contextmanager
def _kernel_environment(project: Project, chapter: Chapter, scratch: Path) -> Iterator[Path]:
    """Set what the kernel inherits, for as long as it runs; give the progress file's path.

    That file lies in `scratch` where the repository can't be written.
    """
    progress = project.progress / f"{chapter.name}.{os.getpid()}.json"
    try:
        _demand_writable(progress.parent)
    except OSError:
        progress = scratch / progress.name
    before = dict(os.environ)
    for name in TERMINAL_VARIABLES:
        os.environ.pop(name, None)
    os.environ |= {
        "FCI_PROGRESS": str(progress),
        "PYTHONHASHSEED": "0",  # the order in which a set prints is part of the bytes
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # or each kernel start prints a debugger warning
        "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel, not one in the home folder
        "IPYTHONDIR": str(scratch / "ipython"),  # nor what its owner starts every session with
    }
    try:
        yield progress
    finally:
        os.environ.clear()
        os.environ.update(before)
        progress.unlink(missing_ok=True)


def _demand_writable(folder: Path) -> None:
    """Raise OSError where no file can be made in a folder; it is made first where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def _failure(
    project: Project, chapter: Chapter, error: PapermillExecutionError, there: str
) -> BuildFailed:
    source = error.source.strip("\n")
    text = chapter.source.read_text(encoding="utf-8")
    line = text[: text.find(source)].count("\n") + 1 if source and source in text else None
    where = relative(chapter.source, project.root) + (f":{line}" if line else "")
    first_line = ANSI.sub("", error.evalue).strip().split("\n")[0]
    frames = ANSI.sub("", "\n".join(error.traceback)).strip().split("\n")
    indented = "\n".join(f"    {row}" for row in [*source.split("\n"), "", *frames[-12:]])
    return BuildFailed(
        f"chapter {chapter.name} failed in cell [{error.exec_count}] ({where}): "
        f"{error.ename}: {first_line}",
        detail=f"{indented}\n\n{there}",
    )


def _demand_complete(chapter: Chapter, notebook: nbformat.NotebookNode) -> None:
    """Refuse a notebook that stopped early: papermill takes `sys.exit(0)` for success."""
    for cell in notebook.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        ended = any(output.output_type == "error" for output in cell.outputs)
        if ended or cell.execution_count is None:
            raise BuildFailed(
                f"chapter {chapter.name} stopped before its end, in the cell that begins "
                f"{cell.source.strip().splitlines()[0]!r}"
            )
