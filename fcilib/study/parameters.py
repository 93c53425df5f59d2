"""What a chapter's parameters may be, and that a notebook has no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from fcilib.execution.executors import parse
from fcilib.study.profiles import profile
from fcilib.system.device import check_device

PARAMETERS = {
    "profile": (str,),
    "seeds": (int, list),
    "executor": (str,),
    "device": (str,),
    "records": (str,),
}
"""What a chapter's parameters cell sets, and of which types."""

DEFAULTS = {"device": "cpu"}
"""Of parameters that a cell may leave out."""


def demand_parameters(namespace: Mapping[str, Any], again: bool = False) -> None:
    """Raise TypeError for a parameter that is unknown, missing, or of another type.

    `again`: the notebook's cells ran before, so that a name may be theirs and none is unknown.
    """
    unknown = sorted(n for n, v in namespace.items() if _is_parameter(n, v))
    if unknown and not again:
        raise TypeError(
            f"unknown parameter {', '.join(unknown)}; a chapter takes {', '.join(PARAMETERS)}"
        )
    for name, kinds in PARAMETERS.items():
        value = namespace.get(name, DEFAULTS.get(name))
        if type(value) not in kinds:
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise TypeError(f"parameter {name}: {value!r} is not of type {wanted}")


def demand_values(parameters: Mapping[str, Any]) -> None:
    """Raise ValueError for a profile, seeds, executor or device that there can't be."""
    checks: dict[str, Callable[[Any], Any]] = {
        "profile": profile,
        "seeds": seed_numbers,
        "executor": parse,
        "device": check_device,
    }
    for name in checks.keys() & parameters.keys():
        checks[name](parameters[name])


def seed_numbers(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """The seeds that the parameter names: so many, from 0 on, or those of a list.

    Raises ValueError where it names none, one twice, or what is no seed.
    """
    if isinstance(seeds, int):
        if seeds < 1:
            raise ValueError(f"parameter seeds: {seeds} is less than one")
        return tuple(range(seeds))
    if not seeds or any(type(seed) is not int or not 0 <= seed < 2**63 for seed in seeds):
        raise ValueError(f"parameter seeds: {seeds} is no list of whole numbers from 0 to 2^63 - 1")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"parameter seeds: {seeds} names one more than once")
    return tuple(seeds)


def _is_parameter(name: str, value: Any) -> bool:
    """Whether a notebook's global looks like an unknown parameter."""
    shell = name.startswith("_") or name in ("In", "Out", "exit", "quit", "get_ipython", "open")
    defined = isinstance(value, (type, ModuleType)) or callable(value)
    return not (shell or defined or name in PARAMETERS)
