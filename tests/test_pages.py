"""The rendered pages stand alone: whole, quiet, and asking nobody for anything.

They are made by `make book`, which runs this file last; where there are no pages yet it is skipped.
"""

from __future__ import annotations

import functools
import http.server
import re
import sys
import threading
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import papermill
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import browser  # noqa: E402  (a helper beside this file)

from fcilib.ledger.claims import claims  # noqa: E402
from fcilib.present.tables import anchor_of  # noqa: E402
from fcilib.publish.pdf import BROWSERS, find_browser, print_pdf  # noqa: E402
from fcilib.publish.project import Project  # noqa: E402
from fcilib.representations import Embedding  # noqa: E402
from fcilib.routers import Investigator  # noqa: E402
from fcilib.study import Study  # noqa: E402
from fcilib.study.notation import percent  # noqa: E402

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


@cache
def _text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def soup_of(page: Path) -> BeautifulSoup:
    return BeautifulSoup(_text_of(page), "html.parser")


def name_of_view(view: tuple[int, bool]) -> str:
    return f"{view[0]}{'-dark' if view[1] else ''}"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    executable = find_browser()
    if executable is None:
        pytest.skip(f"no browser on PATH (looked for {', '.join(BROWSERS)})")
    opened = browser.Browser(executable, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


VIEWS = [(1280, False), (390, False), (1280, True)]
# The book on one page shows what the others do: once is enough.
VISITS = [(page, view) for page in PAGES for view in VIEWS[: 1 if page.stem == "whole" else None]]


@pytest.mark.parametrize(
    ("page", "view"), VISITS, ids=[f"{name_of(page)}-{name_of_view(view)}" for page, view in VISITS]
)
def test_opens_quietly_and_can_be_read(
    page: Path, view: tuple[int, bool], chromium: browser.Browser
) -> None:
    legible = (ROOT / "tests" / "legible.js").read_text(encoding="utf-8")
    width, dark = view
    ask = legible if page in READ else "[]"
    visit = chromium.visit(page.as_uri(), ask=ask, width=width, dark=dark)
    assert visit.errors == [], "the console shows errors"
    assert visit.requests == [], "the page asks the network for something"
    written, typeset = visit.formulas
    assert typeset >= written, "formulas were left untypeset"
    assert visit.answer == []


@pytest.fixture
def site() -> Iterator[str]:
    """The address of the pages as a web server gives them."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    serve = functools.partial(Quiet, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


FOUND = """(async () => {
    const shown = () => document.querySelectorAll('#search-results li').length;
    let before = -1;  // results come one by one: until there are no more of them
    const some = () => document.querySelector('#search-results li p.context');
    for (let i = 0; i < 100 && !(some() && before == shown()); i++) {
        before = shown();
        await new Promise((go) => setTimeout(go, 300));
    }
    return [...document.querySelectorAll('#search-results li')].map((item) =>
        [item.querySelector('a').getAttribute('href').split(/[?#]/)[0], item.textContent]);
})()"""


def test_a_search_finds_where_a_word_stands(site: str, chromium: browser.Browser) -> None:
    visit = chromium.visit(f"{site}/search.html?q=rank-1", ask=FOUND)
    assert visit.errors == []
    assert all(request.startswith(site) for request in visit.requests)
    found = dict(visit.answer)
    assert {"book/06_escape_routes.html", "book/claims.html"} <= set(found)
    assert "rank" in found["book/06_escape_routes.html"].lower()
    nothing = chromium.visit(f"{site}/search.html?q=xylophone", ask="document.body.innerText")
    assert "did not match any documents" in nothing.answer


def test_figures_are_numbered_through_the_book_and_references_say_their_numbers() -> None:
    whole = soup_of(HTML / "book" / "whole.html")
    numbers = {
        figure["id"]: figure.select_one(".caption-number").text.strip(" Fig.")
        for figure in whole.select("article figure:has(.caption-number)")
    }
    assert list(numbers.values()) == [str(n + 1) for n in range(len(numbers))]
    referred = 0
    for source in CHAPTERS:
        soup = soup_of(HTML / "book" / f"{source.stem}.html")
        for link in soup.select("article a.reference.internal[href*='#fig-']"):
            name = link["href"].partition("#")[2]
            assert link.text.strip().removeprefix("Fig. ") == numbers[name]
            referred += 1
    assert referred


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_nothing_is_left_unresolved(page: Path) -> None:
    article = soup_of(page).select_one("article")
    for code in article.select("pre, code"):
        code.decompose()
    assert not re.findall(r"\{(?:glue|numref|cite|ref|eq)\b[^}]*\}|\?\?|\[\?\]", article.text)
    assert not article.select(".problematic, .system-message")
    anchors = [tag["id"] for tag in article(id=True)]
    assert len(anchors) == len(set(anchors))


@pytest.mark.parametrize("source", CHAPTERS, ids=lambda source: source.stem)
def test_the_download_button_gives_the_executed_notebook(source: Path) -> None:
    page = HTML / "book" / f"{source.stem}.html"
    (button,) = soup_of(page).select("a.btn-download-source-button")
    downloaded = page.parent / button["href"]
    assert downloaded.read_bytes() == (ROOT / "book" / f"{source.stem}.ipynb").read_bytes()
    nbformat.validate(nbformat.read(downloaded, as_version=4))


def test_a_downloaded_notebook_runs_anywhere(tmp_path: Path) -> None:
    downloaded = HTML / "_sources" / "book" / "06_escape_routes.ipynb"
    made = papermill.execute_notebook(
        downloaded,
        tmp_path / "out.ipynb",
        parameters={"records": str(ROOT / "records")},
        cwd=tmp_path,
        kernel_name="python3",
        progress_bar=False,
    )
    shown = nbformat.read(downloaded, as_version=4)
    assert _tables(made) == _tables(shown)
    assert [path.name for path in tmp_path.iterdir()] == ["out.ipynb"]


def _tables(notebook: nbformat.NotebookNode) -> list[str]:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", ())]
    return [o.data["text/html"] for o in outputs if "text/html" in o.get("data", ())]


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
        form.querySelector('input[value=ledger-open]').checked = false;
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
    assert {"raw"} <= set(found["chapter"]) < set(found["tested"])


CARDS = """(() => {
    const row = document.querySelector('#ledger tbody tr');
    const order = [...row.children].sort((a, b) =>
        a.getBoundingClientRect().top - b.getBoundingClientRect().top);
    const label = (cell) => getComputedStyle(cell, '::before').content.replaceAll('"', '').trim();
    return [order.map(label),
        Math.max(...order.map((cell) => cell.getBoundingClientRect().right)) <= innerWidth];
})()"""


def test_on_a_phone_a_claim_is_a_card_with_its_verdict_first(chromium: browser.Browser) -> None:
    address = (HTML / "book" / "claims.html").as_uri()
    labels, whole = chromium.visit(address, ask=CARDS, width=390).answer
    assert whole
    assert labels[1:4] == ["ours, paper’s sizes:", "ours, small size:", "paper:"]
    assert len(labels) == 5


def test_the_first_page_shows_the_figure_and_leads_to_rows_of_the_ledger() -> None:
    soup = soup_of(HTML / "book" / "intro.html")
    (figure,) = soup.select("figure#fig-headlines img")
    assert (HTML / "book" / figure["src"]).resolve().is_file()
    ledger = tags_of(HTML / "book" / "claims.html").anchors
    rows = [a["href"] for a in soup.select("article table a[href^='claims.html#']")]
    assert "claims.html#raw" in rows
    assert {row.partition("#")[2] for row in rows} <= ledger


def test_pages_come_in_reading_order() -> None:
    """The introduction, the chapters, the verdicts, the reference."""
    links = soup_of(HTML / "book" / "intro.html").select("nav.bd-links a.reference.internal")
    names = [link["href"].removesuffix(".html") for link in links if link["href"] != "#"]
    chapters = [source.stem for source in CHAPTERS]
    assert names[: len(chapters)] == chapters
    after = names[len(chapters) :]
    assert after.index("claims") < after.index("silences") < after.index("on-a-cluster")
    reference = ["on-a-cluster", "architecture", "api", "variables", "status", "bibliography"]
    assert after[-len(reference) :] == reference


def test_a_link_to_a_claim_opens_it(chromium: browser.Browser) -> None:
    address = (HTML / "book" / "claims.html").as_uri() + "#closed-loop"
    ask = "[...document.querySelectorAll('#ledger details[open]')].map((d) => d.closest('tr').id)"
    assert chromium.visit(address, ask=ask).answer == ["closed-loop"]


def quick(**parts: object) -> dict[str, float]:
    """What the book's own record of one experiment measured."""
    parameters = {"profile": "quick", "seeds": 1, "executor": "inline", "records": ""}
    study = Study.from_parameters(parameters)
    return study.records.find(study.experiment(**parts)).metrics


SLIDE = """(() => {
    const root = document.getElementById('film-scores'), form = root.querySelector('form');
    const choose = (name, text) => {
        form[name].value = [...form[name].options].find((o) => o.text === text).value;
    };
    const said = {'opens at': form.epoch.value};
    choose('condition', 'raw embeddings');
    for (const protocol of ['query included', 'query excluded'])
        for (const epoch of [0, Number(form.epoch.max)]) {
            choose('protocol', protocol);
            form.epoch.value = epoch;
            form.dispatchEvent(new Event('input'));
            said[`${protocol} ${epoch}`] = [root.querySelector('.fci-said').textContent,
                root.querySelectorAll('rect').length];
        }
    return said;
})()"""


@pytest.mark.parametrize("width", [1280, 390])
def test_scores_can_be_followed_from_epoch_to_epoch(width: int, chromium: browser.Browser) -> None:
    page = HTML / "book" / "01_phase_transition.html"
    said = chromium.visit(page.as_uri(), ask=SLIDE, width=width).answer
    readings = {"query included": "all", "query excluded": "others"}
    assert set(said) == {
        "opens at",
        *(f"{reading} {epoch}" for reading in readings for epoch in (0, 5)),
    }
    assert said["opens at"] == "5"
    for reading, protocol in readings.items():
        measured = quick(
            representation=Embedding(), router=Investigator(candidates=protocol)
        )  # a run whose scores are kept by epoch gives the numbers of one whose are not
        text, bars = said[f"{reading} 5"]
        assert f"evidence in {percent(measured['precision'])} and" in text
        assert f"itself in {percent(measured['picked_query'])};" in text
        assert bars == 128 + 2
        assert said[f"{reading} 0"][0].startswith("Before training")
    assert "the query itself 0.0%" in said["query excluded 0"][0]


PICK = """(() => {
    const root = document.getElementById('pick-protocol');
    const menu = (name) => root.querySelector(`select[name="${name}"]`);
    const choose = (name, text) => {
        const option = [...menu(name).options].find((o) => o.text === text);
        if (option.disabled) throw new Error(`${name}: ${text} can't be picked`);
        menu(name).value = option.value;
        menu(name).dispatchEvent(new Event('input', {bubbles: true}));
        return root.querySelector('.fci-said').textContent;
    };
    const found = {
        centre: choose('candidates', 'query included'),
        others: choose('candidates', 'query excluded'),
    };
    choose('candidates', 'query included');
    choose('positions', 'none');
    found.lost = choose('counted', 'ties lost');
    found.blocked = [...menu('order').options].filter((o) => o.disabled).map((o) => o.text);
    root.querySelector('button').click();
    found.back = root.querySelector('.fci-said').textContent;
    found.segments = choose('approach', 'segments');
    return found;
})()"""


def test_a_protocol_can_be_picked(chromium: browser.Browser) -> None:
    page = HTML / "book" / "08_protocol_audit.html"
    found = chromium.visit(page.as_uri(), ask=PICK).answer
    expected = {
        "centre": quick(representation=Embedding(), router=Investigator())["precision"],
        "others": quick(representation=Embedding(), router=Investigator(candidates="others"))[
            "precision"
        ],
        "lost": quick(representation=Embedding(positions="none"), router=Investigator())[
            "precision_tie_lost"
        ],
    }
    for name, value in expected.items():
        assert found[name].startswith(f"Under this protocol: {percent(value)} (chance")
    assert "and it is not;" in found["others"]
    assert "35.0%, and it is;" in found["lost"]
    assert found["blocked"] == ["evidence first", "either"]
    assert found["back"] == found["centre"]
    assert "at most 29.0%" in found["segments"]


def test_detail_is_folded_and_a_link_into_it_opens_it(chromium: browser.Browser) -> None:
    page = HTML / "book" / "08_protocol_audit.html"
    (folded,) = soup_of(page).select("details.fci-detail")
    inside = folded.select_one("section section, section")
    assert inside.h3.get_text(strip=True).rstrip("#") in folded.summary.get_text()
    is_open = "document.querySelector('details.fci-detail').open"
    assert chromium.visit(page.as_uri(), ask=is_open).answer is False
    assert chromium.visit(f"{page.as_uri()}#{inside['id']}", ask=is_open).answer is True
    whole = soup_of(HTML / "book" / "whole.html").select("details.fci-detail")
    assert whole
    assert all(detail.has_attr("open") for detail in whole)


def test_the_book_prints_to_one_file(tmp_path: Path, chromium: browser.Browser) -> None:
    """`chromium` only says why it is skipped where there is no browser."""
    made = print_pdf(Project(ROOT), tmp_path / "book.pdf").read_bytes()
    assert made.startswith(b"%PDF-")
    assert made.count(b"/Type /Page\n") > 50
    assert b"/Outlines" in made


def test_the_page_of_all_holds_every_page_once() -> None:
    whole = soup_of(HTML / "book" / "whole.html")
    articles = whole.select("article")
    titles = [article.h1.get_text() for article in articles]
    apart = {name_of(page): soup_of(page).select_one("article h1").get_text() for page in READ}
    del apart["book/whole.html"]
    assert sorted(titles) == sorted(apart.values())
    assert [t for t in titles if t[0].isdigit()] == sorted(
        (t for t in titles if t[0].isdigit()), key=lambda title: int(title.split(".")[0])
    )
    ids = [tag["id"] for article in articles for tag in article(id=True)]
    assert len(ids) == len(set(ids))
    leading = {a["href"] for article in articles for a in article("a", href=True)}
    assert not [href for href in leading if re.match(r"[\w-]+\.html", href)]
