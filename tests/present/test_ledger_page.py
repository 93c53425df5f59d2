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
from fcilib.present.ledger_rule import (
    EXAMPLES,
    LINES,
    answer,
    decided_table,
    examples,
    in_words,
    kind_of,
    lacking,
    open_table,
    rule_page,
    title_of,
    verdicts_table,
    worked,
    written,
)
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
        assert in_words(entry.judgement.verdict) in rows[name].text
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
    shown = re.findall(r"(\d+) claims?(?:, (\d+) groups?)?", text)
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


def test_an_interval_says_what_one_seed_leaves_out(page):
    """A number that is no share has no error of test sequences, and a single seed none at all."""

    def interval(claim, experiment):
        runs = [p.text for p in page.find(id=claim)("p") if p.text.startswith(experiment)]
        return " ".join(runs)

    assert "(one seed: the error of the test sequences alone)" in interval(
        "sparse-attention", "sparse"
    )
    assert "(one seed: its error is not known)" in interval("rank-sparse", "small-sparse")
    assert "one seed" not in interval("hotpotqa-bm25", "bm25")  # nothing is drawn
    assert "one seed" not in interval("raw", "raw")


def test_the_answer_counts_what_is_decided_and_contradicted(entries):
    decided = decisive(entries)
    text = " ".join(answer(decided).split())
    decided_ones = [e for e in decided.values() if e.judgement.kind not in (OPEN, NOT_HERE)]
    assert f"Of {len(claims())} claims our runs decide {len(decided_ones)}: " in text
    count = summary(decided)[CONTRADICTED]
    assert f": {len(decided_ones) - count} stand, some under a condition, and {count} are " in text
    assert "the claims that raw embeddings and left-to-right recurrences fail" in text
    groups = evidence(decided)[CONTRADICTED]
    assert f"the {count} contradictions come from only {groups} groups of trainings" in text
    assert "We decide one claim without training" in text
    assert text.count('href="#hotpotqa-random"') == 1


def test_claims_that_follow_by_counting_are_the_exceptions(entries):
    decided = decisive(entries)
    counted = decided["hotpotqa-random"]
    several = " ".join(answer({**decided, "again": counted}).split())
    assert "We decide 2 claims on random picks without training, by counting." in several
    without = {n: e for n, e in decided.items() if not e.claim.counted}
    assert "without training" not in answer(without)


def test_the_answer_names_no_claim_that_is_not_contradicted(entries):
    decided = {n: e for n, e in decisive(entries).items() if e.judgement.kind != CONTRADICTED}
    text = " ".join(answer(decided).split())
    assert "and 0 are contradicted. " in text
    assert "the claims that" not in text


def test_every_open_claim_lacks_one_thing(entries):
    decided = decisive(entries)
    open_ones = [e for e in decided.values() if e.judgement.kind == OPEN]
    counts = dict(re.findall(r"^\| (.*) \| (\d+) \|$", open_table(decided), re.MULTILINE))
    assert sum(map(int, counts.values())) == len(open_ones)
    undefined = sum(bool(e.claim.undefined) for e in open_ones)
    assert counts["a definition that the paper does not give"] == str(undefined)


def test_every_decided_claim_is_in_the_list_once(entries):
    decided = decisive(entries)
    expected = {n for n, e in decided.items() if e.judgement.kind not in (OPEN, NOT_HERE)}
    parts = [decided_table(decided, aside) for aside in (False, True)]
    assert all('href="#' in part for part in parts)
    table = "\n".join(parts)
    linked = re.findall(r'href="#([\w-]+)"', table)
    assert sorted(linked) == sorted(expected)
    rows = [row for row in table.split("\n") if 'href="#raw"' in row]
    claim, (found, *_) = decided["raw"].claim, decided["raw"].findings
    assert f"| {claim.write(found.mean, float('nan'))} | " in rows[0]
    assert rows[0].endswith("| contradicted |")
    (one,) = [row for row in table.split("\n") if 'href="#one-layer"' in row]
    assert one.endswith("| holds if the query is excluded |")
    (tie,) = [row for row in table.split("\n") if 'href="#content-only"' in row]
    assert tie.endswith("| 50.0% | 100.0% | holds if a tie counts as a miss (0.0%) |")
    (question,) = [row for row in table.split("\n") if 'href="#hotpotqa-random"' in row]
    shown = {
        f.protocol: claim.write(f.mean, float("nan")) for f in decided["hotpotqa-random"].findings
    }
    assert f"| – | – | holds if right segments are counted ({shown['segment recall']})" in question
    assert question.endswith(f", else {shown['']} |")


def test_the_list_splits_a_line_that_came_out_twofold_and_has_claims_that_no_line_names(entries):
    decided = decisive(entries)
    line = next(line for line in LINES if "unidirectional-flow" in line.claims)
    first, second, *_ = line.claims
    parted = {
        first: decided[first],
        second: with_verdict(decided[second], Judgement("holds", (), ("flow-2",))),
        "perceiver-1": with_verdict(
            decided["perceiver-1"], Judgement("holds under a way", (), ("perceiver-1",))
        ),
    }
    parted["perceiver-1"].__dict__["findings"] = tuple(
        replace(f, protocol="a way") for f in parted["perceiver-1"].findings[:1]
    )
    _, _, *rows = decided_table(parted).split("\n")
    assert [re.findall(r'href="#([\w-]+)"', row) for row in rows] == [
        [first],
        ["perceiver-1"],
        [second],
    ]
    assert rows[1].startswith("| Perceiver, one hub, precision. |")
    mean = parted["perceiver-1"].findings[0].mean
    assert rows[1].endswith(f"| – | – | holds under a way ({100 * mean:.1f}%) |")


def test_a_bound_on_our_number_is_rounded_up(entries):
    claim = claims()["jump-ratio"]
    row = next(r for r in decided_table(decisive(entries), True).split("\n") if "#jump-ratio" in r)
    means = [f.mean for f in decisive(entries)["jump-ratio"].findings]
    shown = [float(n) for n in re.findall(r"at most ([\d.]+)", row)]
    assert all(mean <= n < mean + 0.01 for mean, n in zip(means, shown, strict=True))
    assert written(claim, 1.0, up=True) == "1.00"
    assert [written(claim, *ends) for ends in ((1.5, 3), (3, 1.5), (0.5, 0.52))] == [
        "1.5",
        "3.0",
        "0.50",
    ]


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (("2 more seeds (has 1 of 3)",), "seeds"),
        (("more seeds of Flow, 2 layers (its interval is too wide)",), "seeds"),
        (("3 seeds at the paper’s sizes",), "seeds"),
        (
            ("1 more seed (has 2 of 3)", "more seeds of Flow, 2 layers (its interval is too wide)"),
            "seeds",
        ),
        (("2 more seeds (has 1 of 3)", "runs of Flow, 4 layers"), "runs"),
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


def test_the_rule_is_stated_with_its_numbers(entries):
    decided = decisive(entries)
    text = re.sub(r"\s+", " ", rule_page(decided))
    assert f"within {100 * STANDARD.margin:g} points" in text
    assert f"at least {STANDARD.seeds} seeds" in text
    assert f"assume {STANDARD.paper_examples:,} test sequences" in text


def test_every_verdict_has_its_count_and_its_meaning(entries):
    decided = decisive(entries)
    rows = re.findall(r"^\| \*(.*)\* \| (\d+) \| .{20,} \|$", verdicts_table(decided), re.MULTILINE)
    counts = summary(decided)
    assert [(v, int(n)) for v, n in rows] == [(kind_of(v), counts[v]) for v in VERDICTS]


def test_without_records_nothing_is_worked_out(entries):
    bare = {name: replace(decisive(entries)[name]) for name in EXAMPLES}
    for name in bare:
        bare[name].__dict__["findings"] = ()
    assert examples(bare) == ""


def test_some_verdicts_are_worked_out_and_all_but_the_first_are_folded(entries):
    decided = decisive(entries)
    first, *folded = examples(decided).split("::::{dropdown} ")
    assert f'href="#{EXAMPLES[0]}"' in first
    assert len(folded) == len(EXAMPLES) - 1 == 3
    for name, text in zip(EXAMPLES, (first, *folded), strict=True):
        assert title_of(claims()[name]) in text
        assert worked(decided[name]) in text
        assert f"The verdict: **{in_words(decided[name].judgement.verdict)}**." in text
    assert len({decided[name].judgement.kind for name in EXAMPLES}) == 4


def test_an_open_example_says_what_is_missing(entries):
    waiting = decisive(entries)["causal-attention"]
    (missing,) = waiting.judgement.missing
    text = worked(waiting)
    assert "undecided" in text
    assert text.endswith(f"The verdict: **open**. Missing: {missing}.\n")
    decided = worked(decisive(entries)["raw"])
    assert "Missing" not in decided


INSIDE = "yes, our number lies inside"
OUTSIDE = "no, the whole interval lies outside"
BOTH = "No, the whole interval lies outside, for every reading."


@pytest.mark.parametrize(
    ("name", "answers", "fair", "conclusion"),
    [
        ("raw", BOTH, "Yes:", "No. It says that the model fails, that is, reaches at most 35.0%."),
        (
            "one-layer",
            f"{OUTSIDE}. Query excluded: {INSIDE}.",
            "Yes:",
            "Yes, for every reading. This matters only if no reading agrees.",
        ),
        (
            "random-projections",
            BOTH,
            "Yes:",
            "Yes. It says that the model fails, that is, reaches at most 35.0%.",
        ),
        ("rank-90", BOTH, "Yes:", "Yes. It is: at most 37.5%."),
        ("jump-ratio", BOTH, "Yes:", "There is none"),
        ("perceiver-1", INSIDE, "No: it lacks 2 more seeds", "Not asked yet."),
        (
            "hotpotqa-random",
            "Right segments counted: yes, chance lies inside, and our interval contains chance",
            "It need not be: the number follows by counting",
            "This matters only if no reading agrees.",
        ),
    ],
)
def test_an_example_says_what_decides(entries, name, answers, fair, conclusion):
    _, _, agrees, trial, concludes, *_ = worked(decisive(entries)[name]).split("\n")
    assert answers in agrees
    assert trial.startswith(f"4. *Is the trial fair?* {fair}")
    if fair == "Yes:":  # a probe is measured once
        followed = all(finding.curve for finding in decisive(entries)[name].findings)
        assert ("no longer changes" in trial) == followed
        assert ("measured after training alone" in trial) != followed
    assert concludes.startswith(f"5. *Is the paper’s conclusion true?* {conclusion}")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("one-layer", " (within 2 points)."),
        (
            "raw",
            " (the paper’s number may be off by this much, if it was counted on 1,000 sequences).",
        ),
        (
            "random-projections",
            " (below: half the distance from chance; above: the paper’s number may",
        ),
        ("rank-90", "%."),
    ],
)
def test_an_example_says_why_so_much_agrees(entries, name, why):
    assert why in worked(decisive(entries)[name]).split("\n")[1]


def test_an_example_whose_interval_does_not_tell_says_so(entries):
    entry = decisive(entries)["memory-bank"]
    assert "*Does ours agree?* Undecided, the interval does not tell" in worked(entry)


def test_other_rules_unfold_to_the_verdicts_that_would_change(entries):
    decided = decisive(entries)
    text = other_rules(decided).partition("**Near")[0]
    folded = BeautifulSoup(text, "html.parser").select("details")
    for rule in ALTERNATIVES:
        verdicts = sensitive(decided, rule)
        title = f"If {rule.name}: {len(verdicts)} verdicts would change"
        parts = [part for part in folded if part.select_one("summary").text == title]
        found = {
            link["href"].removeprefix("#"): line.em.text
            for part in parts
            for line in part.select("li")
            for link in line.select("a")
        }
        assert found == {name: in_words(verdict) for name, verdict in verdicts.items()}
        assert bool(parts) == bool(verdicts)
        assert title in text


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


def test_a_contradicted_row_says_whether_it_is_the_conclusion_or_a_bare_number(entries, page):
    for name, entry in decisive(entries).items():
        said = page.select_one(f'tr[id="{name}"] .ledger-verdict').text
        bare = entry.claim.direction is None
        contradicted = entry.judgement.kind == CONTRADICTED
        assert ("the claim is just this number or bound" in said) == (contradicted and bare)
        assert ("the paper’s conclusion is false" in said) == (contradicted and not bare)


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
    counts = summary(decisive(entries))
    assert labels == [f"{kind_of(kind)} ({count})" for kind, count in counts.items()]


def test_every_part_of_the_page_is_written(entries, tmp_path):
    (tmp_path / "book").mkdir()
    ledger_page.write_ledger_pages(tmp_path / "book", entries)
    written = {path.name for path in (tmp_path / "book" / "_generated").iterdir()}
    page = (ROOT / "book" / "claims.md").read_text(encoding="utf-8")
    included = set(re.findall(r"_generated/([\w.]+)", page))
    assert included == written
