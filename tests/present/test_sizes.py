"""What both sizes answer alike, and numbers on pages that are not chapters."""

import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fcilib.ledger import verdict
from fcilib.ledger.claims import claims
from fcilib.ledger.ledger import decisive, whole_ledger
from fcilib.present import recorded, sizes
from fcilib.publish.project import find_project
from fcilib.study import Study
from fcilib.study.notation import percent

ROOT = find_project(Path(__file__).parent).root


@pytest.fixture(scope="module")
def entries():
    return whole_ledger(ROOT / "records")


def test_a_side_is_said_only_where_the_whole_interval_is_on_it(entries):
    met = set()
    for (name, experiment, protocol), answers in sizes.sides(entries).items():
        claim = claims()[name]
        for profile, answer in zip(("quick", "paper"), answers, strict=True):
            (found,) = (
                f
                for f in entries[profile][name].findings
                if (f.experiment, f.protocol) == (experiment, protocol)
            )
            line = claim.direction or claim
            low, high, end = found.interval.low, found.interval.high, line.value
            within = high <= end if line.relation == "at most" else low >= end
            beyond = low > end if line.relation == "at most" else high < end
            assert (within, beyond) == (answer == "true", answer == "false")
            met.add(answer)
    assert met == {"true", "false"}


def test_a_bound_has_no_margin_on_this_page(entries):
    """A number that agrees with "≤ 29%" in the ledger may still lie above 29%."""
    claim = claims()["segment-ceiling"]
    found = entries["paper"]["segment-ceiling"].findings
    above = [f for f in found if f.interval.low > claim.value]
    assert any(verdict.compared(claim, f) for f in above)
    assert {sizes.side(claim, f) for f in above} == {"false"}


def test_a_number_alone_has_no_side(entries):
    claim = claims()["mqar-raw-accuracy"]
    assert sizes.statement(claim) is None
    assert "mqar-raw-accuracy" not in {name for name, *_ in sizes.sides(entries)}
    with pytest.raises(ValueError, match="no statement"):
        sizes.side(claim, entries["paper"]["mqar-raw-accuracy"].findings[0])


SAID = {"yes": "true", "no": "false"}
ANSWERS = r'claims\.html#([\w.-]+)">.*\| (\w+): [^|]*\| (\w+): '
"""A row: its claim, and the answers at the two sizes."""


def parts_of(entries):
    """The rows of the tables, by what stands before them."""
    _, *folded = sizes.size_tables(entries).split("::::{dropdown} ")
    titled = {"change": sizes.turned_text(entries)}
    titled |= {part.partition("\n")[0]: part for part in folded}
    return {
        title: [
            (name, SAID.get(small, small), SAID.get(large, large))
            for name, small, large in re.findall(ANSWERS, part)
        ]
        for title, part in titled.items()
    }


def test_tables_hold_every_comparison_once_and_count_them(entries):
    found = sizes.sides(entries)
    turned, true, false, unsure, ledger = parts_of(entries).items()
    same = {key: a for key, (a, b) in found.items() if a == b}
    changed = len(found) - len(same)
    answer = " ".join(sizes.size_answer(entries).split())
    assert f"in {changed} of {len(found)} comparisons" in answer
    said = (
        f"other {len(found)}, {len(same)} have the same answer at both sizes, and {changed} change."
    )
    assert said in answer
    assert f"**{changed} answers change.**" in sizes.turned_text(entries)
    assert {n for n, *_ in turned[1]} == {k[0] for k in found.keys() - same.keys()}
    assert all({a, b} == {"true", "false"} for _, a, b in turned[1])
    for (title, rows), side in ((true, "true"), (false, "false")):
        keys = [key for key, told in same.items() if told == side]
        assert title == f"The {len(keys)} that are {side} at both sizes"
        assert {n for n, *_ in rows} == {name for name, *_ in keys}
        assert all((a, b) == (side, side) for _, a, b in rows)
    (close,) = map(int, re.findall(r"(\d+) of the \d+ are too close to call", answer))
    assert f"We made {len(found) + close} comparisons" in answer
    assert unsure[0].startswith(f"The {close} that are too close to call")
    assert all("undecided" in (a, b) for _, a, b in unsure[1])
    assert all({a, b} == {"agrees", "differs"} for _, a, b in ledger[1])


def test_what_the_ledgers_turns_have_in_common_is_said_with_its_numbers(entries):
    turned, _ = sizes.ledger_turns(entries)
    fall = [key for key, told in turned.items() if key[2] == "all" and told[0] == "agrees"]
    said = " ".join(sizes.turned_text(entries).split())
    assert f"{len(fall)} of the {len(turned)} are alike: the query is included, and" in said
    means = [
        100 * f.mean
        for name, experiment, protocol in fall
        for f in entries["paper"][name].findings
        if (f.experiment, f.protocol) == (experiment, protocol)
    ]
    assert f"and {min(means):.0f}% to {max(means):.0f}% at the paper’s" in said


def test_what_turns_in_the_ledger_agrees_at_one_size_and_differs_at_the_other(entries):
    turned, decided = sizes.ledger_turns(entries)
    assert 0 < len(turned) < decided
    for (name, experiment, protocol), answers in turned.items():
        for profile, answer in zip(("quick", "paper"), answers, strict=True):
            (found,) = (
                f
                for f in entries[profile][name].findings
                if (f.experiment, f.protocol) == (experiment, protocol)
            )
            assert verdict.compared(claims()[name], found) is (answer == "agrees")
    said = " ".join(sizes.turned_text(entries).split())
    assert f"{len(turned)} of {decided} answers to it change." in said


def test_without_runs_nothing_is_said_of_them(entries):
    bare = {
        profile: {n: replace(e, findings=()) for n, e in part.items()}
        for profile, part in entries.items()
    }
    assert "the query is included" not in sizes.turned_text(bare)
    assert sizes.turned_text(bare).count("None.") == 1
    assert sizes.size_tables(bare).count("None.") == 4


def test_a_row_names_its_models_and_the_reading_where_there_is_one(entries):
    assert "| raw embeddings | ≤ 35.0% (fails) | no: " in sizes.size_tables(entries)
    assert "| causal attention, 1 layer (query excluded) | " in sizes.size_tables(entries)
    text = sizes.turned_text(entries)
    assert "| one layer of causal attention (query included) | at least 98.0% | yes: " in text
    assert "2 of the rows are about a bound of 98%. Their\nmodels succeed at both sizes: " in text


def test_the_plain_table_says_where_a_number_rests_on_one_seed(entries):
    rows = [row for row in sizes.turned_text(entries).split("\n") if "claims.html#" in row]
    alone = [row.count("(one seed)") for row in rows]
    keys = [key for key, (a, b) in sizes.sides(entries).items() if a != b]
    expected = [
        sum(
            f.n == 1
            for profile in ("quick", "paper")
            for f in entries[profile][name].findings
            if (f.experiment, f.protocol) == pair
        )
        for name, *pair in ((k[0], *k[1:]) for k in keys)
        for pair in [tuple(pair)]
    ]
    assert alone == expected
    assert "(one seed)" not in sizes.size_tables(entries)


def test_the_table_of_sizes_has_both_profiles():
    table = sizes.profile_table()
    assert "| tokens in a sequence | 128 | 512 |" in table
    assert "| epochs | 5 | 40 |" in table
    assert "| tokens in a segment | 8 | 32 |" in table


def test_undefined_methods_lead_to_every_claim_that_waits(entries):
    table = sizes.undefined_table(decisive(entries))
    linked = re.findall(r"claims\.html#([\w.-]+)", table)
    assert sorted(linked) == sorted(n for n, c in claims().items() if c.undefined)


def test_what_waits_for_a_definition_is_counted_and_what_needs_weights_besides(entries):
    kinds = Counter((e.judgement.kind, bool(e.claim.undefined)) for e in decisive(entries).values())
    said, *_ = sizes.undefined_table(decisive(entries)).split("\n")
    undefined, elsewhere = kinds["open", True], kinds["not testable here", True]
    assert list(map(int, re.findall(r"\d+", said))) == [undefined + elsewhere, elsewhere]


def test_a_number_on_a_page_is_the_ledgers(entries):
    entry = entries["paper"]["raw"]
    (found,) = entry.by_protocol["others"]
    assert sizes.measured_text(entry, "others") == entry.claim.write(found.mean, found.sd)
    assert sizes.measured_text(entry, "no such") == "–"


def test_a_number_of_two_seeds_has_its_interval_in_place_of_a_deviation(entries):
    entry = entries["paper"]["raw"]
    (found,) = entry.by_protocol["others"]
    two = replace(entry, findings=(replace(found, n=2),))
    low, high = (f"{100 * end:.1f}%" for end in (found.interval.low, found.interval.high))
    expected = f"{100 * found.mean:.1f}% (two seeds, 95% interval from {low} to {high})"
    assert sizes.measured_text(two, "others") == expected


def test_a_rung_is_what_its_chapter_measured():
    folder = ROOT / "records" / "quick"
    parameters = {"profile": "quick", "seeds": 3, "executor": "inline", "records": ""}
    study = Study.from_parameters(parameters)
    base = study.experiment(
        task=study.sizes.ladder.model_copy(update={"rung": "left"}),
        representation=recorded.ladder_representations(study.sizes)["Flow"],
        router=recorded.Investigator(candidates="others"),
        training=study.sizes.climbing,
    )
    values = [
        study.records.find(base.with_seed(s)).metrics["precision_lookalike"] for s in range(3)
    ]
    text = recorded.rung_text(folder, "left", "Flow")
    assert text.startswith(percent(math.fsum(values) / 3).rstrip("%"))
    assert "±" in text


@pytest.mark.parametrize(("rung", "label"), [("left", "no such"), ("nowhere", "Flow")])
def test_a_rung_that_was_not_measured_is_refused(rung, label):
    with pytest.raises((KeyError, ValueError)):
        recorded.rung_text(ROOT / "records" / "quick", rung, label)


def test_a_rung_without_records_is_refused(tmp_path):
    (tmp_path / "quick").mkdir()
    with pytest.raises(KeyError, match="Flow on left: no record"):
        recorded.rung_text(tmp_path / "quick", "left", "Flow")
