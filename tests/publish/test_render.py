"""Rendering and printing a small book: two builds at once, missing pages, a PDF's own place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fcilib.publish import pdf, render
from fcilib.publish.project import BuildFailed, PipelineError, Project

PAGES = ("intro", "one", "two")
TOC = "format: jb-book\nroot: book/intro\nchapters:\n  - file: book/one\n  - file: book/two\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "chapters").mkdir()
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text(TOC, encoding="utf-8")
    config = "title: Small\nonly_build_toc_files: true\nexclude_patterns: [book/_build]\n"
    (tmp_path / "_config.yml").write_text(config, encoding="utf-8")
    for name in PAGES:
        (tmp_path / "book" / f"{name}.md").write_text(f"# {name}\n", encoding="utf-8")
    return Project(tmp_path)


def pages(project: Project) -> set[str]:
    return {page.stem for page in (project.html / "book").glob("*.html")}


def test_two_builds_at_once_leave_every_page(project: Project) -> None:
    code = (
        "import sys; from pathlib import Path; from fcilib.publish.project import Project; "
        "from fcilib.publish.render import render; print(render(Project(Path(sys.argv[1]))))"
    )
    command = [sys.executable, "-c", code, str(project.root)]
    builds = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [build.communicate(timeout=200) for build in builds]
    assert [build.returncode for build in builds] == [0, 0], said
    assert pages(project) == {*PAGES, "whole"}
    waited = [out for out, _ in said if "waiting for it to end" in out]
    assert len(waited) == 1
    assert not [path for path in project.html.parent.iterdir() if path.name in ("next", "old")]


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch):
    """Jupyter Book's place is taken by what writes the named pages, and ends with success."""

    def use(*names: str) -> None:
        def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
            folder = Path(command[command.index("--path-output") + 1]) / "_build" / "html" / "book"
            folder.mkdir(parents=True)
            for name in names:
                (folder / f"{name}.html").write_text("new", encoding="utf-8")
            return subprocess.CompletedProcess(command, 0, "", "")

        monkeypatch.setattr(render.subprocess, "run", run)
        monkeypatch.setattr(render, "write_single_page", lambda made: None)

    return use


def test_pages_that_are_missing_never_replace_the_old_ones(project: Project, builds) -> None:
    builds(*PAGES)
    render.render(project)
    builds("two")
    with pytest.raises(BuildFailed, match="2 of its 3 pages are missing") as caught:
        render.render(project)
    assert caught.value.detail == "book/intro.html\nbook/one.html"
    assert pages(project) == set(PAGES)


def test_a_build_that_was_killed_before_its_last_step_loses_no_page(
    project: Project, builds
) -> None:
    builds(*PAGES)
    render.render(project)
    project.html.rename(project.html.parent / "old")
    builds("two")
    with pytest.raises(BuildFailed):
        render.render(project)
    assert pages(project) == set(PAGES)


def test_a_pdf_replaces_nothing_but_a_pdf(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.html / "book").mkdir(parents=True)
    (project.html / "book" / "whole.html").touch()
    monkeypatch.setattr(pdf, "find_browser", lambda: "/none")
    for target in (project.root / "_toc.yml", project.root / "chapters"):
        with pytest.raises(PipelineError, match=r"is there and no PDF; name another file"):
            pdf.print_pdf(project, target)
    assert (project.root / "_toc.yml").read_text(encoding="utf-8") == TOC
