"""The registry of kinds: parts of a description that are told apart by `kind`.

A kind is a class derived from a base such as `RouterSpec`, with a default for its field `kind`. The
library lists those of the base's own package, which that package's `__init__` imports; a reader's
own kinds are taken from wherever they are defined. A new router needs no line in the library to be
run, measured, recorded and read back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import (
    Discriminator,
    GetCoreSchemaHandler,
    SerializeAsAny,
    Tag,
    ValidationInfo,
    WrapValidator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import CoreSchema

from fcilib.specs.spec import Spec

OWN = "own"
"""Where an error message would give a listed part's kind."""

STORED = {"stored": True}
"""The context in which a stored description is read. One of a class that the library does not list
has to state every field: a field that joined since may have changed what the class does."""


class UnknownKind(ValueError):
    """No class of that kind is known in this process."""

    def __init__(self, kind: object, known: str) -> None:
        super().__init__(f"kind: {kind!r} is none of {known}; or its class is not imported yet")
        self.kind = kind


class ByKind:
    """Marks a field for any kind of a base: `Annotated[RouterSpec, ByKind()]`.

    What the library does not list must have been defined, or imported, before a description of it
    is read. A kind that nobody has, or that two classes have, is a `ValidationError`.
    """

    def __get_pydantic_core_schema__(
        self, base: type[Spec], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return handler.generate_schema(_choice(base))


def kinds(base: type[Spec]) -> dict[str, type[Spec]]:
    """The kinds of `base` that the library lists, by name, in the order of their definition."""
    package = base.__module__.rpartition(".")[0]
    members = (c for c in _derived(base) if f"{c.__module__}.".startswith(f"{package}."))
    return {kind: c for c in members if (kind := _kind(c)) is not None}


def _choice(base: type[Spec]) -> Any:
    """The union of the kinds that are listed, and of anything else derived from `base`."""
    classes = kinds(base)

    def tag(value: Any) -> str | None:
        if isinstance(value, Mapping):
            kind = value.get("kind")
            return kind if isinstance(kind, str) and kind in classes else OWN
        return _kind(type(value)) if type(value) in classes.values() else OWN

    def own(value: Any, _: Any, info: ValidationInfo) -> Spec:
        kind = value.get("kind") if isinstance(value, Mapping) else _kind(type(value))
        holder = _holder(kind, base)
        if isinstance(value, holder):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"{value!r} is of a class that was defined anew; make it again")
        since = holder.model_fields.keys() - value.keys() - base.model_fields.keys()
        if since and info.context == STORED:
            fields = ", ".join(sorted(since))
            raise ValueError(f"kind: {kind!r} has new fields since: {fields}. Name it anew")
        if info.mode == "json":
            return holder.model_validate_json(json.dumps(value), context=info.context)
        return holder.model_validate(value, context=info.context)

    choices: list[Any] = [Annotated[c, Tag(kind)] for kind, c in classes.items()]
    # A JSON schema names the kinds that are listed; of others it could give only the base's fields.
    other: Any = SkipJsonSchema[SerializeAsAny[base]]  # type: ignore[valid-type, misc]
    choices.append(Annotated[other, WrapValidator(own), Tag(OWN)])
    return Annotated[reduce(or_, choices), Discriminator(tag)]


def _holder(kind: Any, base: type[Spec]) -> type[Spec]:
    """The one class of that kind. Defined twice under one name, as a cell does, the last counts."""
    holders: dict[str | None, dict[str, type[Spec]]] = {}
    for c in _derived(base):
        holders.setdefault(_kind(c), {})[f"{c.__module__}.{c.__qualname__}"] = c
    classes = holders.get(kind, {}) if isinstance(kind, str) else {}
    if not classes:
        known = ", ".join(sorted(filter(None, holders)))
        raise UnknownKind(kind, known)
    if len(classes) > 1:
        raise ValueError(f"kind: {kind!r} is that of {' and '.join(classes)}; each needs its own")
    return next(iter(classes.values()))


def _kind(c: type) -> str | None:
    field = getattr(c, "model_fields", {}).get("kind")
    return None if field is None or field.is_required() else field.default


def _derived(base: type[Spec]) -> Iterator[type[Spec]]:
    for c in base.__subclasses__():
        yield c
        yield from _derived(c)
