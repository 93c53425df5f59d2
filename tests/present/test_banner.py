"""What stands at the head of every chapter."""

from types import SimpleNamespace

import nbformat
import pytest
from bs4 import BeautifulSoup

from fcilib.present.banner import banner
from fcilib.publish.project import find_project

PROJECT = find_project()


class Sizes(SimpleNamespace):
    def __str__(self):
        return self.text


def test_it_shows_the_sizes_and_links_the_two_pages_that_its_sentence_names():
    shown = banner(Sizes(text="profile quick: 2 < 3 tokens\n    more"))
    page = BeautifulSoup(shown._repr_html_(), "html.parser")
    assert page.pre.text == "profile quick: 2 < 3 tokens\n    more"
    assert [a["href"] for a in page("a")] == ["claims.html", "certainty.html"]
    assert repr(shown).startswith("profile quick: 2 < 3 tokens\n    more\nWhere a chapter says")
    assert page.p.text.count(". ") == 1  # two sentences


def test_a_chapter_may_name_sizes_of_its_own():
    assert "32 tokens" in repr(banner(Sizes(text="not this"), "32 tokens"))
    assert "not this" not in banner(Sizes(text="not this"), "32 tokens")._repr_html_()


@pytest.mark.parametrize("chapter", PROJECT.chapters(), ids=lambda c: c.name)
def test_every_executed_chapter_says_its_sizes_once_and_explains_a_word_that_it_uses(chapter):
    cells = nbformat.read(PROJECT.book / f"{chapter.name}.ipynb", 4).cells
    outputs = [o for c in cells for o in c.get("outputs", ())]
    shown = [o.get("text", "") + o.get("data", {}).get("text/html", "") for o in outputs]
    assert sum("profile quick" in text and "<table" not in text for text in shown) == 1
    banners = [text for text in shown if "certainty.html" in text]
    says = any("reproduced" in text for text in shown if text not in banners)
    assert len(banners) == says
