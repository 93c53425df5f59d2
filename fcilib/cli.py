"""`fci`: run chapters, make the book, see what there is.

A thin layer over the wings below it. What the caller got wrong is one line and exit status 2; a
chapter or a page that failed is its own message and exit status 1; Ctrl-C is one line and 130.
"""

from __future__ import annotations

import contextlib
import json
import math
import secrets
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

try:  # these take seconds, in which Ctrl-C is one line as well
    import typer
    from rich.console import Console
    from rich.table import Column, Table

    from fcilib.cost import Cost, measure_cost, presets, report
    from fcilib.cost.start import measure_start
    from fcilib.cost.workloads import Workload
    from fcilib.execution.executors import parse as parse_executor
    from fcilib.execution.watch import plain_line, read_progress
    from fcilib.ledger import audit as audits
    from fcilib.ledger import benches, ledger
    from fcilib.ledger.estimates import Estimates
    from fcilib.ledger.sweep import Swept, missing, sweep
    from fcilib.ledger.wanted import Wanted, coverage
    from fcilib.present import ledger_page
    from fcilib.publish.pdf import print_pdf
    from fcilib.publish.project import BuildFailed, PipelineError, find_project, relative
    from fcilib.publish.status import read_reports, report_cells, seconds_text
    from fcilib.representations.base import RepresentationSpec
    from fcilib.routers.router import RouterSpec
    from fcilib.specs.kinds import kinds as kinds_of
    from fcilib.storage.files import StoreError
    from fcilib.storage.places import checkout, default_records, records_folder
    from fcilib.study.profiles import PROFILES
    from fcilib.study.profiles import profile as sizes_of
    from fcilib.system.device import check_device, device_here
    from fcilib.tasks import Task
    from fcilib.training.records import Records
except KeyboardInterrupt:
    print("fci: interrupted", file=sys.stderr)
    sys.exit(130)

app = typer.Typer(
    help="The executable edition of 'When Does Content-Based Routing Work?'.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

WIDEST = 110
"""Columns of the widest table."""

Names = Annotated[list[str] | None, typer.Argument(help="e.g. 01; all chapters if left out")]
Folder = Annotated[
    Path | None, typer.Option(help="Take and keep run records here, not in the repository's.")
]
Pairs = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="Set a chapter's parameter."),
]


Device = Annotated[
    str | None, typer.Option(help="What trains models: auto, cpu, cuda or cuda:N; default cpu.")
]


@contextlib.contextmanager
def _one_line_errors(*mistakes: type[Exception], goes_on: bool = False) -> Iterator[None]:
    """Turn what a reader can act on into a line on stderr and an exit status; a warning, too.

    `mistakes`: errors of the library that mean a mistake of the caller's. `goes_on`: the same
    command, given after Ctrl-C, goes on from there.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: typer.echo(f"fci: {message}", err=True)
            yield
    except (BuildFailed, StoreError) as error:
        typer.echo(f"fci: {error}", err=True)
        if detail := getattr(error, "detail", ""):
            typer.echo(f"\n{detail}", err=True)
        raise typer.Exit(1) from None
    except (PipelineError, *mistakes) as error:  # type: ignore[misc]
        typer.echo(f"fci: {error}", err=True)
        raise typer.Exit(2) from None
    except ModuleNotFoundError as error:
        typer.echo(
            f"fci: {error.name} is missing: executing and rendering chapters needs the book extra, "
            "pip install 'fcilib[book]'",
            err=True,
        )
        raise typer.Exit(2) from None
    except BrokenPipeError:  # who reads what is printed has read enough
        raise
    except OSError as error:
        typer.echo(f"fci: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        kept = (
            "; finished runs are kept, and the others up to their last finished epoch: "
            "the same command goes on from there"
        )
        typer.echo(f"fci: interrupted{kept if goes_on else ''}", err=True)
        raise typer.Exit(130) from None


def _parameters(pairs: list[str] | None, **options: object) -> dict[str, str]:
    """The texts of a chapter's parameters: those of -p, and those that have an option."""
    texts = [(name, str(value)) for name, value in options.items() if value is not None]
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise PipelineError(f"-p takes NAME=VALUE, got {pair!r}")
        texts.append((name.strip(), value))
    for name, count in Counter(name for name, _ in texts).items():
        if count > 1:
            raise PipelineError(f"the parameter {name!r} is set {count} times; set it once")
    values = dict(texts)
    if values.get("records"):
        folder = Path(values["records"]).expanduser().resolve()
        if folder.exists() and not folder.is_dir():
            raise PipelineError(f"{folder}: is a file; records are kept in a folder")
        root = checkout()
        values["records"] = relative(folder, root) if root else str(folder)
    return values


def _usable(device: str, executor: str) -> str:
    """The device that is meant; raises ValueError where there is no such, here or on any node."""
    if executor.startswith("ray"):
        return check_device(device)
    return device_here(device)


@app.command()
def book(
    chapters: Names = None,
    execute: Annotated[bool, typer.Option(help="Execute the chapters.")] = True,
    render: Annotated[bool, typer.Option(help="Render the pages.")] = True,
    records: Folder = None,
    out: Annotated[
        Path | None, typer.Option(help="Write executed chapters here; nothing is rendered then.")
    ] = None,
    device: Device = None,
    parameter: Pairs = None,
) -> None:
    """Execute chapters into book/ and render book/_build/html/."""
    with _one_line_errors(ValueError, goes_on=True):
        from fcilib.publish.chapters import execute_chapters
        from fcilib.publish.render import render as render_pages

        project = find_project()
        values = _parameters(parameter, records=records, device=device)
        if device is not None:
            values["device"] = _usable(device, values.get("executor", ""))
        if not execute and (chapters or values or out):
            raise PipelineError("--no-execute takes no chapters, --out, --records, --device or -p")
        if execute:
            folder = out.resolve() if out else project.book
            selected = project.select(chapters or [])
            if "records" in values and values.get("profile", "quick") == "quick":
                known, fresh = (
                    Records(root / "quick")
                    for root in (project.root / "records", records_folder(values["records"]))
                )
                _say_cost(known, fresh)
            execute_chapters(project, selected, folder, values, say=typer.echo)
        if render and out is None:
            typer.echo(render_pages(project))


def _say_cost(known: Records, fresh: Records) -> None:
    """How long the runs of the book took, where `fresh` has none of them yet."""
    if len(fresh) or not len(known):
        return
    seconds = sum(record.seconds for record in known if record.experiment.seed == 0)
    typer.echo(
        f"{fresh.folder} holds no runs yet; one seed of all those in {known.folder} took "
        f"{seconds_text(seconds)} of one core"
    )


@app.command()
def pdf(
    out: Annotated[
        Path | None, typer.Option(help="The file; default book/_build/fcilib.pdf.")
    ] = None,
) -> None:
    """Print the rendered book to one PDF; needs Chromium or Chrome."""
    with _one_line_errors():
        project = find_project()
        target = out.resolve() if out else project.html.parent / "fcilib.pdf"
        typer.echo(print_pdf(project, target))


@app.command()
def run(
    chapter: Annotated[str, typer.Argument(help="a chapter's number, name or path, e.g. 01")],
    profile: Annotated[str | None, typer.Option(help="smoke, quick or paper.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many; -p 'seeds=[7]' chooses.")
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="Where runs happen: inline, process, ray or ray:ADDRESS.")
    ] = None,
    device: Device = None,
    records: Folder = None,
    output: Annotated[
        Path | None, typer.Option(help="The executed notebook; default _runs/CHAPTER.ipynb.")
    ] = None,
    parameter: Pairs = None,
) -> None:
    """Execute one chapter as you like it, away from the book."""
    with _one_line_errors(ValueError, goes_on=True):
        from fcilib.publish.chapters import demand_free, execute_chapter
        from fcilib.publish.parameters import parse_parameters

        project = find_project()
        source = project.chapter(chapter)
        values = _parameters(
            parameter,
            profile=profile,
            seeds=seeds,
            executor=executor,
            device=device,
            records=records,
        )
        if device is not None:
            values["device"] = _usable(device, values.get("executor", ""))
        target = output.resolve() if output else project.scratch / f"{source.name}.ipynb"
        demand_free(project, target)
        execute_chapter(project, source, target, parse_parameters(source, values))
        typer.echo(target)


@app.command()
def status() -> None:
    """Show the chapters, when they were executed, the records there are, and what is running."""
    with _one_line_errors():
        project = find_project()
        reports = read_reports(project.book)
        heads = ("chapter", "executed (UTC)", "took", "profile", "seeds", "executor")
        table = Table(*heads, box=None)
        for chapter in project.chapters():
            if made := reports.get(chapter.name):
                table.add_row(chapter.name, *report_cells(made))
            else:
                there = (project.book / f"{chapter.name}.ipynb").is_file()
                table.add_row(chapter.name, "not here; as committed" if there else "never")
        Console().print(table)
        counts = Counter(path.parent.name for path in project.root.glob("records/*/*.json"))
        by_profile = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        typer.echo(f"\nrecords: {by_profile or 'none'}")
        for name in ("quick", "paper"):
            runs = coverage(Records(project.root / "records" / name), PROFILES[name])
            have, total = (sum(column) for column in zip(*runs.values(), strict=True))
            parts = ", ".join(f"{chapter} {h}/{t}" for chapter, (h, t) in runs.items())
            typer.echo(f"the ledger's runs at {name}: {have} of {total} ({parts})")
        for path in sorted(project.progress.glob("*.json")):
            state = read_progress(path)
            if state:
                typer.echo(f"running: {plain_line(path.name.split('.')[0], state)}")


@app.command("sweep")
def sweep_command(
    profile: Annotated[str, typer.Option(help="smoke, quick or paper.")] = "paper",
    minutes: Annotated[
        float | None, typer.Option(help="End after so many; no limit if left out.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    executor: Annotated[
        str, typer.Option(help="inline, process, process:N, ray or ray:ADDRESS.")
    ] = "inline",
    records: Folder = None,
    list_only: Annotated[
        bool, typer.Option("--list", "--dry-run", help="Show what is missing and train nothing.")
    ] = False,
) -> None:
    """Train what the ledger lacks, the most important first.

    Several sweeps may run at once. One that was stopped is gone on with by the same command.
    """
    with _one_line_errors(ValueError, ConnectionError, ModuleNotFoundError, goes_on=True):
        if minutes is not None and not 0 < minutes < math.inf:
            raise ValueError(f"--minutes: {minutes:g} is not above 0")
        sizes = sizes_of(profile)
        parse_executor(executor)
        where = _usable(device, executor)
        root = records or find_project().root / "records"
        folder = Records(root / profile)
        smaller = root if (root / "quick").is_dir() else default_records()
        estimates = Estimates(folder, Records(smaller / "quick"), sizes, where)
        if list_only:
            _list_missing(missing(folder, sizes), estimates)
            return
        swept = sweep(folder, sizes, estimates, executor, where, minutes)
    _say_swept(swept, estimates)
    if swept.failures is not None:
        typer.echo(f"fci: {swept.failures}", err=True)
        raise typer.Exit(1)


def _list_missing(runs: Sequence[Wanted], estimates: Estimates) -> None:
    table = Table("condition", "candidates", "seed", "chapter", "estimated", box=None)
    for run in runs:
        seconds = estimates.seconds(run)
        time = "unknown" if seconds is None else seconds_text(seconds)
        if estimates.has_checkpoint(run):
            time += " left"
        seed = str(run.experiment.seed)
        table.add_row(run.condition, run.protocol, seed, run.chapter, time)
    if runs:
        Console(width=max(Console().width, WIDEST)).print(table)
    typer.echo(_left_line(runs, estimates))


def _say_swept(swept: Swept, estimates: Estimates) -> None:
    typer.echo(f"{swept.recorded} runs were recorded; {_left_line(swept.left, estimates)}")
    for reason in swept.unavailable.values():
        typer.echo(f"left out: {reason}")


def _left_line(runs: Sequence[Wanted], estimates: Estimates) -> str:
    """How many runs are left and what they would take, one after another."""
    if not runs:
        return "nothing is missing"
    times = [estimates.seconds(run) for run in runs]
    known = [seconds for seconds in times if seconds is not None]
    line = f"{len(runs)} are missing"
    if known:
        line += f", which would take {seconds_text(sum(known))} one after another"
    if len(known) < len(runs):
        line += f"; {len(runs) - len(known)} of them can't be estimated yet"
    return line


@app.command()
def kinds() -> None:
    """List the tasks, representations, routers and workloads that a description can name."""
    parts: dict[str, Any] = {
        "tasks": Task,
        "representations": RepresentationSpec,
        "routers": RouterSpec,
        "workloads": Workload,
    }
    for title, base in parts.items():
        typer.echo(title)
        for kind, listed in kinds_of(base).items():
            typer.echo(f"  {kind:18} {(listed.__doc__ or '').partition(chr(10))[0]}".rstrip())


@app.command()
def claims(
    profile: Annotated[
        str | None,
        typer.Option(help="smoke, quick or paper; the profile that decides each if left out."),
    ] = None,
    chapter: Annotated[
        str | None, typer.Option(help="Only what this chapter's tables decide, e.g. 01.")
    ] = None,
    records: Folder = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """The verdict on every claim of the paper, by the records."""
    with _one_line_errors(ValueError):
        project = find_project()
        folder = records or project.root / "records"
        sizes = None if profile is None else sizes_of(profile)
        if not (within := folder / (profile or "")).is_dir():
            raise PipelineError(f"{within} does not exist: it would hold the runs to read")
        if sizes is None:
            entries = ledger.decisive(ledger.whole_ledger(folder))
        else:
            entries = ledger.ledger(Records(within), sizes)
        if chapter is not None:
            name, decided = project.chapter(chapter).name, ledger_page.decided_in(project.book)
            entries = {n: e for n, e in entries.items() if name in decided.get(n, [])}
        if as_json:
            typer.echo(json.dumps([e.plain() for e in entries.values()], allow_nan=False))
            return
        table = Table("claim", "place", "paper", "measured", "verdict", box=None)
        for name, entry in entries.items():
            place, paper = entry.claim.place, str(entry.claim)
            verdict = entry.judgement.verdict
            table.add_row(name, place, paper, ledger_page.plain_measured(entry), verdict)
        Console(width=max(Console().width, WIDEST)).print(table)
        counts = ledger.summary(entries).items()
        typer.echo("\n" + ", ".join(f"{kind}: {count}" for kind, count in counts))


@app.command()
def audit(
    sample: Annotated[int, typer.Option(min=1, help="Records to draw.")] = 3,
    profile: Annotated[str, typer.Option(help="smoke, quick or paper.")] = "quick",
    seed: Annotated[
        str | None, typer.Option(help="Any text; the same draws the same. Random if left out.")
    ] = None,
    most: Annotated[
        float | None,
        typer.Option(min=0, help="Leave out records that took longer than this many seconds."),
    ] = None,
    executor: Annotated[str, typer.Option(help="Where runs happen.")] = "process",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "cpu",
    records: Folder = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of lines.")] = False,
) -> None:
    """Train records drawn at random again, and compare.

    Status 1 if one drifts too far, or if none of them could be audited.
    """
    with _one_line_errors(ValueError, ConnectionError, ModuleNotFoundError):
        seed = secrets.token_hex(4) if seed is None else seed
        say = (lambda _: None) if as_json else typer.echo
        sizes_of(profile)
        folder = (records or find_project().root / "records") / profile
        drawn = audits.draw(Records(folder), sample, seed, most)
        if not drawn.records:
            raise ValueError(f"{folder}: holds no record to draw from")
        left = [f"{drawn.costly} that took more than {most:g} s"] if most is not None else []
        left += [f"{drawn.foreign} of other numerics"] if drawn.foreign else []
        out = f"; left out: {', '.join(left)}" if left else ""
        say(f"{len(drawn.records)} of {drawn.among} records of {folder}, --seed {seed}{out}")
        say(f"{audits.AUDIT_RULE}\n")
        findings = []
        for finding in audits.audit(drawn, executor, device):
            findings.append(finding)
            say(audits.described(finding))
    counts = audits.outcomes(findings)
    if as_json:
        options = {"profile": profile, "seed": seed, "sample": sample, "most": most}
        counted = {"among": drawn.among, "foreign": drawn.foreign, "costly": drawn.costly}
        plain = [finding.plain() for finding in findings]
        typer.echo(
            json.dumps(
                {**options, **counted, "summary": counts, "findings": plain}, allow_nan=False
            )
        )
    else:
        typer.echo("\n" + ", ".join(f"{verdict}: {n}" for verdict, n in counts.items()))
    if counts[audits.SKIPPED] == len(findings):
        typer.echo("fci: nothing could be audited", err=True)
    if not audits.passed(findings):
        raise typer.Exit(1)


@app.command()
def bench(
    what: Annotated[str, typer.Argument(help="scan, block, layers, routers or start.")],
    lengths: Annotated[
        str | None, typer.Option(help="Lengths L, e.g. 128,512; the bench's own if left out.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads; all cores if left out.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns each gets at each length.")] = 5,
    seconds: Annotated[
        float, typer.Option(min=0, help="Leave out what would take longer than this, once.")
    ] = 30.0,
    megabytes: Annotated[
        float, typer.Option(min=0, help="Leave out what would hold more than this.")
    ] = 8192.0,
    keep_freed: Annotated[
        bool, typer.Option(help="Keep freed memory in the process, as training does.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of tables.")] = False,
) -> None:
    """Time the scan, a Mamba block, layers or routers side by side, or the kernels' first call."""
    limits = dict(rounds=rounds, seconds=seconds, megabytes=megabytes, keep_freed=keep_freed)
    with _one_line_errors(ValueError):
        if what == "start":
            _say_start(measure_start(), as_json)
            return
        if what not in benches.PRESETS:
            names = ", ".join(benches.PRESETS)
            raise ValueError(f"bench: {what!r} is none of {names}, start")
        preset = benches.PRESETS[what]
        chosen = presets.bench(preset, lengths, threads, limits)
        cost = measure_cost(chosen, say=lambda text: typer.echo(f"  {text}", err=True))
    if as_json:
        typer.echo(cost.model_dump_json(indent=1))
        return
    # A narrow terminal may wrap lines; the columns' names must not be cut.
    console = Console(width=max(Console().width, WIDEST))
    for table in _cost_tables(cost, preset):
        console.print(table)
    for note in presets.notes(preset, cost):
        typer.echo(note)


def _say_start(waits: Mapping[str, Mapping[str, float]], as_json: bool) -> None:
    """What the kernels' first call took, by where their machine code was."""
    if as_json:
        typer.echo(json.dumps(waits))
        return
    for state, times in waits.items():
        typer.echo(
            f"{state}: first call {times['first']:.2f} s, second {times['second']:.4f} s "
            f"(before it: numba {times['numba']:.2f} s, our module {times['module']:.2f} s)"
        )


def _cost_tables(cost: Cost, preset: presets.Preset) -> Iterator[Table]:
    """A table per length: times, memory, and both as multiples of the base's."""
    measured = report.frame(cost)
    measured["times"] = report.ratios(measured, preset.base)
    measured["share"] = report.ratios(measured, preset.base, "megabytes")
    times = {"forward ms": "forward", "backward ms": "backward", "both ms": "seconds"}
    if not preset.backward:
        times = {"forward ms": "seconds"}
    times["median ms"] = "median"
    heads = (*times, "× time", "peak MB", "× memory")
    for length, rows in measured.groupby("length"):
        table = Table(Column(f"L = {length}", no_wrap=True), *heads, box=None)
        for row in rows.itertuples():
            table.add_row(
                row.workload,
                *(f"{1000 * getattr(row, quantity):.2f}" for quantity in times.values()),
                f"{row.times:.3f}",
                f"{row.megabytes:.1f}",
                f"{row.share:.3f}",
            )
        yield table


if __name__ == "__main__":
    app()
