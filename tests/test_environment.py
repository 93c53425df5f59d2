"""One set of versions: pyproject.toml, constraints.txt, environment.yml and what is installed."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def read_pins() -> dict[str, Version]:
    pins = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, equals, number = line.partition("==")
            assert equals, f"constraints.txt pins exact versions only, not {line!r}"
            pins[canonicalize_name(name)] = Version(number)
    return pins


PINS = read_pins()


def closure(lines: list[str]) -> set[str]:
    """Names of everything that installing `lines` installs, read from the installed packages."""
    todo = [Requirement(line) for line in lines]
    seen: set[tuple[str, str]] = set()
    while todo:
        requirement = todo.pop()
        for extra in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), extra)
            if key in seen:
                continue
            seen.add(key)
            for line in requires(requirement.name) or ():
                inner = Requirement(line)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    inner.marker = None
                    todo.append(inner)
    return {name for name, _ in seen}


def local(name: str) -> bool:
    """Whether a package depends on the machine: CUDA builds of torch bring their own libraries."""
    return name.startswith(("nvidia-", "cuda-")) or name == "triton"


@pytest.mark.parametrize(
    "group", ["core", "book", "test", "edit", "scale", "cluster", "mutants", "oracles"]
)
def test_every_dependency_is_pinned(group: str) -> None:
    lines = PROJECT["dependencies"] if group == "core" else EXTRAS[group]
    names = {canonicalize_name(Requirement(line).name) for line in lines}
    assert names - set(PINS) == set()


@pytest.mark.parametrize("extras", [["book", "test"], ["cluster"]], ids=" ".join)
def test_everything_installed_with_them_is_pinned(extras: list[str]) -> None:
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
    try:
        names = closure(lines)
    except PackageNotFoundError as missing:
        pytest.skip(f"{missing.name} is not installed: an extra that is left out here")
    assert {name for name in names - set(PINS) if not local(name)} == set()


def test_everything_installed_for_editing_is_pinned() -> None:
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed: `make edit`")
    assert closure(EXTRAS["edit"]) - set(PINS) == set()


def test_pins_satisfy_pyproject() -> None:
    lines = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    for requirement in map(Requirement, lines):
        pin = PINS.get(canonicalize_name(requirement.name))
        assert pin is None or requirement.specifier.contains(pin), str(requirement)


def test_installed_versions_are_the_pinned_ones() -> None:
    wrong = {}
    for name, pin in PINS.items():
        try:
            installed = Version(version(name))
        except PackageNotFoundError:
            continue  # an extra that is not installed here
        if installed.public != pin.public:
            wrong[name] = f"{installed}, not {pin}"
    assert wrong == {}, "run `make test`, or pip install -c constraints.txt -e '.[book,test]'"


def test_constraints_name_no_place() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert not re.search(r"://|@|--(?:index|extra|find)", text)


def test_environment_yml_agrees() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (python,) = [d for d in environment["dependencies"] if str(d).startswith("python=")]
    assert (
        Version(python.partition("=")[2].lstrip("="))
        in Requirement(f"python{PROJECT['requires-python']}").specifier
    )
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert {"-c constraints.txt", "-e .[book,test]"} <= set(pip)
    conda = [d for d in environment["dependencies"] if isinstance(d, str) and d != python]
    named = [re.fullmatch(r"([\w.-]+)={1,2}([\w.]+)", line) for line in (*conda, *pip)]
    for match in filter(None, named):
        assert PINS[canonicalize_name(match[1])] == Version(match[2]), match[0]
