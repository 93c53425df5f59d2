"""The ledger: every claim of the paper and the verdict that the records give it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fcilib.ledger.agreement import STANDARD, Rule, reproduction
from fcilib.ledger.catalogue import catalogue
from fcilib.ledger.claims import Claim, claims
from fcilib.ledger.findings import Finding, Reader
from fcilib.ledger.verdict import NOT_HERE, VERDICTS, Judgement, at_rest, compared, directed, judge
from fcilib.study.notation import finite
from fcilib.study.profiles import PROFILES, Profile
from fcilib.training.records import Records

PAPER = "paper"
"""The profile of the paper's sizes, whose records decide."""

BOOK = "quick"
"""The profile that the book is executed at."""

HUB = "FCI_HUB=1 .venv/bin/fci run 07 --profile paper"
"""Runs what stands on models of the hub."""


@dataclass(frozen=True)
class Entry:
    """A claim, what the records of one profile say of it, and the verdict."""

    name: str
    claim: Claim
    findings: tuple[Finding, ...]
    needs_hub: bool = False
    """True if what decides it stands on a model of the hub."""

    @property
    def by_protocol(self) -> dict[str, list[Finding]]:
        """The findings under each reading of the protocol, in order."""
        protocols = dict.fromkeys(f.protocol for f in self.findings)
        return {p: [f for f in self.findings if f.protocol == p] for p in protocols}

    def judged(self, rule: Rule = STANDARD) -> Judgement:
        """The verdict under a rule, with what is missing and what decides."""
        if self.needs_hub and not self.findings:
            return Judgement(NOT_HERE, (HUB,), tuple(self.claim.decided_by))
        if self.claim.unit != "share":
            rule = replace(rule, slack=0.0)  # in points, which an epoch or a place has none of
        return judge(self.claim, self.by_protocol, rule)

    @cached_property
    def judgement(self) -> Judgement:
        """The verdict under the ledger's own rule."""
        return self.judged()

    @property
    def deciding_records(self) -> tuple[str, ...]:
        """The files of all records that the verdict rests on, under whatever reading."""
        deciding = [f for f in self.findings if f.experiment in self.judgement.deciding]
        return tuple(dict.fromkeys(file for f in deciding for file in f.records))

    @property
    def whole(self) -> dict[str, list[Finding]]:
        """The findings under each protocol that every condition of the claim has records of."""
        return {
            protocol: part
            for protocol, part in self.by_protocol.items()
            if len(part) == len(self.claim.decided_by) and protocol not in self.claim.readings
        }

    @property
    def at_this_size(self) -> str:
        """Under which protocols the numbers of this profile agree, by the chapters' rule."""
        findings = [f for part in self.whole.values() for f in part]
        near = all(self.claim.near_chance(f.mean, f.level) for f in findings)
        agreements = {p: all(f.agrees for f in part) for p, part in self.whole.items()}
        return reproduction(agreements, near)

    @property
    def reason(self) -> str | None:
        """Why no protocol is whole; None where one is."""
        if self.whole or self.claim.untested:
            return None if self.whole else self.claim.untested
        some = "only some of its models have records" if self.findings else "no record"
        return f"{some} at this profile"

    def plain(self) -> dict[str, Any]:
        """The entry as JSON has it, with null for what is not a number."""
        findings = []
        for finding in self.findings:
            level = finding.level
            fields = asdict(finding) | asdict(finding.interval)
            fields |= {"chance_here": level and level.here, "chance_there": level and level.there}
            del fields["interval"], fields["curve"], fields["level"]
            findings.append({name: finite(value) for name, value in fields.items()})
        return {
            "name": self.name,
            **self.claim.model_dump(mode="json"),
            "findings": findings,
            "verdict": self.judgement.verdict,
            "missing": self.judgement.missing,
            "deciding": self.judgement.deciding,
            "at_this_size": self.at_this_size,
            "reason": self.reason,
        }


def ledger(records: Records, sizes: Profile) -> dict[str, Entry]:
    """Every claim's entry, from the records of one profile alone; nothing is trained.

    Args:
        records: the profile's folder; it may be empty or missing.
        sizes: the profile.

    Raises:
        RecordError: a record can't be trusted.
    """
    reader = Reader(records, catalogue(sizes), catalogue(PROFILES[PAPER]))
    return {
        name: Entry(name, claim, tuple(reader.findings(claim)), reader.needs_hub(claim))
        for name, claim in claims().items()
    }


def whole_ledger(records: Path) -> dict[str, dict[str, Entry]]:
    """The ledger at the paper's sizes and beside it at the book's, by profile.

    `records` is the folder of all profiles. Raises RecordError if a record can't be trusted.
    """
    return {name: ledger(Records(records / name), PROFILES[name]) for name in (PAPER, BOOK)}


def decisive(entries: Mapping[str, Mapping[str, Entry]]) -> dict[str, Entry]:
    """Of every claim the entry that decides: the paper's sizes, or any where counting decides."""
    book = entries[BOOK]
    return {n: book[n] if e.claim.counted else e for n, e in entries[PAPER].items()}


def summary(entries: Mapping[str, Entry]) -> dict[str, int]:
    """How many claims there are of each kind of verdict."""
    counts = Counter(entry.judgement.kind for entry in entries.values())
    return {kind: counts[kind] for kind in VERDICTS}


def evidence(entries: Mapping[str, Entry]) -> dict[str, int]:
    """Pieces of evidence behind each kind of verdict.

    Claims are one piece if they are decided by a record that they share, and so are claims that
    others tie together in this way. A claim that no record decides has no evidence.
    """
    pieces: dict[str, list[set[str]]] = {kind: [] for kind in VERDICTS}
    for entry in entries.values():
        if not (joined := set(entry.deciding_records)):
            continue
        apart = []
        for piece in pieces[entry.judgement.kind]:
            if piece & joined:
                joined |= piece
            else:
                apart.append(piece)
        pieces[entry.judgement.kind] = [*apart, joined]
    return {kind: len(parts) for kind, parts in pieces.items()}


def near_borders(entries: Mapping[str, Entry], slack: float) -> dict[str, list[str]]:
    """Claims that have an answer near a border of the rule, and which borders those are.

    An answer is near one if it is another when all borders are moved by `slack`, outwards or
    inwards. The borders: of the numbers that agree, of the statement behind a number, of rest.
    What the paper does not define and what is no share is left out.
    """
    moved = [replace(STANDARD, slack=by) for by in (-slack, slack)]
    near: dict[str, list[str]] = {}
    for name, entry in entries.items():
        claim = entry.claim
        if claim.undefined or claim.unit != "share":
            continue
        for finding in entry.findings:
            for border, answer in BORDERS.items():
                now = answer(claim, finding, STANDARD)
                if any(answer(claim, finding, rule) != now for rule in moved):
                    near.setdefault(name, [])
                    if border not in near[name]:
                        near[name].append(border)
    return near


BORDERS: Mapping[str, Callable[[Claim, Finding, Rule], Any]] = {
    "agreement": compared,
    "the statement": lambda claim, f, rule: claim.direction and directed(claim, f, rule),
    "rest": lambda claim, f, rule: at_rest(f, rule),
}
"""What may lie near a border, by the border's name."""


def sensitive(entries: Mapping[str, Entry], rule: Rule) -> dict[str, str]:
    """Claims whose verdict would be another under this rule, with that verdict."""
    others = {name: entry.judged(rule).verdict for name, entry in entries.items()}
    return {n: other for n, other in others.items() if other != entries[n].judgement.verdict}
