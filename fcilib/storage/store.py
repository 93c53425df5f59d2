"""A folder of records, one small JSON each, named by the identity of what it is a record of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from fcilib.specs.identity import Repeatable
from fcilib.storage.files import write_atomic
from fcilib.storage.making import find_or_make
from fcilib.storage.sealed import (
    REMEDY,
    RecordError,
    UnknownKindError,
    seal_model,
    unseal_model,
)


class BaseRecord(BaseModel):
    """What every record says besides its measurements: where, when and with what it was made."""

    model_config = ConfigDict(extra="forbid", strict=True)

    subject: ClassVar[str]
    """The name of the field that describes what it is a record of."""

    device: str
    finished: str
    """UTC, to the second."""
    versions: dict[str, str]


R = TypeVar("R", bound=BaseRecord)


class Store(Generic[R]):
    """Records of one kind in a folder, as `<identity>.json`; `.cache` beside them is scratch."""

    def __init__(self, folder: Path, kind: type[R]) -> None:
        self.folder, self.kind = Path(folder), kind

    def path(self, description: Repeatable) -> Path:
        """Where the record of that description is, or goes."""
        return self.folder / f"{description.identity}.json"

    def read(self, path: Path) -> R:
        """The record in a file. Raises RecordError where it can't be trusted."""
        return unseal_model(path, self.kind)

    def find(self, description: Repeatable) -> R | None:
        """The record of that description, or None. Raises RecordError where it can't be trusted."""
        path, subject = self.path(description), self.kind.subject
        if not path.exists():
            return None
        record = self.read(path)
        if getattr(record, subject) != description:
            raise RecordError(f"{path}: holds another {subject} than its name says. {REMEDY}")
        return record

    def find_or_make(self, description: Repeatable, make: Callable[[], R], lock: Path) -> R:
        """The record of that description; what `make` returns, kept, where there is none.

        Only one process at a time makes it, as in `making.find_or_make`. Raises as `find` and `add`
        do, and whatever `make` raises.
        """

        def made() -> R:
            record = make()
            self.add(record)
            return record

        return find_or_make(lambda: self.find(description), made, lock, self.path(description))

    def add(self, record: R) -> None:
        """Write a record so that a crash leaves either none or all of it."""
        write_atomic(self.path(getattr(record, self.kind.subject)), seal_model(record))

    def __iter__(self) -> Iterator[R]:
        """Every record of the folder, by identity.

        One of a kind that is not known here is left out, with a warning. Raises RecordError at one
        that is damaged.
        """
        for path in sorted(self.folder.glob("*.json")):
            try:
                yield self.read(path)
            except UnknownKindError as error:
                warnings.warn(f"{error}. Left out.", stacklevel=2)

    def __len__(self) -> int:
        return len(list(self.folder.glob("*.json")))
