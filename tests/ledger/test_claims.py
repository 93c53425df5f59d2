"""The paper's claims: whole, to be found in its text, and held to one rule."""

import math
import re
from importlib.resources import files
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fcilib.layers.attention import SparseAttention
from fcilib.ledger.agreement import (
    NEAR_CHANCE,
    ROUNDING,
    STANDARD,
    Level,
    Rule,
    paper_interval,
    reproduction,
)
from fcilib.ledger.catalogue import catalogue
from fcilib.ledger.claims import Claim, Contradiction, Reading, claims, contradictions
from fcilib.specs.size import Size
from fcilib.study.notation import percent
from fcilib.study.profiles import PROFILES

PAPER = Path(__file__).parents[3] / "shared" / "paper" / "paper_v2.txt"
"""The paper's text, which is not part of the repository."""


def claim(**fields):
    """Without a chance level, unless it is given one."""
    start = {"place": "§0", "statement": "So it is.", "metric": "precision", "value": 0.5}
    return Claim(**{**start, "decided_by": ["raw"], "chance": False, **fields})


def reading(**fields):
    return Reading(**{"protocol": "", "metric": "place", "says": "How far down it is.", **fields})


def contradiction(**fields):
    return Contradiction(**{"what": "It is, and it is not.", "where": "§0", **fields})


# Each claim is whole.


def test_there_are_claims_enough():
    assert len(claims()) >= 70


@pytest.mark.parametrize("name", claims())
@pytest.mark.parametrize("profile", PROFILES)
def test_a_claim_has_what_decides_it_or_a_reason(name, profile):
    it = claims()[name]
    assert all(text.strip() for text in (it.place, it.statement, it.metric))
    assert it.decided_by or it.untested.strip()
    unknown = set(it.decided_by) - catalogue(PROFILES[profile]).keys()
    assert not unknown
    assert len(set(it.decided_by)) == len(it.decided_by)


def test_a_name_is_a_word_of_an_address():
    names = [*claims(), *contradictions()]
    assert all(re.fullmatch(r"[a-z0-9]+([-.][a-z0-9]+)*", name) for name in names)


def test_no_name_and_no_field_stands_twice_in_the_file():
    """YAML itself would keep the last in silence."""

    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader, node):
        names = [loader.construct_object(key) for key, _ in node.value]
        assert len(names) == len(set(names)), f"line {node.start_mark.line}"
        return loader.construct_mapping(node, deep=True)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    text = files("fcilib.ledger").joinpath("claims.yaml").read_text("utf-8")
    content = yaml.load(text, Strict)
    assert content.keys() == {"claims", "contradictions"}
    assert content["claims"].keys() == claims().keys()


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("value: 1.6 is no share", {"value": 1.6}),
        ("value: -0.1 is no share", {"value": -0.1}),
        ("tolerance: a number", {"unit": "number", "value": 130.0}),
        ("tolerance", {"tolerance": -0.01}),
        ("untested: a claim that nothing decides", {"decided_by": []}),
        ("untested: a claim that nothing decides", {"decided_by": [], "untested": ""}),
        ("place", {"place": ""}),
        ("statement", {"statement": ""}),
        ("metric", {"metric": ""}),
        ("progress", {"progress": 0.0}),
        ("progress", {"progress": 1.1}),
        ("relation", {"relation": "about"}),
        ("statistic", {"statistic": "median"}),
        ("source", {"source": "§4"}),
    ],
)
def test_an_ill_formed_claim_is_refused_by_its_field(field, fields):
    with pytest.raises(ValidationError, match=field):
        claim(**fields)


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("value: 1.01 is no share", {"value": 1.01}),
        (
            "tolerance: a number that is no share needs one of its own",
            {"unit": "number", "value": 130.0},
        ),
        (
            "direction: a bound is a statement by itself",
            {"direction": {"relation": "at least", "value": 0.8}, "relation": "at least"},
        ),
        (
            "untested: a claim that nothing decides needs a reason",
            {"decided_by": []},
        ),
        (
            "value: a line, unless the relation is chance, which has none",
            {"direction": {"relation": "at most"}},
        ),
    ],
)
def test_a_claim_is_refused_with_the_reason(reason, fields):
    with pytest.raises(ValidationError) as caught:
        claim(**fields)
    (error,) = caught.value.errors()
    assert error["msg"] == f"Value error, {reason}"


def test_a_claim_may_have_what_does_not_contradict_itself():
    assert [claim(value=value).value for value in (0.0, 1.0)] == [0.0, 1.0]
    assert claim(direction={"relation": "at most", "value": 0.35}).direction.value == 0.35
    assert claim(decided_by=[], untested="It would take a cluster.").untested
    assert claim(unit="number", value=130.0, tolerance=0).tolerance == 0


def test_what_a_claim_leaves_unsaid():
    said = {"place": "§0", "statement": "So it is.", "metric": "precision", "value": 0.5}
    said["decided_by"] = ["raw"]
    assert Claim(**said).model_dump(exclude=set(said)) == {
        "statistic": "mean", "progress": 1.0, "relation": "equals", "unit": "share", "decimals": 1,
        "chance": True, "tolerance": None, "literal": "all", "readings": {}, "direction": None,
        "undefined": None, "counted": False, "untested": None, "note": None,
        "title": None, "plain": None, "gloss": None,
    }  # fmt: skip
    assert contradiction().reading is None


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (claim, "place"), (claim, "statement"), (claim, "metric"),
        (reading, "metric"), (reading, "says"),
        (contradiction, "what"), (contradiction, "where"),
    ],
)  # fmt: skip
def test_a_text_may_be_short_but_not_empty(make, field):
    assert getattr(make(**{field: "x"}), field) == "x"
    with pytest.raises(ValidationError, match=field):
        make(**{field: ""})


@given(st.floats(allow_nan=False).filter(lambda v: not 0 <= v <= 1))
def test_no_share_is_outside_of_its_bounds(value):
    with pytest.raises(ValidationError, match="value"):
        claim(value=value)


@pytest.mark.parametrize(
    ("direction", "reason"),
    [
        ({"relation": "at chance", "value": 0.05}, "value: a line, unless"),
        ({"relation": "at most"}, "value: a line, unless"),
        ({"relation": "about", "value": 0.5}, "relation"),
    ],
)
def test_a_direction_has_a_line_unless_it_is_chance(direction, reason):
    with pytest.raises(ValidationError, match=reason):
        claim(direction=direction)
    assert claim(direction={"relation": "at chance"}).behind == "at chance"
    assert claim(direction={"relation": "at most", "value": 0.35}).behind == "at most 35.0%"
    assert claim().behind is None


# Each claim is in the paper.

DERIVED = {
    "core-parameters": (486 * 1000, ["486K parameters"]),
    "transition-rise": (0.994 - 0.028, ["from 2.8% to 99.4% in a single epoch"]),
    "rank-90": (34 / 128, ["34 of 128 dimensions"]),
    "rank-one-linear": (1, ["rank-1 pairwise projection achieves 99.7% at O(n)"]),
    "budget-50-unstable": (0.9 - 0, ["between 0% and 90%+ across epochs"]),
}
"""Values that the paper does not write down, from what it does."""

ELSEWHERE = {"causal-succeeds": "§5"}
"""Claims whose number is not at the place they name, and where it is."""

EPOCHS = 40


@pytest.fixture(scope="module")
def paper():
    if not PAPER.exists():
        pytest.skip(f"the paper's text is not at {PAPER}")
    text = PAPER.read_text(encoding="utf-8")
    return text[: text.index("\nReferences\n")]


def parts_of(paper):
    """The paper's text by the names that places have: sections, captions with their tables."""
    heads = [(m.start(), f"§{m[1]}") for m in re.finditer(r"(?m)^(\d(?:\.\d)?) [A-Z]", paper)]
    ends = [*(start for start, _ in heads[1:]), len(paper)]
    parts = {name: paper[start:end] for (start, name), end in zip(heads, ends, strict=True)}
    parts["Abstract"] = paper[: heads[0][0]]
    for found in re.finditer(r"(?m)^(Figure|Table) (\d): ", paper):
        kind = "Fig." if found[1] == "Figure" else "Table"
        parts[f"{kind} {found[2]}"] = paper[found.start() : paper.index("\n\n", found.start())]
    return parts


def places_of(place):
    """`§4.3, finding 1` and `§4.7, Tables 2 and 3`, as keys of `parts_of`."""
    sections = re.findall(r"§\d(?:\.\d)?|Abstract|Fig\. \d", place)
    tables = re.findall(r"Tables? (\d)(?: and (\d))?", place)
    return sections + [f"Table {n}" for pair in tables for n in pair if n]


def is_written(it, text):
    """Whether a text has the claim's value: in percent, with one decimal or as an integer."""
    if it.unit == "number":
        before = "" if it.value < 0 else r"(?<![\d.])"
        return bool(re.search(before + re.escape(f"{it.value:g}") + r"(?![\d]|\.\d)", text))
    shown = {f"{100 * it.value:.1f}"}
    if math.isclose(100 * it.value, round(100 * it.value)):
        shown.add(f"{100 * it.value:.0f}")
    # The lower end of a range, 9–29%, has its sign after the upper one.
    return any(re.search(rf"(?<![\d.]){re.escape(s)}(–[\d.]+)?%", text) for s in shown)


def squash(text):
    """Letters, digits and signs that matter, so that neither spaces nor marks-up count."""
    return re.sub(r"[^a-z0-9%.–+]", "", text.lower())


def test_the_paper_is_taken_apart(paper):
    parts = parts_of(paper)
    assert {"Abstract", "§4.1", "§5", "Fig. 5", "Table 3"} <= parts.keys()
    assert places_of("Abstract, §4.7, Table 2") == ["Abstract", "§4.7", "Table 2"]
    assert places_of("§4.7, Tables 2 and 3") == ["§4.7", "Table 2", "Table 3"]
    assert places_of("§4.1, Fig. 2a") == ["§4.1", "Fig. 2"]
    assert is_written(claim(value=0.09), parts["§4.3"])
    assert not is_written(claim(value=0.993), paper)
    assert not is_written(claim(value=0.5), parts["§4.1"])  # 74.5% is no 5%
    assert not is_written(claim(unit="number", value=8.0, tolerance=1), parts["Fig. 2"])


@pytest.mark.parametrize("name", claims())
def test_a_claims_value_is_where_it_says(name, paper):
    it, parts = claims()[name], parts_of(paper)
    places = places_of(it.place)
    assert places
    assert set(places) <= parts.keys()
    if name in DERIVED:
        value, written = DERIVED[name]
        assert it.value == pytest.approx(value, abs=1e-9)
        assert all(squash(text) in squash(paper) for text in written)
        return
    assert is_written(it, paper)
    if name in ELSEWHERE:
        assert is_written(it, parts[ELSEWHERE[name]])
    assert any(is_written(it, parts[place]) for place in places) == (name not in ELSEWHERE)


@pytest.mark.parametrize("name", [n for n, it in claims().items() if it.unit == "share"])
def test_a_share_has_the_decimals_that_the_paper_prints(name, paper):
    """Its rounding is part of its error."""
    it, parts = claims()[name], parts_of(paper)
    if name in DERIVED:
        return
    text = (
        " ".join(parts[place] for place in places_of(it.place)) if name not in ELSEWHERE else paper
    )
    printed = [f"{100 * it.value:.{decimals}f}" for decimals in (0, 1)]
    written = [bool(re.search(rf"(?<![\d.]){re.escape(s)}(–[\d.]+)?%", text)) for s in printed]
    assert written[it.decimals]
    if it.decimals == 0:
        assert not written[1]


def test_derived_values_are_those_of_claims():
    assert DERIVED.keys() | ELSEWHERE.keys() <= claims().keys()


def test_what_is_claimed_of_an_epoch_is_read_off_at_its_share(paper):
    epochs = {n: it.progress * EPOCHS for n, it in claims().items() if it.progress < 1}
    assert epochs == {"bridge-early": pytest.approx(6), "bridge-late": pytest.approx(29)}
    said = "trained for 40 epochs; the bridge reaches 95% by epoch 6 and stabilizes near 99% by"
    assert f"{said} epoch 29" in paper


# The rule.

RELATIONS = ("equals", "at most", "at least")

EVEN = Level(0.002, 0.002)
"""One in 512, here as in the paper."""

UNCAPPED = Rule(widest=math.inf)
"""Any spread widens the margin by all of it."""


def test_the_numbers_of_the_rule():
    assert (STANDARD.margin, STANDARD.way, STANDARD.deviations) == (0.02, 0.5, 2)
    assert (STANDARD.paper_examples, STANDARD.rounding, STANDARD.told) == (1000, 0.5, 3)
    assert (STANDARD.seeds, STANDARD.at_rest, STANDARD.widest) == (3, 0.01, 2.5)


@pytest.mark.parametrize(
    ("mean", "sd", "holds"),
    [
        (0.52, math.nan, True),
        (0.48, math.nan, True),
        (0.5201, math.nan, False),
        (0.4799, math.nan, False),
        (0.52, 0.0, True),
        (0.5201, 0.0, False),
        (0.52, 0.005, True),  # two s.d. are less than two points
        (0.5201, 0.01, False),
        (0.6, 0.05, True),  # two s.d. are more
        (0.4, 0.05, True),
        (0.6001, 0.05, False),
        (0.3999, 0.05, False),
    ],
)
def test_two_points_or_two_standard_deviations_whichever_is_more(mean, sd, holds):
    assert claim().agrees(mean, sd, rule=UNCAPPED) is holds


@pytest.mark.parametrize(
    ("mean", "sd", "holds"),
    [(0.55, 0.025, True), (0.5501, 0.0251, False), (0.55, 0.4, True), (0.5501, 0.4, False)],
)
def test_a_spread_widens_the_margin_to_no_more_than_two_and_a_half_margins(mean, sd, holds):
    """However wide it is: a mean five points away, of a margin of two, agrees at most."""
    assert claim().agrees(mean, sd) is holds
    assert claim().agrees(1 - mean, sd) is holds
    assert claim(relation="at most").agrees(mean, sd) is holds
    assert claim(relation="at least").agrees(1 - mean, sd) is holds
    assert claim().agrees(0.6, 0.4, rule=Rule(widest=5)) is True


@pytest.mark.parametrize(
    ("value", "mean", "level", "near"),
    [
        (0.018, 0.019, Level(1 / 64, 1 / 256), True),
        (0.026, 0.011, Level(1 / 128, 1 / 512), True),
        (0.0419, 0.002, EVEN, True),  # less than four points above chance
        (0.0421, 0.002, EVEN, False),
        (0.019, 0.0219, EVEN, True),  # ours, less than two points above it
        (0.019, 0.0221, EVEN, False),
        (0.007, 0.031, Level(0.031, 0.031), True),  # below chance is as near
        (0.007, 0.062, Level(0.031, 0.031), False),
        (0.012, 0.95, EVEN, False),
        (0.95, 0.002, EVEN, False),
    ],
)
def test_two_numbers_may_both_be_near_chance(value, mean, level, near):
    assert claim(value=value).near_chance(mean, level) is near


def test_near_chance_is_said_of_every_protocol_or_of_none_and_of_no_bound():
    at, far = (0.002, 0.0, EVEN), (0.9, 0.0, EVEN)
    it = claim(value=0.019)
    assert it.verdict({"all": at, "others": at}) == NEAR_CHANCE
    assert it.verdict({"": (0.019, 0.0, EVEN)}) == "reproduced"
    assert it.verdict({"all": at, "others": far}) == "not reproduced"
    assert it.verdict({"all": at, "others": (0.019, 0.0, EVEN)}) == "only under others"
    assert it.verdict({}) == "not tested"
    for other in (
        claim(value=0.019, relation="at least"),
        claim(value=0.019, tolerance=0.001),
        claim(value=0.019, statistic="sd"),
    ):
        assert not other.near_chance(0.002, EVEN)
    assert not claim(value=0.019).near_chance(0.002, None)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (0.5, 0.4690, 0.5310),  # Wilson's interval of 49.95% to 50.05% of 1,000, 3.1 points
        (0.984, 0.9640, 1.0040),  # which is 0.7 to 1.0 points here, less than two
        (0.012, 0.0065, 0.0215),  # half the way to chance is 0.5 points, and the interval more
        (0.03, 0.0160, 0.0440),  # half the way to chance, 1.4 points, which is more than it
    ],
)
def test_the_margin_is_two_points_or_half_the_way_to_chance_or_the_papers_own_error(
    value, low, high
):
    agreeing, margin = claim(value=value).zone(EVEN)
    assert (agreeing.low, agreeing.high) == pytest.approx((low, high), abs=6e-4)
    assert margin == pytest.approx(max(value - low, high - value), abs=6e-4)
    assert claim(value=value).agrees(low + 0.001, level=EVEN)
    assert not claim(value=value).agrees(low - 0.001, level=EVEN)


def test_a_chance_level_is_not_left_out_in_silence():
    with pytest.raises(
        ValueError, match=r"^level: chance is missing, and the claim has a chance level$"
    ):
        claim(chance=True).agrees(0.5)
    assert claim(chance=True, tolerance=0.05).agrees(0.5)
    assert claim(chance=True, statistic="sd", relation="at most").agrees(0.5, 0.1)


def test_another_rule_decides_wherever_there_is_a_border():
    wide, few, slack = Rule(margin=0.05), Rule(paper_examples=100), Rule(slack=0.01)
    for level in (None, EVEN):
        assert [claim().agrees(m, 0.0, level, wide) for m in (0.451, 0.549)] == [True, True]
        assert [claim().agrees(m, 0.0, level, wide) for m in (0.449, 0.551)] == [False, False]
    # Wilson's interval of 50 of 100 is 40.4% to 59.6%.
    assert [claim().agrees(m, 0.0, EVEN, few) for m in (0.41, 0.59)] == [True, True]
    assert [claim().agrees(m, rule=slack) for m in (0.471, 0.529)] == [True, True]
    assert [claim().agrees(m, rule=slack) for m in (0.469, 0.531)] == [False, False]
    assert [claim().agrees(m, 0.02, rule=slack) for m in (0.451, 0.549)] == [True, True]
    assert [claim().agrees(m, 0.02, rule=slack) for m in (0.449, 0.551)] == [False, False]


def test_near_chance_two_points_are_not_nothing():
    """At 2.6%, thirteen times chance, chance itself lay within two points and two tenths."""
    for value in (0.012, 0.019, 0.022, 0.026):
        assert not claim(value=value).agrees(0.002, level=EVEN)
        assert not claim(value=value).agrees(0.008, level=Level(0.008, 0.002))
        assert claim(value=value).agrees(value + 0.006, level=Level(0.008, 0.002))


def test_at_another_chance_level_the_number_is_corrected_for_guessing():
    """As far above chance, of the way from chance to one; the paper's own error stays as it is."""
    halved = claim(value=0.5).zone(Level(0.5, 0.0))[0]
    assert (halved.low + halved.high) / 2 == pytest.approx(0.75, abs=1e-6)
    spread = [claim(value=0.5).agrees(mean, 0.03, Level(0.5, 0.0)) for mean in (0.68, 0.7, 0.8)]
    assert spread == [False, True, True]
    perfect = claim(value=1.0).zone(Level(0.25, 0.002))[0]
    assert perfect.low == pytest.approx(0.98, abs=1e-6)


def test_the_papers_number_may_be_off_by_half_of_its_last_place():
    one, whole = (paper_interval(0.29, decimals) for decimals in (1, 0))
    assert one.low - whole.low == pytest.approx(0.0045, abs=2e-4)
    assert whole.high - one.high == pytest.approx(0.0045, abs=2e-4)
    bound = {"value": 0.29, "relation": "at most"}
    assert not claim(**bound).agrees(0.322, level=EVEN)
    assert claim(**bound, decimals=0).agrees(0.322, level=EVEN)
    assert paper_interval(1.0, 1).high == 1.0
    assert paper_interval(0.0, 1).low == 0.0


@pytest.mark.parametrize(
    ("relation", "mean", "sd", "holds"),
    [
        ("at most", 0.0, math.nan, True),
        ("at most", 0.52, math.nan, True),
        ("at most", 0.5201, math.nan, False),
        ("at most", 0.54, 0.02, True),
        ("at most", 0.5401, 0.02, False),
        ("at least", 1.0, math.nan, True),
        ("at least", 0.48, math.nan, True),
        ("at least", 0.4799, math.nan, False),
        ("at least", 0.46, 0.02, True),
        ("at least", 0.4599, 0.02, False),
    ],
)
def test_a_bound_is_held_with_the_same_margin(relation, mean, sd, holds):
    assert claim(relation=relation).agrees(mean, sd) is holds


@pytest.mark.parametrize(
    ("relation", "mean", "holds"),
    [
        ("at most", 0.5, True),
        ("at most", 0.5001, False),
        ("at least", 0.5, True),
        ("at least", 0.4999, False),
        ("equals", 0.5, True),
        ("equals", 0.5001, False),
    ],
)
def test_at_a_threshold_only_the_side_counts_however_wide_the_spread(relation, mean, holds):
    at = claim(relation=relation, tolerance=0)
    assert at.agrees(mean, 0.4) is holds
    assert at.agrees(mean) is holds


def test_a_tolerance_of_its_own_takes_the_place_of_the_rule():
    rank = claim(unit="number", value=130, relation="at least", tolerance=13)
    assert [rank.agrees(m, 50.0) for m in (117.0, 116.9, 300.0)] == [True, False, True]
    narrow = claim(tolerance=0.001)
    assert not narrow.agrees(0.51, 0.3)


def test_numbers_are_compared_as_they_are_written():
    """0.05 - 0.03 is a little more than 0.02 in binary, though not in decimals."""
    assert 0.05 - 0.03 > 0.02
    assert claim(value=0.03).agrees(0.05)
    assert claim(value=0.1 + 0.2, tolerance=0).agrees(0.3)


def test_a_difference_as_large_as_the_rounding_is_none():
    at = {relation: claim(value=0.0, relation=relation, tolerance=0) for relation in RELATIONS}
    assert [at[relation].agrees(ROUNDING) for relation in RELATIONS] == [True, True, True]
    assert [at[relation].agrees(2 * ROUNDING) for relation in RELATIONS] == [False, False, True]
    above = {
        relation: claim(value=ROUNDING, relation=relation, tolerance=0) for relation in RELATIONS
    }
    assert [above[relation].agrees(0.0) for relation in RELATIONS] == [True, True, True]
    assert [above[relation].agrees(-ROUNDING) for relation in RELATIONS] == [False, True, False]


@pytest.mark.parametrize(
    ("sd", "holds"), [(0.0, True), (0.02, True), (0.0201, False), (math.nan, False)]
)
def test_a_claim_on_the_spread_is_about_the_spread(sd, holds):
    about = claim(statistic="sd", relation="at most", value=0.02, tolerance=0)
    assert about.agrees(0.9, sd) is holds
    assert about.agrees(0.0, sd) is holds
    less = claim(statistic="sd", relation="at most", value=0.015, tolerance=0.005)
    assert less.agrees(0.9, sd) is holds
    without = claim(statistic="sd", relation="at most", value=0.02)
    assert without.agrees(0.9, sd) is holds


def test_claims_on_a_spread_are_all_held_to_the_side():
    about = [it for it in claims().values() if it.statistic == "sd"]
    assert about
    assert all(it.tolerance == 0 and it.relation == "at most" for it in about)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5))
def test_a_value_holds_if_and_only_if_both_bounds_do(value, mean, sd):
    both = [claim(value=value, relation=r).agrees(mean, sd) for r in ("at most", "at least")]
    assert claim(value=value).agrees(mean, sd) == all(both)
    assert any(both)


def test_verdicts():
    it, near, far = claim(), (0.52, math.nan, None), (0.4799, math.nan, None)
    assert it.verdict({"all": near, "others": (0.5, 0.0, None)}) == "reproduced"
    assert it.verdict({"all": near, "others": far}) == "only under all"
    assert it.verdict({"all": far, "others": (1.0, 0.0, None)}) == "not reproduced"
    assert it.verdict({"all": far, "others": (0.54, 0.02, None)}) == "only under others"
    assert it.verdict({}) == "not tested"
    assert reproduction({"a": True, "b": False, "c": True}) == "only under a, c"


# For readers.


def test_a_claim_is_written_with_its_relation_and_unit():
    assert str(claim()) == "50.0%"
    assert str(claim(relation="at most")) == "≤ 50.0%"
    assert str(claim(relation="at least", unit="number", value=130, tolerance=1)) == "≥ 130"
    assert str(claim(unit="number", value=-0.154, tolerance=1)) == "-0.154"
    assert str(claim(unit="number", value=2e6, tolerance=1)) == "2e+06"


def test_a_measured_number_is_written_in_the_unit_of_its_claim():
    assert claim().write(0.5, 0.01) == "50.0 ± 1.0%"
    assert claim(unit="number", value=3, tolerance=1).write(3, 0.25) == "3.0 ± 0.2"


# Where the paper disagrees with itself.

WITH_ARITHMETIC = {
    "chance-of-an-answer": (1 / 64, "1.6%", 1 / 255, "0.4%"),
    "random-retrieval": (2 / 16, "12.5%", None, None),
}
"""Contradictions of one sentence with what follows from others: the value, as the paper has it, and
the other value, as the entry has it."""


def quotes(entry):
    return re.findall(r'"([^"]+)"', f"{entry.what} {entry.where}")


def test_there_are_contradictions_enough():
    assert len(contradictions()) >= 25


@pytest.mark.parametrize("name", contradictions())
def test_a_contradiction_has_two_sides(name):
    entry = contradictions()[name]
    if name in WITH_ARITHMETIC:
        value, written, other, known = WITH_ARITHMETIC[name]
        assert percent(value) == written
        assert written in entry.what
        if other is not None:
            assert percent(other) == known
            assert known in entry.reading
        return
    places = entry.where.split("; ")
    sides = entry.what.split("; ")
    assert max(len(places), len(quotes(entry)), len(sides)) >= 2
    assert all(re.search(r"§|Table|Fig|Eq|abstract|finding", place) for place in places)


@pytest.mark.parametrize("name", contradictions())
def test_what_a_contradiction_quotes_is_in_the_paper(name, paper):
    entry = contradictions()[name]
    for quote in quotes(entry):
        assert squash(quote) in squash(paper), quote
    for share in re.findall(r"\d+(?:\.\d+)?(?:–\d+(?:\.\d+)?)?%", f"{entry.what} {entry.where}"):
        assert re.search(rf"(?<![\d.]){re.escape(share)}", paper), share


@pytest.mark.parametrize("name", contradictions())
def test_a_contradictions_places_exist(name, paper):
    entry, parts = contradictions()[name], parts_of(paper)
    assert set(places_of(entry.where.replace("abstract", "Abstract"))) <= parts.keys()


def test_the_sparse_pattern_has_as_many_pairs_as_its_note_says():
    """Twelve percent as it is here; nine if its global tokens saw no more than other tokens do."""
    sizes = PROFILES["paper"]
    length = sizes.evidence.length
    torch.manual_seed(0)
    layer = SparseAttention(Size(vocabulary=2, length=length, width=sizes.width), heads=4)
    pattern = layer.allowed(length)
    i = torch.arange(length)
    seen = (i[:, None] - i).abs() <= layer.reach
    seen[:, layer.where] = True
    shares = [f"{100 * allowed.float().mean():.0f}%" for allowed in (pattern, seen)]
    assert shares == ["12%", "9%"]
    note = claims()["sparse-pairs"].note
    assert all(share in note for share in shares)


def test_the_ratio_of_sizes_is_that_of_its_note():
    assert f"{1011781632 / 486e3:,.0f}" in claims()["backbone-ratio"].note


def test_a_span_is_the_lowest_and_the_highest_as_they_read():
    share = claim(value=0.5)
    assert share.span([0.5, 0.25, 0.75]) == "25.0% to 75.0%"
    assert share.span([0.50001, 0.5]) == "50.0%"
    assert share.span([]) == ""
