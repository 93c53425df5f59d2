"""The tables of chapters: their numbers, their links, their anchors."""

from html.parser import HTMLParser

import pandas as pd
import pytest

from fcilib.ledger.agreement import NEAR_CHANCE
from fcilib.ledger.comparison import compare
from fcilib.ledger.ledger import ledger
from fcilib.present.figures import AGREES, DISAGREES, NARROW, NEAR, claims_figure
from fcilib.present.tables import anchor_of, comparison_table, further, linked
from fcilib.study import Study
from fcilib.study.notation import number, texts


def test_what_is_no_share_is_written_as_a_number(results):
    comparison = compare({"raw embeddings": "cosine-gap"}, results)
    shown = comparison_table(comparison).frame.loc["raw embeddings"]
    gaps = texts(results["all"].summary("cosine_gap"), number)
    assert (shown["paper"], shown["all"]) == ("-0.154", gaps["raw embeddings"])
    assert gaps["raw embeddings"] == "0.55 ± 0.07"
    assert "%" not in "".join(shown)
    unclaimed = compare({"global mean": None}, results, metric="cosine_gap")
    assert list(unclaimed["mean"]) == pytest.approx([0.05, 0.2])
    assert list(unclaimed.chance) == pytest.approx([0.4, 0.1])


def test_comparison_table_and_figure(results):
    comparison = compare({"raw embeddings": "raw", "global mean": "global-mean"}, results)
    shown = comparison_table(comparison).frame
    assert list(shown.columns) == ["paper", "all", "others", "chance (all / others)", "verdict"]
    assert list(shown.loc["global mean"]) == [
        "1.9%", "2.0 ± 0.1%", "50.0 ± 0.0%", "2.0 / 3.0%", "only under all",
    ]  # fmt: skip
    (axes,) = (figure := claims_figure(comparison)).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["raw embeddings", "global mean"]
    assert axes.get_xlabel() == "routing precision (%)"
    assert _legend(figure) == [
        "paper", "measured ± s.d., “others”", "measured ± s.d., “all”", "chance",
        "agree within the margin", "differ",
    ]  # fmt: skip
    # Two lines a row, the last protocol's above: from the paper's number to ours.
    lines = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    for ends in ((1.2, 91.0), (1.9, 2.0), (1.9, 50.0)):
        assert any(line == pytest.approx(ends) for line in lines)


def test_a_condition_without_a_claim_has_dashes_in_a_table(results):
    comparison = compare({"raw embeddings": "raw", "global mean": None}, results)
    shown = comparison_table(comparison)
    assert list(shown.frame.loc["global mean"]) == [
        "–", "2.0 ± 0.1%", "50.0 ± 0.0%", "2.0 / 3.0%", "–",
    ]  # fmt: skip
    assert shown.html.count("<a ") == 1


def test_a_figures_legend_has_no_mark_that_does_not_occur(results):
    comparison = compare({"raw embeddings": None}, {"others": results["others"]})
    figure = claims_figure(comparison)
    assert _legend(figure) == ["measured ± s.d., “others”", "chance"]
    agreeing = compare({"global mean": "global-mean"}, {"all": results["all"]})
    assert "differ" not in _legend(claims_figure(agreeing))
    assert figure.get_figwidth() == NARROW


def test_a_row_near_chance_is_neither_blue_nor_orange(results):
    """The paper's 1.9%, and 0.5% here: with a test of its own the two differ."""
    rows = compare({"global mean": "global-mean"}, {"": results["all"]})
    near = rows.assign(mean=0.005, agrees=False, verdict=NEAR_CHANCE)
    figure = claims_figure(near)
    assert _legend(figure)[-1] == NEAR_CHANCE
    assert not {"differ", "agree within the margin"} & {*_legend(figure)}
    drawn = {line.get_color() for line in figure.axes[0].lines}
    assert NEAR in drawn
    assert not drawn & {AGREES, DISAGREES}


def _legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


# Rows that lead to the ledger.


class Reader(HTMLParser):
    """What a browser makes of a page: its tags, their addresses and anchors, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.links, self.anchors, self.texts = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        self.links += [found["href"]] if "href" in found else []
        self.anchors += [found["id"]] if "id" in found else []

    def handle_data(self, data):
        self.texts.append(data)


def page(frame, names, title="row"):
    return Reader(linked(frame, names, title)._repr_html_())


TABLE_TAGS = {"table", "thead", "tbody", "tr", "th", "td"}


def test_each_row_leads_to_its_claim_and_the_first_of_a_claim_is_where_it_leads_back_to():
    frame = pd.DataFrame({"n": [1, 2, 3, 4]}, index=["one", "two", "three", "four"])
    read = page(frame, {"one": "raw", "two": "one-layer", "three": "raw", "four": None})
    assert read.links == ["claims.html#raw", "claims.html#one-layer", "claims.html#raw"]
    assert read.anchors == [anchor_of("raw"), anchor_of("one-layer")]
    assert {"one", "four", "4", "row", "n"} <= set(read.texts)


@pytest.mark.parametrize("name", ["raw", None])
def test_labels_and_cells_are_text_and_no_markup(name):
    label, cell = "a <b>bold</b> & 'b\"", "<script>x</script> &lt;"
    read = page(pd.DataFrame({"n": [cell]}, index=[label]), {label: name})
    assert set(read.tags) - {"a"} <= TABLE_TAGS
    assert label in read.texts
    assert cell in read.texts


def test_heads_are_text_and_no_markup():
    read = page(pd.DataFrame({"<i>n": [1]}, index=["one"]), {"one": "raw"}, title="<u>row")
    assert set(read.tags) - {"a"} <= TABLE_TAGS
    assert {"<i>n", "<u>row"} <= set(read.texts)


def test_a_long_cell_and_a_long_table_are_shown_whole():
    frame = pd.DataFrame({"n": ["x" * 300] * 200}, index=[f"row {i}" for i in range(200)])
    read = page(frame, {f"row {i}": "raw" for i in range(200)})
    assert read.tags.count("tr") == 201
    assert read.texts.count("x" * 300) == 200
    assert len(read.links) == 200
    assert read.anchors == [anchor_of("raw")]


def test_what_is_no_claim_is_refused():
    frame = pd.DataFrame({"n": [1]}, index=["one"])
    with pytest.raises(KeyError, match="rww"):
        linked(frame, {"one": "rww"}, "row")
    with pytest.raises(KeyError, match="rww"):
        linked(frame, {"elsewhere": "rww"}, "row")


def test_a_claim_of_two_tables_is_decided_in_the_first(results):
    comparison = compare({"raw embeddings": "raw", "global mean": "raw"}, results)
    first = comparison[comparison.condition == "raw embeddings"]
    second = comparison[comparison.condition == "global mean"]
    anchor = 'id="decides-raw"'
    assert comparison_table(first)._repr_html_().count(anchor) == 1
    assert comparison_table(second)._repr_html_().count(anchor) == 1
    assert anchor not in comparison_table(second, earlier=first)._repr_html_()


def test_a_comparisons_table_leads_to_its_claims(results):
    rows = {"raw embeddings": "raw", "global mean": "global-mean"}
    read = Reader(comparison_table(compare(rows, results))._repr_html_())
    assert read.links == ["claims.html#raw", "claims.html#global-mean"]
    assert read.anchors == [anchor_of("raw"), anchor_of("global-mean")]
    assert "raw embeddings" in repr(comparison_table(compare(rows, results)))


def test_chance_is_written_once_where_it_is_the_same(results):
    comparison = compare({"raw embeddings": "raw"}, results).assign(chance=0.02)
    assert comparison_table(comparison).frame.loc["raw embeddings", "chance"] == "2.0%"


def test_a_page_can_say_protocols_in_its_own_words():
    study = Study.from_parameters(
        {"profile": "quick", "seeds": 1, "executor": "inline", "records": ""}
    )
    words = {"others": "query excluded", "all": "query included"}
    shown = further(ledger(study.records, study.sizes), ["one-layer-spread"], readings=words)
    heads = ["paper", "query excluded", "query included", "chance", "verdict"]
    assert list(shown.frame.columns) == heads
    assert shown.frame.verdict.iloc[0] == "only with the query excluded"
