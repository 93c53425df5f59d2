"""The rule and the six verdicts, each by an example worked out by hand."""

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fcilib.ledger.catalogue import catalogue
from fcilib.ledger.claims import Claim, claims
from fcilib.ledger.findings import Finding
from fcilib.ledger.intervals import interval, spread_interval
from fcilib.ledger.ledger import decisive, evidence, ledger, sensitive, summary, whole_ledger
from fcilib.ledger.verdict import (
    ALTERNATIVES,
    CONTRADICTED,
    HOLDS,
    NOT_HERE,
    OPEN,
    STANDARD,
    SUBSTANCE,
    VERDICTS,
    Judgement,
    compared,
    judge,
    zone,
)
from fcilib.publish.project import find_project
from fcilib.study.profiles import PROFILES
from fcilib.training.records import Records

ROOT = find_project(Path(__file__).parent).root
PAPER = PROFILES["paper"]


def claim(value=0.9, **fields):
    start = {"place": "§0", "statement": "So it is.", "metric": "precision", "value": value}
    return Claim(**{**start, "decided_by": ["raw"], **fields})


def found(*values, examples=1000, name="raw", chance=0.002, **fields):
    mean = sum(values) / len(values)
    start = {
        "experiment": name, "protocol": "all", "mean": mean, "sd": math.nan, "n": len(values),
        "chance": chance, "agrees": True, "interval": interval(values, examples),
        "chance_here": chance, "chance_there": 0.002,
    }  # fmt: skip
    return Finding(**{**start, **fields})


FAILS = {"direction": {"relation": "at most", "value": 0.35}}
SUCCEEDS = {"direction": {"relation": "at least", "value": 0.8}}

GOOD = found(0.9, 0.9, 0.9)
"""Three seeds, 2,700 of 3,000: Wilson's interval is 88.9% to 91.0%."""
BAD = found(0.5, 0.5, 0.5)
LESS = found(0.85, 0.85, 0.85)
"""Another number, 83.7% to 86.2%, but a success all the same."""


@pytest.mark.parametrize(
    ("it", "findings", "verdict"),
    [
        (claim(), {"all": [GOOD], "others": [BAD]}, "holds"),
        (claim(), {"all": [BAD], "others": [GOOD]}, "holds under others"),
        (claim(), {"all": [BAD], "x": [GOOD], "y": [GOOD]}, "holds under x, y"),
        (claim(literal=None), {"x": [GOOD], "y": [GOOD]}, "holds"),
        (claim(literal=None), {"x": [GOOD], "y": [BAD]}, "holds under x"),
        (claim(**SUCCEEDS), {"all": [LESS]}, SUBSTANCE),
        (claim(**SUCCEEDS), {"all": [LESS], "others": [GOOD]}, "holds under others"),
        (claim(**SUCCEEDS), {"all": [BAD], "others": [LESS]}, CONTRADICTED),
        (claim(0.1, **FAILS), {"all": [found(0.3, 0.3, 0.3)]}, SUBSTANCE),
        (claim(0.1, **FAILS), {"all": [BAD]}, CONTRADICTED),
        (claim(), {"all": [LESS]}, CONTRADICTED),
        (claim(0.4, relation="at most"), {"all": [BAD]}, CONTRADICTED),
        (claim(0.4, relation="at least"), {"all": [BAD]}, HOLDS),
        (claim(), {}, OPEN),
        (claim(undefined="it"), {"all": [GOOD]}, OPEN),
    ],
)
def test_every_verdict_can_be_reached(it, findings, verdict):
    assert judge(it, findings).verdict == verdict


@pytest.mark.parametrize(
    ("finding", "missing"),
    [
        (found(0.9), "3 seeds (here 1)"),
        (found(0.9, 0.9), "3 seeds (here 2)"),
        (found(0.5), "3 seeds (here 1)"),
        (replace(GOOD, lacking=("10,000 training steps (here 2,500)",)), "10,000 training steps"),
        (found(0.7, 0.9, 1.0), "a narrower interval of raw"),
    ],
)
def test_without_a_fair_trial_it_is_open_and_says_what_is_missing(finding, missing):
    judgement = judge(claim(), {"all": [finding]})
    assert judgement.verdict == OPEN
    assert judgement.missing[0].startswith(missing)


def test_a_number_that_differs_on_no_sure_side_of_its_statement_is_open():
    """Four seeds stand; one more that agrees widens the interval across the statement's line."""
    it = claim(0.012, **FAILS)
    assert judge(it, {"all": [found(0.3, 0.3, 0.3, 0.3)]}).verdict == SUBSTANCE
    judgement = judge(it, {"all": [found(0.3, 0.3, 0.3, 0.3, 0.012)]})
    assert (judgement.verdict, judgement.missing) == (OPEN, ("a narrower interval of raw",))
    both = {"all": [found(0.3, 0.3, 0.3, 0.3, 0.012)], "others": [found(0.3, 0.3, 0.3)]}
    assert judge(claim(0.012, literal=None, **FAILS), both).verdict == SUBSTANCE


SHARES = st.floats(0, 1).map(lambda x: round(x, 3))


@given(
    st.sampled_from(["equals", "at most", "at least"]),
    SHARES,
    st.booleans(),
    st.one_of(
        st.lists(SHARES, min_size=1, max_size=8),
        st.builds(lambda value, n: [value] * n, SHARES, st.integers(1, 8)),
    ),
    st.lists(st.floats(0, 1), min_size=1, max_size=6),
    st.one_of(st.none(), st.lists(SHARES, min_size=1, max_size=4)),
)
@example("equals", 0.012, True, [0.3] * 4, [0.5], None)
def test_more_seeds_that_agree_never_turn_a_verdict_to_contradicted(
    relation, value, directed, values, places, other
):
    fields = {"relation": relation}
    if directed and relation == "equals":
        line = {"relation": "at most", "value": 0.35} if value <= 0.35 else None
        line = {"relation": "at least", "value": 0.8} if value >= 0.8 else line
        fields["direction"] = line
    it = claim(value, **fields)
    before = found(*values)
    agreeing, _ = zone(it, before, STANDARD)
    low, high = max(agreeing.low, 0.0), min(agreeing.high, 1.0)
    if fields.get("direction"):
        end = fields["direction"]["value"]
        low, high = (low, min(high, end)) if value <= 0.35 else (max(low, end), high)
    more = [low + place * (high - low) for place in places]
    rest = {} if other is None else {"others": [found(*other)]}
    verdict = judge(it, {"all": [before], **rest}).verdict
    after = judge(it, {"all": [found(*values, *more)], **rest}).verdict
    assert verdict == CONTRADICTED or after != CONTRADICTED


def test_what_does_not_draw_needs_one_seed():
    once = found(0.9)
    assert judge(claim(), {"all": [replace(once, draws=False)]}).verdict == HOLDS


def test_what_follows_by_counting_needs_no_trial():
    unfair = replace(found(0.5), lacking=("everything",))
    assert judge(claim(), {"all": [unfair]}).verdict == OPEN
    assert judge(claim(counted=True), {"all": [unfair]}).verdict == CONTRADICTED


def test_of_several_conditions_each_has_to_agree_and_one_is_enough_to_differ():
    it = claim(decided_by=["raw", "flow-1"])
    flow, worse = replace(GOOD, experiment="flow-1"), replace(BAD, experiment="flow-1")
    assert judge(it, {"all": [GOOD, flow]}).verdict == HOLDS
    judgement = judge(it, {"all": [GOOD]})
    assert (judgement.verdict, judgement.missing) == (OPEN, ("runs of flow-1 under all",))
    judgement = judge(it, {"all": [worse]})
    assert (judgement.verdict, judgement.deciding) == (CONTRADICTED, ("flow-1",))


def test_the_statement_too_is_decided_by_fair_trials_of_every_condition():
    it = claim(decided_by=["raw", "flow-1"], **SUCCEEDS)
    unfair, fair = found(0.5, name="flow-1"), found(0.5, 0.5, 0.5, name="flow-1")
    few = judge(it, {"all": [LESS, unfair]})
    assert (few.verdict, few.missing) == (OPEN, ("3 seeds (here 1)",))
    absent = judge(it, {"all": [LESS]})
    assert (absent.verdict, absent.missing) == (OPEN, ("runs of flow-1 under all",))
    assert judge(it, {"all": [LESS, fair]}).verdict == CONTRADICTED
    same = found(0.85, 0.85, 0.85, name="flow-1")
    assert judge(it, {"all": [LESS, same]}).verdict == SUBSTANCE


def test_two_of_sixteen_segments_are_the_chance_of_segment_recall():
    entry = ledger(Records(ROOT / "records" / "quick"), PROFILES["quick"])["hotpotqa-random"]
    assert entry.judgement.verdict == "holds under segment recall"


def test_an_open_reading_leaves_it_open_unless_the_literal_one_holds():
    one = found(0.9)
    assert judge(claim(), {"all": [GOOD], "others": [one]}).verdict == HOLDS
    assert judge(claim(), {"all": [one], "others": [GOOD]}).verdict == OPEN
    assert judge(claim(), {"all": [BAD], "others": [one]}).verdict == OPEN


def test_without_the_literal_reading_it_is_open():
    judgement = judge(claim(), {"others": [GOOD]})
    assert (judgement.verdict, judgement.missing) == (OPEN, ("runs of raw under all",))
    assert judge(claim(), {"": [replace(GOOD, protocol="")]}).verdict == HOLDS


# Agreement.


@pytest.mark.parametrize(
    ("values", "side"),
    [
        ((0.9, 0.9, 0.9), True),
        ((0.89, 0.9, 0.91), True),  # 87.2% to 92.8%, which is less than five points
        ((0.87, 0.87, 0.87), None),  # 85.8% to 88.2%: it reaches, its mean does not
        ((0.85, 0.85, 0.85), False),
        ((0.8, 0.9, 1.0), None),
    ],
)
def test_a_number_agrees_differs_or_is_too_wide_to_say(values, side):
    assert compared(claim(), found(*values)) is side


def test_near_chance_the_distance_from_chance_counts_and_the_margin_is_one_chance_level():
    """The paper has 1.2%, six times its chance of 0.2%: two points would let chance agree."""
    it = claim(0.012)
    ends, margin = zone(it, found(0.002, 0.002, 0.002), STANDARD)
    assert (ends.low, ends.high, margin) == pytest.approx((0.010, 0.014, 0.002), abs=1e-6)
    assert it.agrees(0.002)
    assert compared(it, found(0.002, 0.002, 0.002)) is False
    smaller = found(0.018, 0.018, 0.018, chance=0.008)  # a size at which chance is 0.8%
    ends, margin = zone(it, smaller, STANDARD)
    assert (ends.low, ends.high) == pytest.approx((0.010, 0.026), abs=1e-6)
    assert compared(it, smaller) is True


def test_far_from_chance_or_where_it_is_not_known_the_margin_is_two_points():
    for finding in (GOOD, replace(GOOD, chance_there=math.nan)):
        ends, _ = zone(claim(), finding, STANDARD)
        assert (ends.low, ends.high) == pytest.approx((0.88, 0.92), abs=1e-6)


def test_a_bound_has_one_end_and_a_threshold_no_margin():
    ends, _ = zone(claim(0.4, relation="at most"), GOOD, STANDARD)
    assert (ends.low, ends.high) == (-math.inf, pytest.approx(0.42))
    it = claim(0.4, relation="at most", tolerance=0)
    assert compared(it, found(0.39, 0.39, 0.39)) is None  # 37.3% to 40.8% is on both sides
    assert compared(it, found(0.3, 0.3, 0.3)) is True
    assert compared(it, found(0.5, 0.5, 0.5)) is False


def test_a_claim_on_the_spread_is_held_against_the_spread():
    it = claim(0.02, statistic="sd", relation="at most", tolerance=0)
    for values, side in (
        ((0.900, 0.901, 0.902), True),  # s.d. 0.1%: 0.05% to 0.63%
        ((0.89, 0.90, 0.91), None),  # s.d. 1%, below two, but up to 6.3%
        ((0.5, 0.6, 0.7), False),  # s.d. 10%: 5.2% or more
    ):
        sd = statistics.stdev(values)
        finding = replace(GOOD, sd=sd, interval=spread_interval(values))
        assert compared(it, finding) is side


# From records.


def copied(folder, deciders):
    records = Records(folder / "paper")
    records.folder.mkdir(parents=True)
    for decider in deciders:
        for seed in range(3):
            run = decider.with_seed(seed)
            records.add(Records(ROOT / "records" / "paper").find(run))
    return records


def rewrite(records, decider, precision, seeds=3):
    for seed in range(seeds):
        record = records.find(decider.with_seed(seed))
        metrics = {**record.metrics, "precision": precision}
        records.add(record.model_copy(update={"metrics": metrics}))


def test_records_change_the_verdict(tmp_path):
    raw = catalogue(PAPER)["raw"].under
    records = copied(tmp_path, raw.values())

    def verdict():
        return ledger(records, PAPER)["raw"].judgement.verdict

    assert verdict() == CONTRADICTED
    rewrite(records, raw["others"], 0.012)
    assert verdict() == "holds under others"
    rewrite(records, raw["all"], 0.012)
    assert verdict() == HOLDS
    rewrite(records, raw["all"], 0.2)
    rewrite(records, raw["others"], 0.2)
    assert verdict() == SUBSTANCE
    records.path(raw["all"].with_seed(2)).unlink()
    judgement = ledger(records, PAPER)["raw"].judgement
    assert (judgement.verdict, judgement.missing) == (OPEN, ("3 seeds (here 2)",))


def test_the_records_of_quick_leave_open_all_that_counting_does_not_decide():
    entries = ledger(Records(ROOT / "records" / "quick"), PROFILES["quick"])
    decided = {n for n, e in entries.items() if e.judgement.kind not in (OPEN, NOT_HERE)}
    assert decided == {n for n, it in claims().items() if it.counted}
    sizes = [m for m in entries["raw"].judgement.missing if "length 512 (here 128)" in m]
    assert sizes


def test_what_stands_on_the_hub_says_its_command():
    entry = ledger(Records(ROOT / "records" / "paper"), PAPER)["bridge"]
    assert entry.judgement.verdict == NOT_HERE
    assert entry.judgement.missing == ("FCI_HUB=1 .venv/bin/fci run 07 --profile paper",)


def test_claims_that_one_run_decides_are_one_piece_of_evidence(tmp_path):
    records = copied(tmp_path, catalogue(PAPER)["raw"].under.values())
    entries = ledger(records, PAPER)
    same = {n for n, e in entries.items() if e.judgement.verdict == CONTRADICTED}
    assert same == {"raw", "no-other-transition", "missing-ingredient-fails"}
    assert summary(entries)[CONTRADICTED] == 3
    assert evidence(entries)[CONTRADICTED] == 1


def test_claims_that_are_tied_by_others_are_one_piece_too():
    sets = {"first": ("a",), "second": ("b",), "third": ("c",), "tie": ("a", "b"), "none": ()}

    def entries(*names):
        return {n: SimpleNamespace(judgement=Judgement(OPEN, (), sets[n])) for n in names}

    assert evidence(entries("first", "second", "third"))[OPEN] == 3
    assert evidence(entries("first", "second", "third", "tie"))[OPEN] == 2
    assert evidence(entries("tie", "second", "first"))[OPEN] == 1
    assert evidence(entries("none", "first"))[OPEN] == 2


def test_whatever_contradicts_the_paper_had_come_to_rest():
    """Over the last quarter of its training it changed by less than the margin of agreement."""
    changes = {}
    for entries in whole_ledger(ROOT / "records").values():
        for name, entry in entries.items():
            if entry.judgement.verdict != CONTRADICTED:
                continue
            for finding in entry.findings:
                if finding.experiment not in entry.judgement.deciding:
                    continue
                for place in finding.records:
                    curve = json.loads((ROOT / "records" / place).read_text())["curve"]
                    last = curve.get(entry.claim.metric, curve["precision"])
                    changes[name, place] = last[-1] - last[-1 - len(last) // 4]
    assert len(changes) >= 12
    assert max(map(abs, changes.values())) < STANDARD.margin


def test_the_paper_decides_and_counting_wherever_it_was_done():
    entries = whole_ledger(ROOT / "records")
    decided = decisive(entries)
    assert decided["raw"] is entries["paper"]["raw"]
    assert decided["hotpotqa-random"] is entries["quick"]["hotpotqa-random"]
    assert tuple(summary(decided)) == tuple(evidence(decided)) == VERDICTS
    assert sum(summary(decided).values()) == len(claims())


def test_another_rule_changes_those_verdicts_that_it_names():
    entries = decisive(whole_ledger(ROOT / "records"))
    for rule in ALTERNATIVES:
        changed = sensitive(entries, rule)
        for name, entry in entries.items():
            other = changed.get(name, entry.judgement.verdict)
            assert entry.judged(rule).verdict == other
    assert sensitive(entries, STANDARD) == {}


# What claims.yaml declares.


@pytest.mark.parametrize("name", [n for n, it in claims().items() if it.direction])
def test_the_papers_own_number_is_on_the_side_of_its_statement(name):
    it = claims()[name]
    over = it.value - it.direction.value
    assert over <= 0 if it.direction.relation == "at most" else over >= 0


def test_a_literal_reading_is_a_protocol_of_what_decides():
    known = catalogue(PAPER)
    for name, it in claims().items():
        protocols = {p for decider in it.decided_by for p in known[decider].under}
        assert it.literal in {None, "all"} | protocols, name
        assert {r.protocol for r in it.readings.values()} <= protocols, name
        assert not it.readings.keys() & protocols, name
