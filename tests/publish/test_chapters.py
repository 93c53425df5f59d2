"""Executing chapters, on small chapters in a temporary project."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import nbformat
import pytest

from fcilib.publish import chapters
from fcilib.publish.chapters import demand_free, execute_chapter, execute_chapters
from fcilib.publish.normalise import join_stdout, normalise
from fcilib.publish.parameters import parse_parameters
from fcilib.publish.project import BuildFailed, Chapter, PipelineError, Project, find_project
from fcilib.publish.status import read_reports, write_status
from fcilib.storage.files import StoreError

HEADER = """\
# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Other, language: python, name: other}
# ---

# %% [markdown]
# # A small chapter

# %% tags=["parameters"]
profile = "quick"
seeds = 3
rate = 0.5
records = ""
"""

NOISY = """
# %%
import os, sys, time
for i in range(3):
    print("out", i, flush=True)
    print("err", i, file=sys.stderr, flush=True)
    time.sleep(0.01)
print({"a", "b", "c", "d"}, os.getcwd())

# %% tags=["nbval-ignore-output"]
print(profile, seeds, rate)

# %% tags=["nbval-ignore-output"]
print(profile, seeds, rate)
"""

FAILING = """
# %%
fine = 1

# %%
# the cell that fails
{}["evidence"]

# %%
never = 1
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "chapters").mkdir()
    (tmp_path / "_toc.yml").touch()
    return Project(tmp_path)


def add(project: Project, body: str, name: str = "01_small") -> Chapter:
    path = project.root / "chapters" / f"{name}.py"
    path.write_text(HEADER + body, encoding="utf-8")
    return Chapter(name, path)


def texts(path: Path) -> list[str]:
    notebook = nbformat.read(path, as_version=4)
    return [
        output["text"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "text" in output
    ]


# --- execution ---


def test_executing_twice_gives_the_same_bytes(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    chapter = add(project, NOISY)
    output = project.book / "01_small.ipynb"
    assert execute_chapter(project, chapter, output)
    first, when = output.read_bytes(), output.stat().st_mtime_ns
    monkeypatch.setenv("COLUMNS", "31")
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert not execute_chapter(project, chapter, output)
    assert output.read_bytes() == first
    assert output.stat().st_mtime_ns == when, "an unchanged notebook is not written again"
    assert os.environ["COLUMNS"] == "31", "the caller's environment is as it was"
    assert "FCI_PROGRESS" not in os.environ


def test_nothing_of_this_machine_stays(project: Project) -> None:
    chapter = add(project, NOISY)
    output = project.book / "01_small.ipynb"
    execute_chapter(project, chapter, output)
    text = output.read_text(encoding="utf-8")
    assert str(project.root) not in text
    assert "papermill" not in text
    assert "jupytext" not in text
    assert texts(output)[0] == "out 0\nout 1\nout 2\n" + texts(output)[0][18:]
    assert texts(output)[0].endswith("./book\n")
    assert "err 0" not in text.replace('print(\\"err\\", i', "")
    notebook = nbformat.read(output, as_version=4)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3"
    assert list(project.progress.iterdir()) == []
    assert not list(project.book.glob(".*")), "no temporary file is left"


def test_defaults_inject_nothing_and_the_parameter_cell_is_hidden(project: Project) -> None:
    output = project.book / "01_small.ipynb"
    execute_chapter(project, add(project, NOISY), output)
    notebook = nbformat.read(output, as_version=4)
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    assert [cell.metadata.tags for cell in tagged] == [["parameters", "remove-cell"]]
    assert "seeds = 3" in tagged[0].source
    assert "injected" not in output.read_text(encoding="utf-8")


def test_parameters_reach_the_chapter(project: Project) -> None:
    chapter = add(project, NOISY)
    output = project.scratch / "01_small.ipynb"
    values = parse_parameters(chapter, {"seeds": "1", "rate": "2", "profile": "paper"})
    assert values == {"seeds": 1, "rate": 2.0, "profile": "paper"}
    assert parse_parameters(chapter, {"seeds": "[7,8]"}) == {"seeds": [7, 8]}
    execute_chapter(project, chapter, output, values)
    assert texts(output)[-1] == "paper 1 2.0\n"
    assert read_reports(project.book) == {}, "a scratch run says nothing about the book"


def test_a_failed_chapter_names_its_cell_and_leaves_the_last_good_output(project: Project) -> None:
    output = project.book / "01_small.ipynb"
    execute_chapter(project, add(project, NOISY), output)
    good = output.read_bytes()
    chapter = add(project, FAILING)
    line = chapter.source.read_text(encoding="utf-8").split("\n").index("# the cell that fails") + 1
    with pytest.raises(BuildFailed) as caught:
        execute_chapter(project, chapter, output)
    message = str(caught.value)
    assert message == (
        f"chapter 01_small failed in cell [3] (chapters/01_small.py:{line}): KeyError: 'evidence'"
    )
    assert '{}["evidence"]' in caught.value.detail
    assert "\x1b" not in caught.value.detail
    assert output.read_bytes() == good
    assert (project.scratch / "failed" / "01_small.ipynb").is_file()


def test_the_chapters_after_a_failed_one_do_not_run(project: Project) -> None:
    add(project, FAILING)
    add(project, NOISY, "02_next")
    with pytest.raises(BuildFailed, match="01_small"):
        execute_chapters(project, project.chapters(), project.book)
    assert not list(project.book.glob("*.ipynb"))


@pytest.mark.parametrize("end", ["sys.exit(0)", "sys.exit()"])
def test_a_chapter_that_exits_early_has_failed(project: Project, end: str) -> None:
    chapter = add(project, f"\n# %%\nimport sys\n{end}\n\n# %%\nnever = 1\n")
    with pytest.raises(BuildFailed, match="stopped before its end"):
        execute_chapter(project, chapter, project.book / "01_small.ipynb")
    assert not (project.book / "01_small.ipynb").exists()


def test_a_kernel_that_dies_is_a_failed_chapter(project: Project) -> None:
    chapter = add(project, "\n# %%\nimport os\nos._exit(3)\n")
    with pytest.raises(BuildFailed, match="01_small failed: its kernel died"):
        execute_chapter(project, chapter, project.book / "01_small.ipynb")


def test_the_status_page_gets_what_the_notebook_does_not_keep(project: Project) -> None:
    execute_chapter(project, add(project, NOISY), project.book / "01_small.ipynb")
    (made,) = read_reports(project.book).values()
    assert made["parameters"] == {"profile": "quick", "seeds": 3, "rate": 0.5, "records": ""}
    assert made["seconds"] > 0
    path = write_status(project.book, ["01_small", "02_never"], project.root / "records")
    page = path.read_text(encoding="utf-8")
    assert "| `01_small` |" in page
    assert "| quick | 3 |" in page
    assert "| `02_never` | not here; as committed |" in page
    assert made["machine"]["versions"]["torch"] in page
    assert "| 01 | 0 of 48 | 0 of 48 |" in page


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"started": 3}', '{"parameters": []}'])
def test_a_report_that_cannot_be_read_counts_as_none(project: Project, text: str) -> None:
    execute_chapter(project, add(project, NOISY), project.book / "01_small.ipynb")
    (path,) = (project.book / "_generated" / "status").iterdir()
    whole = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    assert read_reports(project.book) == {}
    for name in ("started", "seconds", "parameters", "machine"):
        path.write_text(json.dumps({**whole, name: None}), encoding="utf-8")
        assert read_reports(project.book) == {}
    page = write_status(project.book, ["01_small"], project.root / "records")
    assert "| `01_small` | not here" in page.read_text(encoding="utf-8")


def test_a_failure_is_told_where_its_notebook_cannot_be_kept(project: Project) -> None:
    project.scratch.touch()  # a file in the folder's place
    with pytest.raises(BuildFailed, match="failed in cell") as caught:
        execute_chapter(project, add(project, FAILING), project.book / "01_small.ipynb")
    assert "The notebook up to there is not kept: " in caught.value.detail


def test_without_a_kernel_it_says_what_to_install(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(chapters.KERNELSPEC, "name", "none")
    with pytest.raises(PipelineError, match="pip install ipykernel"):
        execute_chapter(project, add(project, NOISY), project.book / "01_small.ipynb")


# --- what is written, and where ---

MACHINE = """
# %%
import logging, os, sys, warnings
import matplotlib.pyplot as plt
warnings.warn(f"threads of process {os.getpid()}")
logging.warning("font cache in %s", os.environ["HOME"])
os.write(2, b"from below Python")
print("a result")
"""


def test_what_a_kernel_says_of_its_machine_goes_to_the_caller_and_not_into_the_chapter(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", "/proc/nowhere")
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    output = project.book / "01_small.ipynb"
    execute_chapter(project, add(project, MACHINE), output)
    assert texts(output) == ["a result\n"]
    said = capsys.readouterr().err
    assert said.startswith("01_small: its kernel wrote to stderr:\n")
    for part in (
        "default path (/proc/nowhere",
        "threads of process",
        "font cache in /proc/nowhere",
    ):
        assert part in said
        assert part not in json.dumps([c.outputs for c in nbformat.read(output, 4).cells[2:]])


def test_an_output_that_cannot_be_written_is_refused_before_anything_runs(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chapters.papermill, "execute_notebook", None)
    (project.root / "file").touch()
    with pytest.raises(StoreError, match=r"file/01.ipynb can't be written: "):
        execute_chapter(project, add(project, NOISY), project.root / "file" / "01.ipynb")


def test_a_repository_that_cannot_be_written_still_runs_a_chapter(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    chapter, other = add(project, FAILING), tmp_path_factory.mktemp("other")
    project.book.mkdir()
    (project.root / ".cache").touch()  # as good as a folder that is not ours: nothing goes below it
    with pytest.raises(BuildFailed, match="KeyError"):
        execute_chapter(project, chapter, other / "01_small.ipynb")
    assert (other / "failed" / "01_small.ipynb").is_file()
    names = {path.name for path in project.root.rglob("*")}
    assert names == {".cache", "book", "chapters", "_toc.yml", "01_small.py"}


def test_an_output_replaces_only_what_was_executed_here(project: Project) -> None:
    output = project.root / "mine.ipynb"
    execute_chapter(project, add(project, NOISY), output)
    demand_free(project, output)
    demand_free(project, project.root / "new.ipynb")
    saved = nbformat.read(output, as_version=4)
    saved.metadata.language_info.version = "3.12.1"  # as Jupyter saves it
    nbformat.write(saved, output)
    written = {"a": "[]", "b": "{}", "c": '{"cells": 3}', "d": "", "e": '{"nbformat": 4}'}
    for name, text in written.items():
        (project.root / f"{name}.ipynb").write_text(text, encoding="utf-8")
    (project.root / "folder.ipynb").mkdir()
    for name in ("mine", *written, "folder"):
        with pytest.raises(PipelineError, match="is there and was not executed by `fci`"):
            demand_free(project, project.root / f"{name}.ipynb")
    with pytest.raises(PipelineError, match=r"name a file in \.ipynb"):
        demand_free(project, project.chapters()[0].source)
    with pytest.raises(PipelineError, match="is made by `fci book`"):
        demand_free(project, project.book / "01_small.ipynb")


def test_chapters_replace_no_other_notebooks_in_a_folder_of_their_own(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chapters.papermill, "execute_notebook", None)
    add(project, NOISY)
    add(project, NOISY, "02_next")
    (project.root / "02_next.ipynb").write_text("mine", encoding="utf-8")
    with pytest.raises(PipelineError, match=r"02_next.ipynb: is there"):
        execute_chapters(project, project.chapters(), project.root)


# --- names and parameters ---


def test_a_mistyped_parameter_is_refused_before_anything_runs(project: Project) -> None:
    add(project, NOISY)
    with pytest.raises(PipelineError) as caught:
        execute_chapters(project, project.chapters(), project.book, {"profil": "smoke"})
    assert str(caught.value) == (
        "01_small has no parameter 'profil'; its parameters are: profile, seeds, rate, records"
    )
    assert not project.book.exists()


@pytest.mark.parametrize(
    ("name", "text"), [("seeds", "x"), ("seeds", "1.5"), ("seeds", "[7,True]"), ("rate", "fast")]
)
def test_a_value_of_another_type_is_refused(project: Project, name: str, text: str) -> None:
    said = rf"parameter '{name}' must be \w+ .*'{re.escape(text)}'"
    with pytest.raises(PipelineError, match=said):
        parse_parameters(add(project, NOISY), {name: text})


@pytest.mark.parametrize(
    "text", ["1", "01", "001", "01_small", "chapters/01_small.py", "book/01_small.ipynb"]
)
def test_a_chapter_answers_to(project: Project, text: str) -> None:
    add(project, NOISY)
    add(project, NOISY, "02_next")
    assert project.chapter(text).name == "01_small"


def test_an_unknown_chapter_is_refused_with_the_known_ones(project: Project) -> None:
    add(project, NOISY)
    with pytest.raises(PipelineError, match="'03' is not a chapter; there are: 01_small"):
        project.chapter("03")


def test_a_number_two_chapters_share_is_refused(project: Project) -> None:
    add(project, NOISY, "01_a")
    add(project, NOISY, "01_b")
    with pytest.raises(PipelineError, match="'01' names several chapters"):
        project.chapter("01")


def test_only_numbered_files_are_chapters(project: Project) -> None:
    for name in ("helpers", "_01_x", "02_b", "01_a"):
        add(project, NOISY, name)
    assert [chapter.name for chapter in project.chapters()] == ["01_a", "02_b"]


@pytest.mark.parametrize(
    "name", ["1_x", "01_my chapter", "01_größe", "01_gro\u0308ße", "01-a", "01"]
)
def test_a_numbered_file_that_can_be_no_chapter_is_refused(project: Project, name: str) -> None:
    add(project, NOISY, name)
    with pytest.raises(
        PipelineError, match=rf"chapters/{name}\.py: a chapter's name is two digits"
    ):
        project.chapters()


def test_so_is_one_with_an_ending_in_capitals(project: Project) -> None:
    (project.root / "chapters" / "06_a.PY").write_text("")
    with pytest.raises(PipelineError, match=r"chapters/06_a\.PY: a chapter's name is"):
        project.chapters()


def test_a_file_elsewhere_that_has_a_chapters_name_is_none(project: Project) -> None:
    source = add(project, NOISY).source
    other = project.root / "mine" / source.name
    other.parent.mkdir()
    other.write_bytes(source.read_bytes())
    with pytest.raises(PipelineError, match=r"mine/01_small\.py' is not a chapter"):
        project.chapter(str(other))
    assert project.chapter(str(source)).source == source


def test_a_byte_order_mark_is_no_part_of_a_chapter(project: Project) -> None:
    chapter = add(project, NOISY)
    execute_chapter(project, chapter, project.book / "plain.ipynb")
    chapter.source.write_bytes(b"\xef\xbb\xbf" + chapter.source.read_bytes())
    execute_chapter(project, chapter, project.book / "marked.ipynb")
    plain, marked = ((project.book / f"{n}.ipynb").read_bytes() for n in ("plain", "marked"))
    assert plain == marked


def test_a_chapter_in_another_encoding_is_refused(project: Project) -> None:
    chapter = add(project, NOISY)
    chapter.source.write_bytes(chapter.source.read_bytes() + "# é\n".encode("latin-1"))
    with pytest.raises(PipelineError, match=r"01_small.py is not UTF-8; save it in that encoding"):
        execute_chapter(project, chapter, project.book / "01_small.ipynb")


def test_the_project_is_found_from_a_folder_inside_it(project: Project) -> None:
    assert find_project(project.root / "chapters").root == project.root.resolve()


# --- normalising ---


def test_stdout_is_joined_between_displayed_outputs_and_stderr_left_out() -> None:
    def stream(name: str, text: str) -> nbformat.NotebookNode:
        return nbformat.v4.new_output("stream", name=name, text=text)

    shown = nbformat.v4.new_output("display_data", data={"text/plain": "figure"})
    pieces = [stream("stderr", "e1"), stream("stdout", "a"), stream("stdout", "b"), shown]
    joined = join_stdout([*pieces, stream("stdout", "c")])
    assert [(o.get("name"), o.get("text")) for o in joined] == [
        ("stdout", "ab"),
        (None, None),
        ("stdout", "c"),
    ]


def test_a_longer_path_that_begins_like_the_repositorys_is_kept() -> None:
    made = nbformat.v4.new_notebook()
    text = "/work/book/a /work/book-2 /work/booking /work/book"
    outputs = [nbformat.v4.new_output("stream", text=text)]
    made.cells = [nbformat.v4.new_code_cell("", outputs=outputs)]
    (cell,) = normalise(made, Path("/work/book")).cells
    assert cell.outputs[0].text == "./a /work/book-2 /work/booking ."


def test_ids_depend_on_the_cell_alone(tmp_path: Path) -> None:
    def notebook(*sources: str) -> nbformat.NotebookNode:
        made = nbformat.v4.new_notebook()
        made.cells = [nbformat.v4.new_markdown_cell(source) for source in sources]
        return normalise(made, tmp_path)

    short, long = notebook("a", "b"), notebook("new", "a", "b")
    assert [cell.id for cell in short.cells] == [cell.id for cell in long.cells[1:]]
    assert json.dumps(notebook("a", "a")) == json.dumps(notebook("a", "a"))
