"""Parts of an experiment that are told apart by `kind`: the library's, and a reader's own.

A field takes what the library lists, and whatever else has been derived from the same base: a new
router needs no line in the library to be run, recorded and read back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, get_args

from pydantic import Discriminator, SerializeAsAny, Tag, ValidationInfo, WrapValidator

from fcilib.specs.spec import Spec

OWN = "own"
"""Where an error message would give a listed part's kind."""


def choice(base: type[Spec], listed: Any) -> Any:
    """The type of a field for one of `listed`, a union, or for anything else derived from `base`.

    What is not listed must have been defined, or imported, before a description of it is read. A
    kind that nobody has, or that two classes have, is a `ValidationError`.
    """
    classes = {_kind(c): c for c in _classes(listed)}

    def tag(value: Any) -> str:
        if isinstance(value, Mapping):
            kind = value.get("kind")
            return kind if isinstance(kind, str) and kind in classes else OWN
        return _kind(type(value)) if type(value) in classes.values() else OWN

    def own(value: Any, _: Any, info: ValidationInfo) -> Spec:
        kind = value.get("kind") if isinstance(value, Mapping) else _kind(type(value))
        found = _holder(kind, base)
        if isinstance(value, found):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"{value!r} is of a class that was defined anew; make it again")
        if info.mode == "json":
            return found.model_validate_json(json.dumps(value))
        return found.model_validate(value)

    choices = [Annotated[c, Tag(kind)] for kind, c in classes.items()]
    choices.append(Annotated[SerializeAsAny[base], WrapValidator(own), Tag(OWN)])
    return Annotated[reduce(or_, choices), Discriminator(tag)]


def _holder(kind: Any, base: type[Spec]) -> type[Spec]:
    """The one class of that kind. Defined twice under one name, as a cell does, the last counts."""
    holders: dict[str, dict[str, type[Spec]]] = {}
    for c in _derived(base):
        holders.setdefault(_kind(c), {})[f"{c.__module__}.{c.__qualname__}"] = c
    found = holders.get(kind, {}) if isinstance(kind, str) else {}
    if not found:
        known = ", ".join(sorted(filter(None, holders)))
        raise ValueError(f"kind: {kind!r} is none of {known}; or its class is not imported yet")
    if len(found) > 1:
        raise ValueError(f"kind: {kind!r} is that of {' and '.join(found)}; each needs its own")
    return next(iter(found.values()))


def _kind(c: type) -> str | None:
    field = getattr(c, "model_fields", {}).get("kind")
    return None if field is None or field.is_required() else field.default


def _derived(base: type[Spec]) -> Iterator[type[Spec]]:
    for c in base.__subclasses__():
        yield c
        yield from _derived(c)


def _classes(union: Any) -> Iterator[type[Spec]]:
    """The classes in a union, annotated or nested as they may be."""
    if isinstance(union, type):
        yield union
    else:
        for part in get_args(union):
            yield from _classes(part)
