"""The ledger's page: a row for each claim, which leads on to what its verdict rests on."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup

from fcilib.ledger import catalogue
from fcilib.ledger.agreement import STANDARD
from fcilib.ledger.claims import claims
from fcilib.ledger.ledger import (
    decisive,
    evidence,
    near_borders,
    sensitive,
    summary,
    whole_ledger,
)
from fcilib.ledger.verdict import (
    ALTERNATIVES,
    CONTRADICTED,
    NOT_HERE,
    OPEN,
    VERDICTS,
    Judgement,
)
from fcilib.present import ledger_page
from fcilib.present.ledger_details import NEAR, other_rules, statistics_part
from fcilib.present.ledger_files import ledger_csv, ledger_json
from fcilib.present.ledger_rule import EXAMPLES, answer, lacking, rule_page
from fcilib.publish.project import find_project

ROOT = find_project(Path(__file__).parent).root


@pytest.fixture(scope="module")
def entries():
    return whole_ledger(ROOT / "records")


@pytest.fixture(scope="module")
def page(entries):
    table = ledger_page.ledger_table(entries, ledger_page.decided_in(ROOT / "book"))
    return BeautifulSoup(table, "html.parser")


def test_every_claim_has_a_row_with_an_address_of_its_own_and_its_verdict(entries, page):
    rows = {row["id"]: row for row in page.select("tbody tr")}
    assert list(rows) == list(claims())
    for name, entry in decisive(entries).items():
        assert rows[name].select_one(f'a[href="#{name}"]')
        assert entry.judgement.verdict in rows[name].text
        assert all(missing in rows[name].text for missing in entry.judgement.missing)


def test_a_row_leads_to_the_code_and_the_records_of_every_run(entries, page):
    source = Path(catalogue.__file__).read_text(encoding="utf-8").split("\n")
    for name, entry in decisive(entries).items():
        links = [a["href"] for a in page.select(f'tr[id="{name}"] a')]
        for finding in entry.findings or entries["quick"][name].findings:
            lines = [link.partition("#L")[2] for link in links if "catalogue.py#L" in link]
            assert any(f'("{finding.experiment}"' in source[int(line) - 1] for line in lines)
            for record in finding.records:
                assert f"{ledger_page.REPOSITORY}/records/{record}" in links
                assert (ROOT / "records" / record).is_file()


def test_links_lead_to_the_repository_of_the_book():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    repository = config["repository"]
    assert ledger_page.REPOSITORY == f"{repository['url']}/blob/{repository['branch']}"


def test_a_curve_is_drawn_from_its_first_epoch_to_its_last(entries, page):
    finding = decisive(entries)["raw"].findings[0]
    curve = page.select_one('tr[id="raw"] svg')
    points = [p.split(",") for p in curve.select_one("polyline")["points"].split()]
    assert len(points) == len(finding.curve) == 40
    heights = [(24 - float(y)) / 22 for _, y in points]
    assert heights == pytest.approx(finding.curve, abs=0.01)


def test_the_bar_counts_claims_and_the_results_behind_those_that_are_decided(entries):
    decided = decisive(entries)
    text = BeautifulSoup(ledger_page.bar(decided), "html.parser").text
    counts, results = summary(decided), evidence(decided)
    shown = re.findall(r"(\d+) claims?(?:, (\d+) results?)?", text)
    undecided = {OPEN, NOT_HERE}
    assert shown == [
        (str(counts[kind]), "" if kind in undecided else str(results[kind]))
        for kind in VERDICTS
        if counts[kind]
    ]
    assert all(results[kind] <= counts[kind] for kind in VERDICTS)


def test_the_whole_ledger_can_be_had_as_csv_and_json(entries):
    decided = decisive(entries)
    table = pd.read_csv(io.StringIO(ledger_csv(entries)))
    assert list(dict.fromkeys(table.claim)) == list(claims())
    content = json.loads(ledger_json(entries))
    for name, entry in decided.items():
        assert set(table[table.claim == name].verdict) == {entry.judgement.verdict}
        assert content[name]["verdict"] == entry.judgement.verdict
        assert content[name]["address"] == f"book/claims.html#{name}"
        for profile in entries:
            found = table[(table.claim == name) & (table.profile == profile)]
            assert list(found["mean"]) == [f.mean for f in entries[profile][name].findings]


def test_the_answer_counts_every_claim_and_what_the_open_ones_lack(entries):
    decided = decisive(entries)
    text = answer(decided)
    decided_ones = [e for e in decided.values() if e.judgement.kind not in (OPEN, NOT_HERE)]
    assert f"Our runs decide {len(decided_ones)} of {len(claims())} claims" in text
    counts = [count for count in summary(decided).values() if count]
    assert list(map(int, re.findall(r"\*\*(\d+)\*\*", text))) == counts
    open_ones = [e for e in decided.values() if e.judgement.kind == OPEN]
    assert f"they rest on {evidence(decided)[CONTRADICTED]} sets" in text
    lacks = list(map(int, re.findall(r"\d+", text.partition("Of the open claims")[2])))
    assert sum(lacks) == len(open_ones)
    assert lacks[1] == sum(bool(e.claim.undefined) for e in open_ones)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (("2 more seeds (has 1 of 3)",), "seeds"),
        (("a narrower interval of Flow, 2 layers",), "seeds"),
        (("3 seeds at the paper’s sizes",), "seeds"),
        (("1 more seed (has 2 of 3)", "a narrower interval of Flow, 2 layers"), "seeds"),
        (("2 more seeds (has 1 of 3)", "runs of Flow, 4 layers under all"), "runs"),
    ],
)
def test_what_an_open_claim_lacks(entries, missing, expected):
    entry = with_verdict(decisive(entries)["raw"], Judgement(OPEN, missing))
    assert lacking(entry) == expected
    undefined = replace(entry, claim=claims()["bloom"])
    undefined.__dict__["judgement"] = entry.judgement
    assert lacking(undefined) == "a definition"
    cost = replace(entry, claim=claims()["rank-one-linear"])
    cost.__dict__["judgement"] = entry.judgement
    assert lacking(cost) == "a way to judge costs"
    assert lacking(with_verdict(entry, Judgement(CONTRADICTED))) is None


def with_verdict(entry, judgement):
    """An entry with another verdict."""
    other = replace(entry)
    other.__dict__["judgement"] = judgement
    return other


def test_the_rule_is_stated_with_its_numbers_three_examples_and_other_rules(entries):
    decided = decisive(entries)
    text = re.sub(r"\s+", " ", rule_page(decided))
    assert f"within {100 * STANDARD.margin:g} points" in text
    assert f"at least {STANDARD.seeds} seeds" in text
    assert all(f"| *{verdict}" in text for verdict in VERDICTS)
    rows = example_rows(entries)
    linked = [re.findall(r'#([\w-]+)">(.*)</a>', title) for title in rows["line"]]
    statements = [claims()[name].statement.rstrip(".") for name in EXAMPLES]
    # What two claims state of one model is told apart by its metric.
    statements[1] += ", precision"
    assert linked == [[pair] for pair in zip(EXAMPLES, statements, strict=True)]
    assert rows["**verdict**"] == [f"***{decided[n].judgement.verdict}***" for n in EXAMPLES]


def example_rows(entries):
    """The cells of the table of examples, by the label of its row."""
    table = rule_page(decisive(entries)).partition("### Three examples")[2]
    rows = re.findall(r"^\| (.*) \|$", table, re.MULTILINE)
    cells = [row.split(" | ") for row in rows]
    return {label: rest for label, *rest in cells}


def test_an_example_says_what_decides(entries):
    rows = example_rows(entries)
    literal, other = rows["4 answer, literal reading"], rows["4 answer, other reading"]
    assert literal == ["*differs*: the whole interval lies outside"] * 3
    assert other == [
        "*differs*: the whole interval lies outside",
        "*agrees*: the mean lies inside",
        "*agrees*: chance lies inside, and our interval contains chance",
    ]
    assert rows["6 statement"] == [
        "“precision is at most 35.0%” is false",
        "not asked",
        "not asked",
    ]
    assert [cell.partition(":")[0] for cell in rows["5 fair trial"]] == ["yes", "no", "not needed"]


def test_other_rules_unfold_to_the_verdicts_that_would_change(entries):
    decided = decisive(entries)
    folded = BeautifulSoup(other_rules(decided), "html.parser").select("details")
    for rule, part in zip(ALTERNATIVES, folded, strict=False):
        verdicts = sensitive(decided, rule)
        title = f"If {rule.name}: {len(verdicts)} verdicts would change"
        assert part.select_one("summary").text == title
        found = {
            link["href"].removeprefix("#"): line.em.text
            for line in part.select("li")
            for link in line.select("a")
        }
        assert found == verdicts


def test_the_rule_names_the_papers_own_error_and_what_chance_takes(entries):
    text = re.sub(r"\s+", " ", statistics_part(decisive(entries)))
    assert f"one seed and {STANDARD.paper_examples:,} test sequences" in text
    assert f"stays below {STANDARD.told:g} times chance" in text
    assert f"no more than {100 * STANDARD.at_rest:g} point above or below" in text
    assert f"farther than {STANDARD.widest:g} margins" in text
    listed = text.partition("have no chance level")[2].partition("**Independence")[0]
    without = re.findall(r'href="#([\w-]+)', listed)
    assert without == [name for name, it in claims().items() if not it.chance]


def test_the_page_names_what_lies_near_a_border_and_what_would_turn(entries):
    decided = decisive(entries)
    text = other_rules(decided).partition("**Near a border.**")[2]
    said, unfolded, *rest = text.split("</summary>")
    near = near_borders(decided, NEAR)
    assert set(re.findall(r'href="#([\w-]+)"', unfolded)) == set(near)
    assert f"change for {len(near)} of the {len(claims())} claims" in re.sub(r"\s+", " ", said)
    moved = [sensitive(decided, replace(STANDARD, slack=by)) for by in (-NEAR, NEAR)]
    assert set(re.findall(r'href="#([\w-]+)"', "".join(rest))) == {*moved[0], *moved[1]}
    assert ("No verdict would change." in text) == (not any(moved))


def test_chance_stands_beside_every_number_that_has_one_and_no_other(entries, page):
    for name in ("cosine-gap", "transition-epoch", "jump-ratio", "seed-spread"):
        assert "chance" not in page.select_one(f'tr[id="{name}"] .ledger-measured').text
    for name, chance in {"raw": "0.2%", "segment-flow": "6.2%", "mqar-raw": "0.4%"}.items():
        for line in page.select(f'tr[id="{name}"] td:nth-of-type(4) small'):
            assert line.text == f"chance {chance}"


def test_rows_with_one_statement_are_told_apart_by_their_metric(page):
    titles = [title.text for title in page.select("tbody tr > td > b")]
    assert len(set(titles)) == len(titles) == len(claims())


def test_a_number_that_is_no_mean_of_a_metric_says_what_it_is(page):
    shown = {n: page.select_one(f'tr[id="{n}"] .ledger-paper').text for n in claims()}
    assert shown["transition-rise"] == "a rise of ≥ 96.6%"
    assert shown["seed-spread"] == "s.d. ≤ 2.0%"
    assert shown["raw"] == "1.2%"


def test_a_filter_says_how_many_claims_it_has(entries, page):
    labels = [label.text.strip() for label in page.select(".ledger-tools label")]
    assert labels == [f"{kind} ({count})" for kind, count in summary(decisive(entries)).items()]


def test_every_part_of_the_page_is_written(entries, tmp_path):
    (tmp_path / "book").mkdir()
    ledger_page.write_ledger_pages(tmp_path / "book", entries)
    written = {path.name for path in (tmp_path / "book" / "_generated").iterdir()}
    page = (ROOT / "book" / "claims.md").read_text(encoding="utf-8")
    included = set(re.findall(r"_generated/([\w.]+)", page))
    assert included == written
