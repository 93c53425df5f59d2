"""What every part of an experiment's description shares: frozen, strict, whole."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator


class Spec(BaseModel):
    """A frozen description of one part of an experiment.

    Unknown fields, values of the wrong type, numbers that are none (infinities, integers beyond
    64 bits) and text that is none raise `pydantic.ValidationError` (a `ValueError`) whose message
    gives the field's path; nothing is coerced in silence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        for name, value in self:
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise ValueError(f"{name}: is beyond 64 bits")
            if isinstance(value, str) and not value.isascii():
                try:
                    value.encode()
                except UnicodeEncodeError:
                    raise ValueError(f"{name}: is no text") from None
        return self

    def essence(self) -> dict[str, Any]:
        """The fields that differ from their defaults, and `kind`, as plain JSON values."""
        full = self.model_dump(mode="json")
        found: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name == "kind" or field.is_required() or value != field.default:
                found[name] = _essence(value, full[name])
        return found


def _essence(value: Any, full: Any) -> Any:
    """A field's value, with each description inside it reduced to its essence."""
    if isinstance(value, Spec):
        return value.essence()
    if isinstance(value, dict):
        return {key: _essence(item, full[key]) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_essence(*pair) for pair in zip(value, full, strict=True)]
    return full + 0.0 if isinstance(full, float) else full  # -0.0 is 0.0
