"""Executing chapters, on small chapters in a temporary project."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import nbformat
import pytest

from fcilib.publish.chapters import execute_chapter, execute_chapters
from fcilib.publish.normalise import join_streams, normalise
from fcilib.publish.parameters import parse_parameters
from fcilib.publish.project import BuildFailed, Chapter, PipelineError, Project, find_project
from fcilib.publish.status import read_reports, write_status

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
    assert texts(output)[1] == "err 0\nerr 1\nerr 2\n"
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
    values = parse_parameters(chapter, {"seeds": "1", "rate": "2", "profile": "7"})
    assert values == {"seeds": 1, "rate": 2.0, "profile": "7"}
    assert parse_parameters(chapter, {"seeds": "[7,8]"}) == {"seeds": [7, 8]}
    execute_chapter(project, chapter, output, values)
    assert texts(output)[-1] == "7 1 2.0\n"
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


@pytest.mark.parametrize("text", ["01", "01_small", "chapters/01_small.py", "book/01_small.ipynb"])
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
    for name in ("helpers", "1_x", "02_b", "01_a"):
        add(project, NOISY, name)
    assert [chapter.name for chapter in project.chapters()] == ["01_a", "02_b"]


def test_the_project_is_found_from_a_folder_inside_it(project: Project) -> None:
    assert find_project(project.root / "chapters").root == project.root.resolve()


# --- normalising ---


def test_streams_are_joined_between_displayed_outputs() -> None:
    def stream(name: str, text: str) -> nbformat.NotebookNode:
        return nbformat.v4.new_output("stream", name=name, text=text)

    shown = nbformat.v4.new_output("display_data", data={"text/plain": "figure"})
    pieces = [stream("stderr", "e1"), stream("stdout", "a"), stream("stdout", "b"), shown]
    joined = join_streams([*pieces, stream("stdout", "c")])
    assert [(o.get("name"), o.get("text")) for o in joined] == [
        ("stdout", "ab"),
        ("stderr", "e1"),
        (None, None),
        ("stdout", "c"),
    ]


def test_ids_depend_on_the_cell_alone(tmp_path: Path) -> None:
    def notebook(*sources: str) -> nbformat.NotebookNode:
        made = nbformat.v4.new_notebook()
        made.cells = [nbformat.v4.new_markdown_cell(source) for source in sources]
        return normalise(made, tmp_path)

    short, long = notebook("a", "b"), notebook("new", "a", "b")
    assert [cell.id for cell in short.cells] == [cell.id for cell in long.cells[1:]]
    assert json.dumps(notebook("a", "a")) == json.dumps(notebook("a", "a"))
