"""The rule and the six verdicts, each by an example worked out by hand."""

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fcilib.ledger.agreement import STANDARD, Level, Rule, at_chance, paper_interval
from fcilib.ledger.catalogue import catalogue
from fcilib.ledger.claims import Claim, claims
from fcilib.ledger.findings import Finding
from fcilib.ledger.intervals import Interval, interval, spread_interval, wilson
from fcilib.ledger.ledger import (
    Entry,
    decisive,
    evidence,
    ledger,
    near_borders,
    sensitive,
    summary,
    whole_ledger,
)
from fcilib.ledger.verdict import (
    ALTERNATIVES,
    CONTRADICTED,
    HOLDS,
    NOT_HERE,
    OPEN,
    SUBSTANCE,
    VERDICTS,
    Judgement,
    at_rest,
    compared,
    directed,
    judge,
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
        "level": Level(chance, 0.002),
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
        (found(0.9), "2 more seeds (has 1 of 3)"),
        (found(0.9, 0.9), "1 more seed (has 2 of 3)"),
        (found(0.5), "2 more seeds (has 1 of 3)"),
        (replace(GOOD, drift=0.03), "a curve at rest (the last tenth lies 3.0 points from"),
        (replace(GOOD, lacking=("10,000 training steps (here 2,500)",)), "10,000 training steps"),
        (found(0.7, 0.9, 1.0), "more seeds of raw embeddings (its interval is too wide)"),
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
    assert (judgement.verdict, judgement.missing) == (
        OPEN,
        ("more seeds of raw embeddings (its interval is too wide)",),
    )
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
    st.sampled_from([0.002, 0.008, 0.06]),
    st.booleans(),
)
@example("equals", 0.012, True, [0.3] * 4, [0.5], None, 0.002, False)
@example("equals", 0.003, True, [0.02] * 4, [0.5], None, 0.002, True)
def test_more_seeds_that_agree_never_turn_a_verdict_to_contradicted(
    relation, value, directed, values, places, other, chance, at_chance
):
    fields = {"relation": relation}
    if directed and relation == "equals":
        line = {"relation": "at most", "value": 0.35} if value <= 0.35 else None
        line = {"relation": "at least", "value": 0.8} if value >= 0.8 else line
        line = {"relation": "at chance"} if at_chance and value <= 0.02 else line
        fields["direction"] = line
    it = claim(value, **fields)
    before = found(*values, chance=chance)
    agreeing, _ = it.zone(before.level)
    low, high = max(agreeing.low, 0.0), min(agreeing.high, 1.0)
    if fields.get("direction"):
        end = fields["direction"].get("value", chance)
        assume(value > 0.35 or low <= end)
        low, high = (low, min(high, end)) if value <= 0.35 else (max(low, end), high)
    more = [low + place * (high - low) for place in places]
    rest = {} if other is None else {"others": [found(*other, chance=chance)]}
    verdict = judge(it, {"all": [before], **rest}).verdict
    after = judge(it, {"all": [found(*values, *more, chance=chance)], **rest}).verdict
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
    assert (judgement.verdict, judgement.missing) == (
        OPEN,
        ("runs of Flow, 1 layer (query included)",),
    )
    judgement = judge(it, {"all": [worse]})
    assert (judgement.verdict, judgement.deciding) == (CONTRADICTED, ("flow-1",))


def test_the_statement_too_is_decided_by_fair_trials_of_every_condition():
    it = claim(decided_by=["raw", "flow-1"], **SUCCEEDS)
    unfair, fair = found(0.5, name="flow-1"), found(0.5, 0.5, 0.5, name="flow-1")
    few = judge(it, {"all": [LESS, unfair]})
    assert (few.verdict, few.missing) == (OPEN, ("2 more seeds (has 1 of 3)",))
    absent = judge(it, {"all": [LESS]})
    assert (absent.verdict, absent.missing) == (OPEN, ("runs of Flow, 1 layer (query included)",))
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
    assert (judgement.verdict, judgement.missing) == (
        OPEN,
        ("runs of raw embeddings (query included)",),
    )
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


def test_near_chance_the_distance_from_chance_counts_against_the_error():
    """The paper has 1.2%, six times its chance of 0.2%: two points would let chance agree."""
    it = claim(0.012)
    ends, margin = it.zone(Level(0.002, 0.002))
    assert (ends.low, ends.high) == pytest.approx((0.0065, 0.0215), abs=1e-4)
    assert margin == pytest.approx(0.0095, abs=1e-4)
    assert compared(it, found(0.002, 0.002, 0.002)) is False
    assert compared(it, found(0.012, 0.012, 0.012)) is True
    smaller = found(0.018, 0.018, 0.018, chance=0.008)  # a size at which chance is 0.8%
    assert compared(it, smaller) is True
    assert compared(it, found(0.009, 0.009, 0.009, chance=0.008)) is None  # 0.6% to 1.3%
    assert compared(it, found(*[0.008] * 10, chance=0.008)) is False


def test_what_could_be_chance_agrees_with_no_number_above_it():
    """6 of 1,000 is 0.3% to 1.3%: it agrees with 0.9%, were not chance as likely."""
    it = claim(0.009)
    assert 0.006 in it.zone(Level(0.003, 0.002))[0]
    assert compared(it, found(0.006, chance=0.003)) is None
    assert compared(it, found(*[0.006] * 3, chance=0.003)) is True


def test_a_number_at_chance_agrees_if_chance_is_held_and_could_have_been_told():
    """The paper has 0.3%, which 1,000 sequences can't tell from its chance of 0.2%."""
    it = claim(0.003)
    assert 0.002 in it.zone(Level(0.002, 0.002))[0]
    assert compared(it, found(0.002)) is None  # up to 0.7%, more than three times chance
    assert compared(it, found(0.002, 0.002, 0.002)) is True
    assert compared(it, found(0.004, 0.004, 0.004)) is None  # 0.2% to 0.7%
    assert compared(it, found(*[0.005] * 10)) is None  # above chance, within the paper's error
    assert compared(it, found(0.02, 0.02, 0.02)) is False


@pytest.mark.parametrize(
    ("interval", "answer"),
    [
        (Interval(0.001, 0.003), True),
        (Interval(0.001, 0.006), None),
        (Interval(0.002, 0.003), True),  # as good as chance, and no better
        (Interval(0.003, 0.005), False),
        (Interval(0.0, 0.001), True),  # no better than chance
    ],
)
def test_at_chance_is_no_better_than_chance_with_the_power_to_tell_three_times_as_much(
    interval, answer
):
    assert at_chance(interval, 0.002) is answer
    it = claim(0.003, direction={"relation": "at chance"})
    assert directed(it, found(0.002, interval=interval)) is answer


def test_slack_moves_both_borders_of_chance_outwards():
    loose = replace(STANDARD, slack=0.001)
    for measured, strict in ((Interval(0.0025, 0.005), False), (Interval(0.001, 0.0065), None)):
        assert at_chance(measured, 0.002) is strict
        assert at_chance(measured, 0.002, loose) is True


def test_three_seeds_of_a_thousand_have_the_power_that_is_demanded_and_one_has_not():
    """Exactly, by the binomial distribution, with chance of one in 511."""
    chance = 1 / 511

    def said(examples, share):
        hits = [x for x in range(60) if at_chance(wilson(x / examples, examples), chance)]
        ways = (math.comb(examples, x) * share**x * (1 - share) ** (examples - x) for x in hits)
        return sum(ways)

    assert said(3000, chance) > 0.9
    assert said(3000, STANDARD.told * chance) < 0.05
    assert said(1000, chance) < 0.5


def test_without_chance_the_margin_is_two_points_and_the_statement_can_not_be_chance():
    it = claim(chance=False)
    ends, margin = it.zone(None)
    assert (ends.low, ends.high, margin) == pytest.approx((0.88, 0.92, 0.02), abs=1e-6)
    assert compared(it, replace(GOOD, level=None)) is True
    with pytest.raises(ValueError, match="no chance"):
        directed(claim(direction={"relation": "at chance"}), replace(GOOD, level=None))
    with pytest.raises(ValueError, match="no statement"):
        directed(claim(), GOOD)


def test_a_bound_has_one_end_and_a_threshold_no_margin():
    ends, _ = claim(0.4, relation="at most", chance=False).zone(None)
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
    assert (judgement.verdict, judgement.missing) == (OPEN, ("1 more seed (has 2 of 3)",))


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
    assert same == {"raw", "jump-ratio", "no-other-transition", "missing-ingredient-fails"}
    assert summary(entries)[CONTRADICTED] == 4
    assert evidence(entries)[CONTRADICTED] == 1


def test_claims_are_joined_by_the_records_they_share_and_not_by_names():
    """Two conditions may share a run, and a condition may have others for another reading."""

    def entry(verdict, *files):
        return SimpleNamespace(judgement=Judgement(verdict), deciding_records=files)

    first, second, third = entry(OPEN, "a"), entry(OPEN, "b", "c"), entry(OPEN, "d")
    tie, none, other = entry(OPEN, "a", "b"), entry(OPEN), entry(HOLDS, "a")

    def pieces(*parts):
        counts = evidence(dict(enumerate(parts)))
        return counts[OPEN], counts[HOLDS]

    assert pieces(first, second, third) == (3, 0)
    assert pieces(first, second, third, tie) == (2, 0)
    assert pieces(tie, second, first) == (1, 0)
    assert pieces(none, first, none) == (1, 0)
    assert pieces(first, other) == (1, 1)


def test_the_records_that_decide_are_those_of_the_deciding_conditions_under_every_reading():
    it = claim(decided_by=["raw", "flow-1"])
    flow = replace(BAD, experiment="flow-1", records=("y", "z"))
    raw = [replace(GOOD, records=("x",)), replace(GOOD, protocol="others", records=("x", "w"))]
    entry = Entry("it", it, (*raw, flow, replace(flow, protocol="others", records=("z",))))
    assert entry.judgement.deciding == ("flow-1",)
    assert entry.deciding_records == ("y", "z")
    both = Entry("it", it, (*raw, replace(flow, mean=0.9, interval=GOOD.interval)))
    assert both.judgement.deciding == ("raw", "flow-1")
    assert both.deciding_records == ("x", "w", "y", "z")


# Borders.


def test_a_curve_that_moves_by_a_point_is_at_rest_as_numbers_are_written():
    assert 0.3 - 0.29 > STANDARD.at_rest
    assert at_rest(replace(GOOD, drift=0.3 - 0.29))
    assert not at_rest(replace(GOOD, drift=0.0101))
    assert judge(claim(), {"all": [replace(GOOD, drift=0.3 - 0.29)]}).verdict == HOLDS


def test_what_lies_near_a_border_of_the_rule_is_found_and_which_border():
    wide = replace(GOOD, interval=Interval(0.9, 0.94))
    cases = {
        "inside": (claim(), GOOD, None),
        "edge": (claim(), replace(wide, mean=0.918), ["agreement"]),
        "beyond": (claim(), replace(GOOD, interval=Interval(0.93, 0.94), mean=0.935), None),
        "barely beyond": (
            claim(), replace(GOOD, interval=Interval(0.9240, 0.94), mean=0.93), ["agreement"],
        ),
        "line": (
            claim(**SUCCEEDS), replace(LESS, interval=Interval(0.803, 0.86)), ["the statement"],
        ),
        "moving": (claim(), replace(GOOD, drift=0.014), ["rest"]),
        "both": (claim(), replace(wide, mean=0.918, drift=0.008), ["agreement", "rest"]),
        "far": (claim(), replace(GOOD, drift=0.02), None),
        "undefined": (claim(undefined="it"), replace(wide, mean=0.918), None),
    }  # fmt: skip
    entries = {name: Entry(name, it, (f,)) for name, (it, f, _) in cases.items()}
    assert near_borders(entries, 0.005) == {n: which for n, (*_, which) in cases.items() if which}


def test_half_a_point_opens_one_claim_that_the_records_decide():
    """It decides claims that are open, for want of a narrower interval; and of the decided ones it
    opens one, whose number is small and lies near an end of its margin.
    """
    entries = decisive(whole_ledger(ROOT / "records"))
    assert not sensitive(entries, Rule(slack=0.005))
    turned = dict(sensitive(entries, Rule(slack=-0.005)))
    assert turned.pop("contrastive-frozen") == OPEN
    assert entries["contrastive-frozen"].judgement.kind == HOLDS
    assert turned.keys() == {
        "chance-accuracy", "one-layer-spread", "causal-attention", "scale-causal-1"
    }  # fmt: skip
    assert all("its interval is too wide" in entries[name].judgement.missing[0] for name in turned)


def test_slack_is_for_shares_alone():
    entries = decisive(whole_ledger(ROOT / "records"))
    for name, entry in entries.items():
        if entry.claim.unit != "share":
            assert entry.judged(Rule(slack=0.9)).verdict == entry.judgement.verdict, name


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
    if it.direction.value is None:
        assert claims()["chance-accuracy"].value in paper_interval(it.value, it.decimals)
        return
    over = it.value - it.direction.value
    assert over <= 0 if it.direction.relation == "at most" else over >= 0


def test_a_literal_reading_is_a_protocol_of_what_decides():
    known = catalogue(PAPER)
    for name, it in claims().items():
        protocols = {p for decider in it.decided_by for p in known[decider].under}
        assert it.literal in {None, "all"} | protocols, name
        assert {r.protocol for r in it.readings.values()} <= protocols, name
        assert not it.readings.keys() & protocols, name
