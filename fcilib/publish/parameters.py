"""The parameters of a chapter: what its first cell sets, and what a caller sets instead."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import papermill

from fcilib.publish.project import Chapter, PipelineError
from fcilib.publish.source import read_chapter
from fcilib.study.parameters import PARAMETERS, demand_values


def parameters_of(chapter: Chapter) -> dict[str, Any]:
    """Names and default values in the cell tagged `parameters`.

    Raises PipelineError where a default is not a plain value (a string, a number, True, None, …).
    """
    values: dict[str, Any] = {}
    for name, parameter in papermill.inspect_notebook(read_chapter(chapter)).items():
        try:
            values[name] = ast.literal_eval(parameter["default"])
        except (ValueError, SyntaxError) as error:
            raise PipelineError(
                f"{chapter.name}: the default of parameter {name!r} is not a plain value: "
                f"{parameter['default']}"
            ) from error
    return values


def parse_parameters(chapter: Chapter, texts: Mapping[str, str]) -> dict[str, Any]:
    """Turn `name=value` texts into values of the type of the chapter's defaults, or lists of such.

    Raises PipelineError for a name the chapter does not have, or a value of another type or that no
    study takes. (Alone, papermill only warns of an unknown name, and runs on with the defaults.)
    """
    defaults = parameters_of(chapter)
    values: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in defaults:
            known = ", ".join(defaults) or "none"
            raise PipelineError(
                f"{chapter.name} has no parameter {name!r}; its parameters are: {known}"
            )
        default, value = defaults[name], text
        if not isinstance(default, str):
            with suppress(ValueError, SyntaxError):
                value = ast.literal_eval(text)
        if isinstance(default, float) and type(value) is int:
            value = float(value)
        several = value if isinstance(value, list) else [value]
        if default is not None and any(type(item) is not type(default) for item in several):
            or_list = ", or a list such as [7]" if list in PARAMETERS.get(name, ()) else ""
            raise PipelineError(
                f"{chapter.name}: parameter {name!r} must be {type(default).__name__} "
                f"(default {default!r}){or_list}, got {text!r}"
            )
        values[name] = value
    try:
        demand_values(values)
    except ValueError as error:
        raise PipelineError(f"{chapter.name}: {error}") from None
    return values
