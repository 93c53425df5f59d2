"""What a reader sees first: counted from the ledger, the same in the book and in the README."""

import dataclasses
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fcilib.ledger.ledger import decisive, evidence, whole_ledger
from fcilib.ledger.verdict import UNDER, VERDICTS
from fcilib.present import first_screen
from fcilib.present.headlines import (
    COLOURS,
    EXCLUDED,
    HEADLINES,
    headlines,
    headlines_alt,
    headlines_figure,
    headlines_svg,
)
from fcilib.present.ledger_page import STYLES
from fcilib.publish.project import find_project

ROOT = find_project(Path(__file__).parent).root


@pytest.fixture(scope="module")
def entries():
    return whole_ledger(ROOT / "records")


def test_the_readme_and_the_picture_are_what_the_records_give(entries):
    """If not: `fci book --no-execute` makes them."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    part = first_screen.readme_part(entries)
    assert readme == first_screen.with_part(readme, part)
    assert part in readme
    picture = (ROOT / "book" / "_static" / first_screen.PICTURE).read_text(encoding="utf-8")
    assert picture == headlines_svg(headlines(entries))


def test_the_finding_is_said_with_its_numbers_only_while_the_claim_falls(entries):
    text = first_screen.findings(entries)
    raw = entries["paper"]["raw"]
    for protocol in ("all", "others"):
        (found,) = raw.by_protocol[protocol]
        assert f"{100 * found.mean:.1f}" in text
    assert f"{found.n} *seeds*" in text
    fewer = dataclasses.replace(
        raw, findings=tuple(dataclasses.replace(f, n=1) for f in raw.findings)
    )
    assert fewer.judgement.verdict == "open"
    with pytest.raises(ValueError, match="`raw` is open"):
        first_screen.finding({**entries, "paper": {**entries["paper"], "raw": fewer}})


def test_every_claim_is_counted_in_one_row_of_the_table(entries):
    decided = decisive(entries)
    table = first_screen.standing_table(decided, lambda name, text: f"<{name}>{text}")
    counts = [int(n) for n in re.findall(r"^\| \*\*.*?\*\* \| (\d+) \|", table, re.MULTILINE)]
    assert len(counts) == 4
    assert sum(counts) == len(decided)
    _, _, stands, falls, still, never = table.split("\n")
    for name, entry in decided.items():
        kind = entry.judgement.kind
        if kind == "contradicted":
            assert f"<{name}>" in falls
        elif kind in ("open", "not testable here"):
            assert f"<{name}>" not in stands + falls + never
        else:
            assert f"<{name}>" in stands
    waiting = [e for e in decided.values() if first_screen.standing(e) == first_screen.OPEN_STILL]
    alone = sum(
        len(e.judgement.missing) == 1
        and re.match(r"\d+ (more )?seeds? |more seeds of", e.judgement.missing[0]) is not None
        for e in waiting
    )
    assert f"<li>{alone} lack only more seeds</li>" in still
    no_run = [e.name for e in waiting if not e.claim.decided_by]
    assert no_run == ["rank-one-linear"]
    lack = len(waiting) - alone - len(no_run)
    assert f"<li>{lack} lack a training at the paper’s sizes</li>" in still
    assert (
        "<li>1 is about <rank-one-linear>the cost of one router, which no training decides" in still
    )
    weights = [e for e in decided.values() if e.judgement.kind == "not testable here"]
    assert f"<li>{len(weights)} need the paper’s pretrained models" in never


def test_claims_that_rest_on_the_same_runs_are_counted_as_one_group(entries):
    decided = decisive(entries)
    table = first_screen.standing_table(decided, lambda name, text: text)
    shared = r"They come from only (\d+) sets? of trainings"
    fallen = re.search(rf"\*\*Contradicted\*\* \| \d+ \| {shared}", table)
    assert int(fallen[1]) == evidence(decided)["contradicted"]


def test_a_claim_stands_in_the_list_of_its_verdict(entries):
    decided = decisive(entries)
    table = first_screen.standing_table(decided, lambda name, text: f"<{name}>")
    row = table.split("**Stands**")[1].split("\n")[0]
    lists = row.split("</summary>")[1].split("</details>")[0]
    parts = {p.split(":<ul>")[0].strip(): p for p in lists.split("</ul>")}
    for name, entry in decided.items():
        verdict = entry.judgement.verdict
        if first_screen.standing(entry) == first_screen.STANDS and verdict in first_screen.GROUPS:
            assert f"<{name}>" in parts[first_screen.GROUPS[verdict]]
        if verdict == "the statement holds, the number differs":
            ours = {entry.claim.write(f.mean, math.nan) for f in entry.findings}
            line = lists.split(f"<{name}>")[1].split("</li>")[0]
            assert all(number in line for number in ours)


def test_an_example_has_the_condition_that_it_holds_under(entries):
    decided = decisive(entries)
    table = first_screen.standing_table(decided, lambda name, text: f"<{name}>")
    for title, names in first_screen.EXAMPLES.items():
        row = table.split(f"**{title}**")[1].split("\n")[0]
        examples = row.split("<details>")[0]
        for name in names:
            here = first_screen.standing(decided[name]) == title
            assert (f"<{name}>" in examples) is here
            if here and decided[name].judgement.verdict == f"{UNDER} others":
                line = examples.split(f"<{name}>")[1].split("</li>")[0]
                assert "with the query excluded" in line


def test_plain_words_are_of_claims_and_keep_the_papers_numbers(entries):
    table = first_screen.standing_table(decisive(entries), lambda name, text: f"<{name}>{text}")
    for name, entry in decisive(entries).items():
        if (entry.claim.plain or entry.claim.gloss) and f"<{name}>" in table:
            line = table.split(f"<{name}>")[1].split("</li>")[0]
            assert str(entry.claim).removeprefix("≤ ").removesuffix("%").removesuffix(".0") in line


def test_a_readme_without_the_marks_is_left_as_it_is(entries, tmp_path):
    (tmp_path / "README.md").write_text("# Another\n", encoding="utf-8")
    first_screen.write_first_screen(tmp_path, entries)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "# Another\n"
    assert (tmp_path / "book" / "_static" / first_screen.PICTURE).is_file()
    assert first_screen.with_part(
        f"a\n{first_screen.BEGIN}\nold\n{first_screen.END}\nz", "new"
    ) == (f"a\n{first_screen.BEGIN}\nnew\n{first_screen.END}\nz")


def test_the_figure_has_a_row_for_each_headline_and_its_verdict(entries):
    rows = headlines(entries)
    assert [row.claim for row in rows] == [entries["paper"][n].claim for n in HEADLINES]
    svg = headlines_svg(rows)
    shown = [node.text for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")]
    for row in rows:
        assert row.title in shown
    assert sum(text in (*VERDICTS, EXCLUDED) for text in shown) == len(rows)
    assert all(row.label in shown for row in rows)
    assert all(row.label == (EXCLUDED if row.kind == UNDER else row.kind) for row in rows)
    alt = headlines_alt(rows)
    for row in rows:
        for finding in row.sizes.values():
            assert f"ours {row.claim.write(finding.mean, finding.sd)}" in alt


def test_marks_are_drawn_where_the_numbers_are(entries):
    rows = headlines(entries)
    figure = headlines_figure(rows)
    drawn = [x for line in figure.axes[0].lines for x in line.get_xdata()]
    for row in rows:
        expected = [100 * row.claim.value, *(100 * f.mean for f in row.sizes.values())]
        for value in expected:
            assert any(abs(x - value) < 1e-9 for x in drawn)


def test_a_size_without_records_has_no_mark_and_no_legend(entries):
    rows = [dataclasses.replace(row, sizes={}) for row in headlines(entries)]
    svg = headlines_svg(rows)
    assert "ours" not in svg
    assert "paper" in svg
    assert "not measured" in headlines_alt(rows)


def test_colours_are_those_of_the_ledgers_page():
    css = (ROOT / "book" / "_static" / "custom.css").read_text(encoding="utf-8")
    for kind, name in STYLES.items():
        rule = f".ledger-legend .ledger-{name} {{ background: {COLOURS[kind]}; }}"
        assert rule in css
