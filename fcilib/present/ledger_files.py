"""The whole ledger as files: a table, and all details."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pandas as pd

from fcilib.ledger.ledger import Entry, decisive

Entries = Mapping[str, Entry]
"""The ledger's entries by the name of their claim."""


def ledger_json(entries: Mapping[str, Entries]) -> str:
    """The whole ledger: every claim's verdict, and its entry at each profile."""
    content = {
        name: {
            "verdict": entry.judgement.verdict,
            "address": _address(name),
            **{profile: part[name].plain() for profile, part in entries.items()},
        }
        for name, entry in decisive(entries).items()
    }
    return json.dumps(content, allow_nan=False, ensure_ascii=False, indent=1)


def ledger_csv(entries: Mapping[str, Entries]) -> str:
    """A line for every claim, profile, condition and reading; one alone where nothing was run."""
    lines = []
    for name, decided in decisive(entries).items():
        claim, judgement = decided.claim, decided.judgement
        said = {
            "claim": name,
            "address": _address(name),
            "place": claim.place,
            "statement": claim.statement,
            "paper": str(claim),
            "verdict": judgement.verdict,
            "missing": "; ".join(judgement.missing),
        }
        found = [
            {"profile": profile, **finding}
            for profile, part in entries.items()
            for finding in part[name].plain()["findings"]
        ]
        for finding in found or [{}]:
            texts = {k: "; ".join(v) for k, v in finding.items() if isinstance(v, tuple)}
            lines.append({**said, **finding, **texts})
    return pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")


def _address(name: str) -> str:
    return f"book/claims.html#{name}"
