"""The whole book as one page: to read without a network, to search, to print."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from urllib.parse import urldefrag

from bs4 import BeautifulSoup

from fcilib.publish.project import WHOLE
from fcilib.storage.files import write_atomic


def write_single_page(html: Path) -> None:
    """Join the rendered pages, in the order of the sidebar, in `book/whole.html` beside them.

    It lies in the folder of the chapters, so that images and styles are found as they find them. An
    id that several pages have gets the name of its page before it; links between pages lead to the
    place on this one. What the pages fold as detail is open, so that it is printed.

    Args:
        html: the rendered pages, with `book/intro.html` the first.
    """
    folder = html / "book"
    first = _read(folder / "intro.html")
    links = first.select("nav.bd-links a.reference.internal[href$='.html']")
    names = dict.fromkeys(str(link["href"]).removesuffix(".html") for link in links)
    pages = {"intro": first} | {name: _read(folder / f"{name}.html") for name in names}
    articles = {name: page.select("article.bd-article")[0] for name, page in pages.items()}
    counts = Counter(tag["id"] for article in articles.values() for tag in article(id=True))

    def anchor(page: str, name: str) -> str:
        return f"{page}--{name}" if counts[name] > 1 else name

    def target(page: str, href: str) -> str:
        path, name = urldefrag(href)
        if path == WHOLE:
            return f"#{_page('intro')}"
        there = path.removesuffix(".html") if path else page
        if there not in articles:
            return href
        return f"#{anchor(there, name) if name else _page(there)}"

    for name, article in articles.items():
        for tag in article(id=True):
            tag["id"] = anchor(name, str(tag["id"]))
        for link in article("a", href=True):
            link["href"] = target(name, str(link["href"]))
        for detail in article("details", class_="fci-detail"):
            detail["open"] = ""
    for tag in first.select(".bd-sidebar-secondary, .prev-next-footer, .bd-header-article"):
        tag.decompose()
    for link in first.select("nav.bd-links a[href], .navbar-brand[href]"):
        link["href"] = target("intro", str(link["href"]).removeprefix("#"))
    whole = first.new_tag("div", attrs={"class": "fci-whole"})
    articles["intro"].insert_before(whole)
    for name, article in articles.items():
        article["id"] = _page(name)
        whole.append(article.extract())
    write_atomic(folder / WHOLE, str(first))


def _read(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def _page(name: str) -> str:
    return f"page-{name}"
