"""From `chapters/*.py` to executed notebooks to pages.

    chapters/01_x.py --jupytext--> notebook --papermill--> book/01_x.ipynb --jupyter-book--> HTML

Executing a chapter twice from the same records gives the same bytes, so that `git status` stays
clean after `make book`: whatever differs from run to run (times, paths, random cell ids) is taken
out of the notebook and goes to a side file that feeds the Status page (`fcilib.publish.status`).

Nothing here knows a chapter by name: chapters are what lies in `chapters/`.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcilib.execution.watch import Watch
from fcilib.publish import single_page, status
from fcilib.storage.files import storing, write_atomic

try:
    import jupytext
    import nbformat
    import papermill
    from jupyter_client import AsyncKernelManager
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"{missing.name} is missing: executing and rendering chapters needs the book extra, "
        "pip install 'fcilib[book]'",
        name=missing.name,
    ) from missing

CHAPTER_FILE = re.compile(r"\d\d_\w+\.py")
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
# What a reader's Jupyter needs to colour the code; the exact Python version would be noise.
LANGUAGE_INFO = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
# Variables of the caller's terminal that would change what a cell prints or draws.
TERMINAL_VARIABLES = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "CLICOLOR", "MPLBACKEND")
# Or every kernel start warns that a kernel on this machine is spoken to without encryption.
KERNEL_ARGUMENTS = ["--IPKernelApp.log_level=CRITICAL"]
# Seconds that a cell has to end after Ctrl-C.
PATIENCE = 10.0
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class PipelineError(Exception):
    """Something a reader can act on; the message is one clear line."""


class BuildFailed(PipelineError):
    """A chapter or the rendering failed; `detail` is what it said itself, over several lines."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class ChapterFailed(BuildFailed):
    """A cell raised. The message names the chapter, the cell and the error."""


class RenderFailed(BuildFailed):
    """The pages did not build without a warning."""


@dataclass(frozen=True)
class Chapter:
    """One jupytext source under `chapters/`."""

    name: str
    source: Path


@dataclass(frozen=True)
class Project:
    """Where things are, from the repository root."""

    root: Path

    @property
    def book(self) -> Path:
        """What readers see: front pages and executed chapters."""
        return self.root / "book"

    @property
    def html(self) -> Path:
        """The rendered pages."""
        return self.book / "_build" / "html"

    @property
    def scratch(self) -> Path:
        """Runs that are nobody's but the caller's; never tracked."""
        return self.root / "_runs"

    @property
    def progress(self) -> Path:
        """One file per chapter being executed right now."""
        return self.root / ".cache" / "progress"

    def chapters(self) -> list[Chapter]:
        """All chapters, in reading order."""
        folder = self.root / "chapters"
        files = folder.glob("*.py") if folder.is_dir() else ()
        found = [path for path in files if CHAPTER_FILE.fullmatch(path.name)]
        return [Chapter(path.stem, path) for path in sorted(found)]

    def chapter(self, text: str) -> Chapter:
        """Find a chapter by number (`01`), name (`01_x`) or path (`chapters/01_x.py`).

        Raises PipelineError where nothing, or more than one chapter, answers to `text`.
        """
        chapters = self.chapters()
        wanted = Path(text).stem if text.endswith((".py", ".ipynb")) else text
        found = [c for c in chapters if c.name == wanted or c.name.split("_")[0] == wanted]
        if len(found) == 1:
            return found[0]
        known = ", ".join(c.name for c in chapters) or "none yet"
        problem = "names several chapters" if found else "is not a chapter"
        raise PipelineError(f"{text!r} {problem}; there are: {known}")

    def select(self, names: Sequence[str]) -> list[Chapter]:
        """The chapters of that name, or all where none is named; reading order, each once.

        Raises PipelineError for an unknown name.
        """
        if not names:
            return self.chapters()
        wanted = {self.chapter(name) for name in names}
        return [chapter for chapter in self.chapters() if chapter in wanted]


def find_project(start: Path | None = None) -> Project:
    """Find the repository: upwards from `start` (default: here), else where fcilib lies.

    Raises PipelineError where neither has a `_toc.yml` beside a `chapters/`.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
        if (folder / "_toc.yml").is_file() and (folder / "chapters").is_dir():
            return Project(folder)
    raise PipelineError(f"no book here: {here} is in no folder with a _toc.yml and a chapters/")


# --- parameters ------------------------------------------------------------------------------


def read_chapter(chapter: Chapter) -> nbformat.NotebookNode:
    """Read a chapter as a notebook without outputs, its parameter cell kept off the page."""
    notebook = jupytext.read(chapter.source, fmt="py:percent")
    notebook.metadata["kernelspec"] = dict(KERNELSPEC)
    return notebook


def as_saved(source: str) -> str:
    """A chapter's text as Jupyter would save it, had it been opened as a notebook."""
    notebook = jupytext.reads(source, fmt="py:percent")
    stored = nbformat.reads(nbformat.writes(notebook), as_version=4)
    return jupytext.writes(stored, fmt="py:percent")


def parameters_of(chapter: Chapter) -> dict[str, Any]:
    """Names and default values in the cell tagged `parameters`.

    Raises PipelineError where a default is not a plain value (a string, a number, True, None, …).
    """
    found = papermill.inspect_notebook(read_chapter(chapter))
    values: dict[str, Any] = {}
    for name, parameter in found.items():
        try:
            values[name] = ast.literal_eval(parameter["default"])
        except (ValueError, SyntaxError) as error:
            raise PipelineError(
                f"{chapter.name}: the default of parameter {name!r} is not a plain value: "
                f"{parameter['default']}"
            ) from error
    return values


def parse_parameters(chapter: Chapter, given: Mapping[str, str]) -> dict[str, Any]:
    """Turn `name=value` texts into values of the type of the chapter's defaults, or lists of such.

    Raises PipelineError for a name the chapter does not have, or a value of another type. (Alone,
    papermill only warns of an unknown name, and runs for an hour with the defaults.)
    """
    defaults = parameters_of(chapter)
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in defaults:
            known = ", ".join(defaults) or "none"
            raise PipelineError(
                f"{chapter.name} has no parameter {name!r}; its parameters are: {known}"
            )
        values[name] = _like(chapter.name, name, defaults[name], text)
    return values


def _like(chapter: str, name: str, default: object, text: str) -> object:
    """Read `text` as the type of `default`."""
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    several = value if isinstance(value, list) else [value]
    if default is None or all(type(item) is type(default) for item in several):
        return value
    raise PipelineError(
        f"{chapter}: parameter {name!r} must be {type(default).__name__} (default {default!r}), "
        f"got {text!r}"
    )


# --- execution -------------------------------------------------------------------------------


def execute(
    project: Project,
    chapter: Chapter,
    output: Path,
    parameters: Mapping[str, Any] | None = None,
) -> bool:
    """Execute one chapter and write it to `output`; return whether that file's bytes changed.

    Without `parameters` the parameter cell runs as it stands and nothing is injected. The output
    appears in one step, and only after every cell has passed; a failed chapter leaves what was
    there before, and its half-run notebook under `_runs/failed/`. Raises ChapterFailed; at
    KeyboardInterrupt the kernel is ended first, and what its runs have written is all that is kept.
    """
    parameters = dict(parameters or {})
    with storing(project.book):
        project.book.mkdir(exist_ok=True)
    started = time.time()
    with tempfile.TemporaryDirectory(prefix="fci-") as folder:
        raw = Path(folder) / f"{chapter.name}.ipynb"
        with _kernel_environment(project, chapter) as progress, Watch(chapter.name, progress):
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
                raise _failure(project, chapter, error, _keep(project, raw)) from None
            except DeadKernelError:
                raise ChapterFailed(
                    f"chapter {chapter.name} failed: its kernel died (out of memory, or killed)"
                ) from None
    _demand_complete(chapter, notebook)
    report = status.report(chapter.name, notebook, parameters_of(chapter) | parameters, started)
    clean = normalise(notebook, project.root)
    changed = write_atomic(output, nbformat.writes(clean) + "\n")
    if output.parent.resolve() == project.book.resolve():
        status.write(project.book, report)
    return changed


class _Kernel(AsyncKernelManager):
    """Lets a cell end before the kernel does: shut down amid a cell, a kernel prints of its end."""

    async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
        # There is one when Ctrl-C has ended the waiting for it.
        cells = [t for t in asyncio.all_tasks() if t.get_coro().__name__ == "async_execute_cell"]
        if cells:
            await self.interrupt_kernel()
            ended, _ = await asyncio.wait(cells, timeout=PATIENCE)
            for cell in ended:
                cell.exception()  # asyncio prints one that nobody asks for
        await super().shutdown_kernel(now, restart)


@contextlib.contextmanager
def _kernel_environment(project: Project, chapter: Chapter) -> Iterator[Path]:
    """Set what the kernel inherits, for as long as it runs; give the progress file's path."""
    progress = project.progress / f"{chapter.name}.{os.getpid()}.json"
    with storing(progress):
        progress.parent.mkdir(parents=True, exist_ok=True)
    before = dict(os.environ)
    for name in TERMINAL_VARIABLES:
        os.environ.pop(name, None)
    os.environ |= {
        "FCI_PROGRESS": str(progress),
        "PYTHONHASHSEED": "0",  # the order in which a set prints is part of the bytes
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # or each kernel start prints a debugger warning
        "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel, not one in the home folder
    }
    try:
        yield progress
    finally:
        os.environ.clear()
        os.environ.update(before)
        progress.unlink(missing_ok=True)


def _keep(project: Project, raw: Path) -> Path:
    """Keep a failed notebook for its author to look at."""
    kept = project.scratch / "failed" / raw.name
    write_atomic(kept, raw.read_text(encoding="utf-8"))
    return kept


def _failure(
    project: Project, chapter: Chapter, error: PapermillExecutionError, kept: Path
) -> ChapterFailed:
    source = error.source.strip("\n")
    text = chapter.source.read_text(encoding="utf-8")
    line = text[: text.find(source)].count("\n") + 1 if source and source in text else None
    where = _relative(chapter.source, project.root) + (f":{line}" if line else "")
    first_line = ANSI.sub("", error.evalue).strip().split("\n")[0]
    frames = ANSI.sub("", "\n".join(error.traceback)).strip().split("\n")
    indented = "\n".join(f"    {row}" for row in [*source.split("\n"), "", *frames[-12:]])
    return ChapterFailed(
        f"chapter {chapter.name} failed in cell [{error.exec_count}] ({where}): "
        f"{error.ename}: {first_line}",
        detail=f"{indented}\n\nThe notebook up to there: {_relative(kept, project.root)}",
    )


def _demand_complete(chapter: Chapter, notebook: nbformat.NotebookNode) -> None:
    """Refuse a notebook that stopped early: papermill takes `sys.exit(0)` for success."""
    for cell in notebook.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        ended = any(output.output_type == "error" for output in cell.outputs)
        if ended or cell.execution_count is None:
            raise ChapterFailed(
                f"chapter {chapter.name} stopped before its end, in the cell that begins "
                f"{cell.source.strip().splitlines()[0]!r}"
            )


# --- what is kept of an executed notebook -------------------------------------------------------


def normalise(notebook: nbformat.NotebookNode, root: Path) -> nbformat.NotebookNode:
    """Return the notebook without anything that changes from one run or machine to the next.

    Metadata of the execution goes, cell ids are made from the cells' sources, pieces of a stream
    are joined, and the repository's own path is written as `.`.
    """
    clean = nbformat.v4.new_notebook()
    volatile = {"papermill", "jupytext", "language_info", "kernelspec", "widgets"}
    clean.metadata = nbformat.from_dict(
        {key: value for key, value in notebook.metadata.items() if key not in volatile}
        | {"kernelspec": dict(KERNELSPEC), "language_info": dict(LANGUAGE_INFO)}
    )
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell = nbformat.from_dict(cell)
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        tags = cell.metadata.get("tags", [])
        if not tags:
            cell.metadata.pop("tags", None)  # papermill leaves an empty list in every cell
        if {"parameters", "injected-parameters"} & set(tags):
            # Off the page, but there for whoever downloads the notebook.
            cell.metadata["tags"] = sorted({*tags, "remove-cell"})
        if cell.cell_type == "code":
            cell.outputs = [_portable(out, root) for out in join_streams(cell.outputs)]
        clean.cells.append(cell)
    nbformat.validate(clean)
    return clean


def join_streams(
    outputs: Sequence[nbformat.NotebookNode],
) -> list[nbformat.NotebookNode]:
    """Join runs of stream outputs: one stdout, then one stderr.

    A kernel sends its two streams by a timer, so where one piece ends and how the two interleave is
    chance; only their order around displayed outputs is the program's.
    """
    joined: list[nbformat.NotebookNode] = []
    run: dict[str, list[str]] = {}

    def flush() -> None:
        joined.extend(
            nbformat.v4.new_output("stream", name=name, text="".join(run[name]))
            for name in ("stdout", "stderr")
            if name in run
        )
        run.clear()

    for output in outputs:
        if output.output_type == "stream":
            run.setdefault(output.name, []).append(output.text)
        else:
            flush()
            joined.append(output)
    flush()
    return joined


def _portable(output: nbformat.NotebookNode, root: Path) -> nbformat.NotebookNode:
    """Replace the repository's absolute path in an output's texts."""
    if "text" in output:
        output.text = output.text.replace(str(root), ".")
    for mime, data in output.get("data", {}).items():
        if isinstance(data, str) and not mime.startswith("image/png"):
            output.data[mime] = data.replace(str(root), ".")
    return output


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


# --- the book ------------------------------------------------------------------------------------


def execute_all(
    project: Project,
    chapters: Sequence[Chapter],
    folder: Path,
    given: Mapping[str, str] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Execute chapters one after another into `folder`, with the same parameters for each.

    Every chapter's parameters are checked before the first one runs. Raises PipelineError.
    """
    parsed = {chapter: parse_parameters(chapter, given or {}) for chapter in chapters}
    for chapter in chapters:
        begin = time.monotonic()
        output = folder / f"{chapter.name}.ipynb"
        changed = execute(project, chapter, output, parsed[chapter])
        note = "" if changed else " (unchanged)"
        seconds = time.monotonic() - begin
        say(f"{chapter.name}: {seconds:.1f} s -> {_relative(output, project.root)}{note}")


def render(project: Project) -> Path:
    """Render the book as HTML, warnings as errors; return its first page.

    Nothing is executed and nothing is fetched. The pages are built aside and put in place in one
    step, so that a failed build leaves the last good pages and no page outlives its source.
    Raises RenderFailed, with the build's own messages.
    """
    build = project.html.parent
    fresh = build / "next"
    # Not kept from build to build: Sphinx repeats a page's warnings only when it reads it again.
    with storing(fresh):
        _remove(fresh)
        fresh.mkdir(parents=True)
    command = [
        *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()"),
        *("build", str(project.root), "--path-output", str(fresh)),
        *("-W", "-n", "--keep-going", "--quiet"),
    ]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True)
    if done.returncode:
        messages = ANSI.sub("", done.stderr).replace(str(project.root) + os.sep, "")
        raise RenderFailed("the book did not render", detail=messages.strip())
    made = fresh / "_build" / "html"
    single_page.write(made)
    old = build / "old"
    _remove(old)
    if project.html.exists():
        project.html.rename(old)
    made.rename(project.html)
    _remove(old)
    _remove(fresh)
    return project.html / "index.html"


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PRINTING = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # Its own clock: formulas and figures are drawn before it prints, however slow the machine.
    *("--virtual-time-budget=120000", "--no-pdf-header-footer", "--generate-pdf-document-outline"),
)


def find_browser() -> str | None:
    """Path of a Chromium or Chrome, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def print_pdf(project: Project, target: Path) -> Path:
    """Print the rendered book, whole, to `target`; needs Chromium or Chrome on the path.

    Raises PipelineError where there are no pages or no browser, RenderFailed if it prints nothing,
    StoreError where `target` can't be written.
    """
    page = project.html / "book" / single_page.NAME
    if not page.is_file():
        raise PipelineError("there are no pages to print: `fci book` makes them")
    browser = find_browser()
    if browser is None:
        raise PipelineError(f"printing needs a browser; looked for {', '.join(BROWSERS)}")
    with storing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fci-") as folder:
        made = Path(folder) / target.name
        own = (f"--user-data-dir={folder}/profile", f"--print-to-pdf={made}")
        command = [browser, *PRINTING, *own, page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not made.is_file():
            raise RenderFailed("the book did not print", detail=done.stderr.strip())
        with storing(target):
            shutil.move(made, target)
    return target


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


if __name__ == "__main__":  # what `make format` does besides ruff
    for each in find_project().chapters():
        write_atomic(each.source, as_saved(each.source.read_text(encoding="utf-8")))
