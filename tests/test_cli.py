"""What `fci` says, and with which exit status; the work itself is tested in test_chapters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fcilib.cli import app
from fcilib.publish import render
from fcilib.publish.project import BuildFailed, Project
from fcilib.publish.status import seconds_text
from fcilib.training.records import Records

ROOT = Path(__file__).resolve().parents[1]

CHAPTER = """\
# %% tags=["parameters"]
profile = "quick"
seeds = 3
executor = "process"
records = ""

# %%
print(profile, seeds, executor, records)
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "chapters").mkdir()
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "chapters" / "01_small.py").write_text(CHAPTER, encoding="utf-8")
    (tmp_path / "chapters" / "02_other.py").write_text(CHAPTER, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fci(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def printed(notebook: Path) -> str:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "".join(cells[-1]["outputs"][0]["text"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "03"], "fci: '03' is not a chapter; there are: 01_small, 02_other"),
        (["book", "03"], "fci: '03' is not a chapter; there are: 01_small, 02_other"),
        (
            ["book", "-p", "profil=smoke"],
            "fci: 01_small has no parameter 'profil'; "
            "its parameters are: profile, seeds, executor, records",
        ),
        (
            ["run", "01", "--device", "gpu"],
            "fci: device: 'gpu' is none of auto, cpu, cuda, cuda:N",
        ),
        (
            ["book", "--device", "cuda:99"],
            "fci: device: torch sees no GPU here, so 'cuda:99' can't be used",
        ),
        (["run", "01", "-p", "seeds"], "fci: -p takes NAME=VALUE, got 'seeds'"),
        (
            ["run", "01", "-p", "seeds=many"],
            "fci: 01_small: parameter 'seeds' must be int (default 3), or a list such as [7], "
            "got 'many'",
        ),
        (
            ["run", "01", "--profile", "smokey"],
            "fci: 01_small: profile: 'smokey' is none of smoke, quick, paper",
        ),
        (
            ["book", "-p", "profile=smokey"],
            "fci: 01_small: profile: 'smokey' is none of smoke, quick, paper",
        ),
        (["run", "01", "-p", "seeds=-2"], "fci: 01_small: parameter seeds: -2 is less than one"),
        (
            ["run", "01", "-p", "seeds=[1, 1]"],
            "fci: 01_small: parameter seeds: [1, 1] names one more than once",
        ),
        (
            ["run", "01", "-p", f"seeds=[{2**63}]"],
            f"fci: 01_small: parameter seeds: [{2**63}] is no list of whole numbers "
            "from 0 to 2^63 - 1",
        ),
        (
            ["run", "01", "--seeds", "2", "-p", "seeds=[7]"],
            "fci: the parameter 'seeds' is set 2 times; set it once",
        ),
        (
            ["book", "--records", "r", "-p", "records=q"],
            "fci: the parameter 'records' is set 2 times; set it once",
        ),
        (["run", "01", "-p", " =3"], "fci: -p takes NAME=VALUE, got ' =3'"),
        (
            ["book", "01", "--no-execute"],
            "fci: --no-execute takes no chapters, --out, --records, --device or -p",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(root: Path, arguments: list[str], said: str) -> None:
    result = fci(*arguments)
    assert result.exit_code == 2
    assert result.stderr == said + "\n"
    assert sorted(path.name for path in root.iterdir()) == ["_toc.yml", "chapters"]


def test_run_leaves_the_book_alone(root: Path) -> None:
    options = ["--profile", "smoke", "--seeds", "1", "--executor", "ray", "--records", "r"]
    result = fci("run", "1", *options)
    assert result.exit_code == 0, result.output
    assert printed(root / "_runs" / "01_small.ipynb") == "smoke 1 ray r\n"
    assert list((root / "book").rglob("*.*")) == []


def test_records_of_a_parameter_are_found_from_here_as_those_of_the_option(root: Path) -> None:
    result = fci("run", "1", "-p", "records=r")
    assert result.exit_code == 0, result.output
    assert printed(root / "_runs" / "01_small.ipynb") == "quick 3 process r\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "1", "--executor", "proces"], "01_small: executor: 'proces' is none of inline, "),
        (["run", "1", "--output", "chapters/01_small.py"], "name a file in .ipynb\n"),
        (["run", "1", "--output", "book/01_small.ipynb"], "is made by `fci book`; name a file "),
        (["run", "1", "--records", "_toc.yml"], "is a file; records are kept in a folder\n"),
        (["claims", "--records", "typo"], "typo does not exist: it would hold the runs to "),
        (["claims", "--profile", "smokey"], "profile: 'smokey' is none of smoke, quick, paper\n"),
        (["bench", "scan", "--seconds", "inf"], "fci: seconds: "),
        (["bench", "scan", "--megabytes", "0"], "fci: megabytes: "),
        (["bench", "scan", "--lengths", ""], "lengths: '' is not a list of positive integers"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_the_door(
    root: Path, arguments: list[str], said: str
) -> None:
    result = fci(*arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert (root / "chapters" / "01_small.py").read_text(encoding="utf-8") == CHAPTER
    assert sorted(path.name for path in root.iterdir()) == ["_toc.yml", "chapters"]


def test_run_writes_where_it_is_told(root: Path) -> None:
    result = fci("run", "chapters/01_small.py", "--output", "kept/mine.ipynb")
    assert result.exit_code == 0, result.output
    assert printed(root / "kept" / "mine.ipynb") == "quick 3 process \n"


def test_book_executes_the_named_chapter_and_status_tells(root: Path) -> None:
    result = fci("book", "02", "--no-render")
    assert result.exit_code == 0, result.output
    assert [path.name for path in (root / "book").glob("*.ipynb")] == ["02_other.ipynb"]
    (root / "records" / "smoke").mkdir(parents=True)
    (root / "records" / "smoke" / "a.json").touch()
    progress = root / ".cache" / "progress"
    progress.mkdir(parents=True, exist_ok=True)
    running = [{"name": "flow", "epoch": 1, "epochs": 4, "precision": 0.25}]
    state = {"done": 1, "total": 2, "running": running}
    (progress / "01_small.7.json").write_text(json.dumps(state), encoding="utf-8")
    shown = fci("status").output
    assert "01_small  never" in shown
    assert "records: 1 smoke" in shown
    assert "running: 01_small: 1/2 runs; flow: epoch 1/4, precision 25%" in shown


def test_training_all_again_begins_with_what_it_took(root: Path) -> None:
    """One seed of it, where the folder holds nothing yet."""
    known, seconds = Records(root / "records" / "quick"), 0.0
    for path in sorted((ROOT / "records" / "quick").glob("*.json"))[:20]:
        record = Records(path.parent).read(path)
        known.add(record)
        seconds += record.seconds if record.experiment.seed == 0 else 0
    assert seconds > 0
    said = fci("book", "02", "--no-render", "--records", "fresh").output
    assert f"holds no runs yet; one seed of all those in {known.folder} took " in said
    assert f"{seconds_text(seconds)} of one core" in said
    assert "one core" not in fci("book", "02", "--no-render", "--records", "records").output
    assert "one core" not in fci("book", "02", "--no-render").output
    smoke = ("--records", "fresh", "-p", "profile=smoke")
    assert "one core" not in fci("book", "02", "--no-render", *smoke).output


def test_a_failed_chapter_is_status_1(root: Path) -> None:
    (root / "chapters" / "01_small.py").write_text(CHAPTER + "\n# %%\n1 / 0\n", encoding="utf-8")
    result = fci("book", "--no-render")
    assert result.exit_code == 1
    first = result.stderr.splitlines()[0]
    assert first.startswith("fci: chapter 01_small failed in cell [3] (chapters/01_small.py:11): ")
    assert first.endswith("ZeroDivisionError: division by zero")
    assert "Traceback (most recent call last):\n  File" not in result.output


def test_a_failed_rendering_is_status_1(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(project: Project) -> Path:
        raise BuildFailed("the book did not render", "book/intro.md:3: WARNING: no")

    monkeypatch.setattr(render, "render", fail)
    result = fci("book", "--no-execute")
    assert result.exit_code == 1
    assert result.stderr == "fci: the book did not render\n\nbook/intro.md:3: WARNING: no\n"


def test_ctrl_c_while_it_starts_is_one_line_and_status_130(root: Path) -> None:
    (root / "pandas.py").write_text("raise KeyboardInterrupt", encoding="utf-8")
    code = "import sys; sys.path.insert(0, '.'); from fcilib.cli import app; app(['status'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "fci: interrupted\n")


def test_without_the_book_extra_it_says_what_to_install(root: Path) -> None:
    code = (
        "import sys; sys.modules['papermill'] = None; "
        "from fcilib.cli import app; app(['book', '--no-render'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'fcilib[book]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_bench_scan_prints_times_and_memory_as_multiples_of_the_unbound_loop() -> None:
    found = fci("bench", "scan", "--lengths", "8", "--rounds", "1", "--threads", "1", "--json")
    assert found.exit_code == 0
    cost = json.loads(found.stdout)
    assert {"arithmetic limit", "numba", "torch", "reference (unbind)", "slicing loop"} <= set(
        cost["curves"]
    )
    assert all(curve["length"] == [8] for curve in cost["curves"].values())


def test_bench_prints_a_table() -> None:
    found = fci("bench", "block", "--lengths", "4,8", "--rounds", "1")
    assert found.exit_code == 0
    for part in ("L = 4", "L = 8", "fcilib", "× time", "peak MB", "times are of the fastest round"):
        assert part in found.stdout


@pytest.mark.parametrize(
    ("what", "named"), [("layers", "bidirectional Mamba-2"), ("routers", "product keys")]
)
def test_a_bench_without_a_backward_pass_shows_none(what: str, named: str) -> None:
    found = fci("bench", what, "--lengths", "128", "--rounds", "1", "--threads", "1")
    assert found.exit_code == 0
    for part in ("L = 128", named, "forward ms", "× time"):
        assert part in found.stdout
    assert "backward" not in found.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["router"], "fci: bench: 'router' is none of scan, block, layers, routers, start"),
        (["scan", "--lengths", "8,x"], "fci: lengths: '8,x' is not a list of positive integers"),
        (["scan", "--lengths", "0"], "fci: lengths: '0' is not a list of positive integers"),
    ],
)
def test_a_bench_that_is_not_there_is_one_line(arguments: list[str], said: str) -> None:
    found = fci("bench", *arguments)
    assert found.exit_code == 2
    assert said in found.stderr


def test_ctrl_c_while_a_bench_measures_is_one_line_and_status_130(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for name, what in (("measure_cost", "scan"), ("measure_start", "start")):
        monkeypatch.setattr(f"fcilib.cli.{name}", interrupted)
        found = fci("bench", what)
        assert (found.exit_code, found.stdout, found.stderr) == (130, "", "fci: interrupted\n")


def test_bench_start_counts_the_first_call() -> None:
    found = fci("bench", "start", "--json")
    assert found.exit_code == 0
    waits = json.loads(found.stdout)
    assert waits.keys() == {"cold", "warm"}
    assert waits["cold"]["first"] > waits["cold"]["second"] > 0


def test_printing_needs_pages_and_a_browser(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fci("pdf")
    assert (found.exit_code, found.stderr) == (
        2,
        "fci: there are no pages to print: `fci book` makes them\n",
    )
    page = root / "book" / "_build" / "html" / "book" / "whole.html"
    page.parent.mkdir(parents=True)
    page.touch()
    monkeypatch.setenv("PATH", "")
    found = fci("pdf")
    assert found.exit_code == 2
    assert found.stderr.startswith("fci: printing needs a browser; looked for chromium, ")


WITHOUT_EXTRAS = """\
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, NotInstalled())
sys.argv[0] = "fci"
from fcilib.cli import app
app()
"""


@pytest.mark.parametrize(
    ("command", "status"),
    [("sweep --profile smoke --list", 0), ("claims", 0), ("book --no-render", 2)],
)
def test_without_extras_only_what_needs_them_is_refused(command: str, status: int) -> None:
    extras = "sphinx sphinx_external_toc bs4 jupytext jupyter_client nbclient nbformat papermill"
    program = WITHOUT_EXTRAS.format(names=set(extras.split()))
    done = subprocess.run(
        [sys.executable, "-c", program, *command.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    assert ("needs the book extra" in done.stderr) == (status == 2)
