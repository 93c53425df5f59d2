"""The rendered pages stand alone: whole, quiet, and asking nobody for anything.

They are made by `make book`, which runs this file last; where there are no pages yet it is skipped.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import browser  # noqa: E402  (a helper beside this file)

from fcilib.claims import anchor_of, claims  # noqa: E402

HTML = ROOT / "book" / "_build" / "html"
# Sphinx copies the templates of the theme among the static files; nobody opens those.
PAGES = [page for page in sorted(HTML.rglob("*.html")) if "_static" not in page.parts]
READ = [page for page in PAGES if page.parent != HTML]  # not the search and index pages
CHAPTERS = sorted((ROOT / "chapters").glob("[0-9][0-9]_*.py"))

pytestmark = [
    pytest.mark.pages,
    pytest.mark.skipif(not PAGES, reason=f"no pages in {HTML.relative_to(ROOT)}: run `make book`"),
]

# What a browser loads by itself, without a click. Of <link>, only these kinds are loaded.
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
LOADED_LINKS = {
    "stylesheet",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "icon",
    "manifest",
}


class Tags(HTMLParser):
    """Collect what a page loads, what it links to, and the anchors it has."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and not LOADED_LINKS & set(values.get("rel", "").split()):
            return
        if address := values.get(LOADING.get(tag, "")):
            self.loads.append(address)


@cache
def tags_of(page: Path) -> Tags:
    tags = Tags()
    tags.feed(page.read_text(encoding="utf-8"))
    return tags


def is_remote(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme in {"http", "https", "ws", "wss"}


def name_of(page: Path) -> str:
    return page.relative_to(HTML).as_posix()


def test_the_first_page_is_there() -> None:
    assert (HTML / "index.html").is_file()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_loads_nothing_remote(page: Path) -> None:
    assert [address for address in tags_of(page).loads if is_remote(address)] == []


def test_stylesheets_load_nothing_remote() -> None:
    remote = re.compile(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^)'\"\s]*")
    sheets = HTML.rglob("*.css")
    found = {
        s.name: hits for s in sheets if (hits := remote.findall(s.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_local_links_lead_somewhere(page: Path) -> None:
    dead = []
    for address in {*tags_of(page).links, *tags_of(page).loads}:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        anchor = unquote(parts.fragment)
        if not target.is_file() or (
            anchor and target.suffix == ".html" and anchor not in tags_of(target).anchors
        ):
            dead.append(address)
    assert dead == []


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    executable = browser.find()
    if executable is None:
        pytest.skip(f"no browser on PATH (looked for {', '.join(browser.NAMES)})")
    opened = browser.Browser(executable, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_opens_quietly(page: Path, chromium: browser.Browser) -> None:
    visit = chromium.visit(page.as_uri())
    assert visit.errors == [], "the console shows errors"
    assert visit.requests == [], "the page asks the network for something"
    written, typeset = visit.formulas
    assert typeset >= written, "formulas were left untypeset"


@pytest.mark.parametrize("source", CHAPTERS, ids=lambda source: source.stem)
def test_the_edit_button_of_a_chapter_leads_to_its_source(source: Path) -> None:
    links = tags_of(HTML / "book" / f"{source.stem}.html").links
    edits = [link for link in links if "/edit/" in link]
    assert edits
    assert all(link.endswith(f"/chapters/{source.name}") for link in edits)


def test_every_claim_leads_to_the_row_that_decides_it_and_back() -> None:
    ledger = tags_of(HTML / "book" / "claims.html")
    for name in claims():
        assert name in ledger.anchors
        there = [link for link in ledger.links if link.endswith(f".html#{anchor_of(name)}")]
        assert there, name
        for link in there:
            chapter = tags_of(HTML / "book" / link.partition("#")[0])
            assert f"claims.html#{name}" in chapter.links


def test_the_ledger_can_be_searched_and_filtered(chromium: browser.Browser) -> None:
    script = """(() => {
        const form = document.querySelector('#ledger form');
        const rows = () => [...document.querySelectorAll('#ledger tbody tr')]
            .filter((row) => row.getClientRects().length).map((row) => row.id);
        const fire = () => form.dispatchEvent(new Event('input'));
        const found = {all: rows()};
        form.querySelector('input[type=search]').value = 'perceiver HUB';
        fire();
        found.words = rows();
        form.querySelector('input[type=search]').value = '';
        form.querySelector('input[value=ledger-not-tested]').checked = false;
        fire();
        found.tested = rows();
        found.count = form.querySelector('output').textContent;
        form.querySelector('select').value = '04_contrastive_failure';
        fire();
        found.chapter = rows();
        return found;
    })()"""
    found = chromium.visit((HTML / "book" / "claims.html").as_uri(), ask=script).answer
    assert found["all"] == list(claims())
    said = {name: claim.statement.lower() for name, claim in claims().items()}
    assert found["words"] == [n for n, s in said.items() if "perceiver" in s and "hub" in s]
    assert 0 < len(found["tested"]) < len(claims())
    assert found["count"] == f"{len(found['tested'])} of {len(claims())}"
    assert {"contrastive-frozen", "raw"} <= set(found["chapter"]) < set(found["tested"])


def test_a_link_to_a_claim_opens_it(chromium: browser.Browser) -> None:
    address = (HTML / "book" / "claims.html").as_uri() + "#closed-loop"
    ask = "[...document.querySelectorAll('#ledger details[open]')].map((d) => d.closest('tr').id)"
    assert chromium.visit(address, ask=ask).answer == ["closed-loop"]
