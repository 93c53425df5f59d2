"""The one form of a file of measurements: JSON with its own checksum, exact to the byte."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fcilib.specs.kinds import STORED, UnknownKind

Model = TypeVar("Model", bound=BaseModel)

SIGNIFICANT = 7
"""Digits kept of a measured number: more than any of them means, and all that fp32 has."""

REMEDY = "Delete the file to measure it again, or restore it from version control."


class RecordError(ValueError):
    """A record that can't be trusted: damaged, or not of what its name says."""


class UnknownKindError(RecordError):
    """A sound record of a task, a router or the like that this process does not know."""


def seal(content: dict[str, Any]) -> bytes:
    """The one text a record may have: a byte that differs, even of white space, is a damage."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content = {**content, "checksum": hashlib.sha256(text.encode()).hexdigest()}
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def unseal(path: Path) -> dict[str, Any]:
    """What `seal` wrote, without its checksum. Raises RecordError naming the file and its fault."""
    try:
        stored = path.read_bytes()
        content = json.loads(stored)
        content.pop("checksum")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise RecordError(f"{path}: is no record ({error!r}). {REMEDY}") from error
    if stored != seal(content):
        raise RecordError(f"{path}: its content does not match its checksum. {REMEDY}")
    return content


def seal_model(model: BaseModel) -> bytes:
    """`seal` of a pydantic model."""
    return seal(json.loads(model.model_dump_json()))


def unseal_model(path: Path, kind: type[Model]) -> Model:
    """The model in a file that `seal_model` made.

    Raises RecordError as `unseal` does, and where a class that the library does not list has got
    new fields since; UnknownKindError where a part of it is of a kind that no class known here has.
    """
    content = unseal(path)
    try:
        return kind.model_validate_json(json.dumps(content), context=STORED)
    except ValidationError as error:
        for fault in error.errors():
            if isinstance(cause := fault.get("ctx", {}).get("error"), UnknownKind):
                raise UnknownKindError(
                    f"{path.name}: kind {cause.kind!r} is not known here; import what defines it"
                ) from error
        raise RecordError(f"{path}: is from another version of fcilib: {error}") from error


def rounded(value: Any) -> Any:
    """Floats, in any nesting, to `SIGNIFICANT` digits."""
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT}g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return value
