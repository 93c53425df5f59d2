"""The banner of a chapter: its sizes and seeds, and what its verdicts say beside the ledger's."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from fcilib.study.study import Study

READING = (
    "Where a chapter says {reproduced}, our number at the size above agrees with the paper’s. "
    "The {ledger}, our list of the paper’s claims, judges only runs at the paper’s size, and "
    "says {open} where there are too few of them ({sure})."
)
"""How a chapter's word relates to the ledger's, once for all chapters."""

WORDS = {
    "reproduced": ("“reproduced”", "<em>reproduced</em>"),
    "ledger": ("ledger", '<a href="claims.html">ledger</a>'),
    "open": ("“open”", "<em>open</em>"),
    "sure": ("the page “How sure we are”", '<a href="certainty.html">how sure we are</a>'),
}
"""What stands in it, as text and as HTML."""


@dataclass(frozen=True)
class Banner:
    """What stands at the head of a chapter: lines on its sizes, and how to read its verdicts."""

    sizes: str

    def __repr__(self) -> str:
        reading = READING.format(**{name: text for name, (text, _) in WORDS.items()})
        return f"{self.sizes}\n{reading}"

    def _repr_html_(self) -> str:
        reading = READING.format(**{name: html for name, (_, html) in WORDS.items()})
        return f'<div class="fci-banner"><pre>{escape(self.sizes)}</pre>\n<p>{reading}</p></div>'


def banner(study: Study, sizes: str | None = None) -> Banner:
    """The banner of a study.

    Args:
        study: the chapter's.
        sizes: what it prints of its sizes, where they are not those of the paper's own task.
    """
    return Banner(str(study) if sizes is None else sizes)
