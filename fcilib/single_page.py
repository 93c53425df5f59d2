"""The whole book as one page: to read without a network, to search, to print."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from urllib.parse import urldefrag

from bs4 import BeautifulSoup
from bs4.element import Tag

from fcilib.files import write_atomic

NAME = "whole.html"


def write(html: Path) -> Path:
    """Join the rendered pages, in the order of the sidebar, in a page beside them.

    It lies in the folder of the chapters, so that images and styles are found as they find them. An
    id that several pages have gets the name of its page before it; links between pages lead to the
    place on this one.

    Args:
        html: the rendered pages, with `book/intro.html` the first.

    Returns:
        The page, `book/whole.html`.
    """
    folder = html / "book"
    first = _read(folder / "intro.html")
    names = ["intro", *_sidebar(first)]
    articles = {name: _article(_read(folder / f"{name}.html")) for name in names}
    counts = Counter(tag["id"] for article in articles.values() for tag in article(id=True))
    for name, article in articles.items():
        for tag in article(id=True):
            tag["id"] = _anchor(name, tag["id"], counts)
        for link in article("a", href=True):
            link["href"] = _target(name, link["href"], counts)
    frame = _article(first)
    for tag in first.select(".bd-sidebar-secondary, .prev-next-footer, .bd-header-article"):
        tag.decompose()
    for link in first.select("nav.bd-links a[href], a.navbar-brand[href]"):
        link["href"] = _target("intro", link["href"], counts)
    sections = []
    for name, article in articles.items():
        article.name, article.attrs = "section", {"id": _page(name), "class": "fci-page"}
        sections.append(article.extract())
    frame_attributes = {"class": "bd-article", "role": "main"}
    whole = first.new_tag("article", attrs=frame_attributes)
    whole.extend(sections)
    (first.select_one("div.bd-article-container") or frame).append(whole)
    write_atomic(folder / NAME, str(first))
    return folder / NAME


def _read(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def _article(page: BeautifulSoup) -> Tag:
    return page.select_one("article.bd-article")


def _sidebar(page: BeautifulSoup) -> list[str]:
    """Names of the pages that the sidebar leads to, in its order."""
    links = page.select("nav.bd-links a.reference.internal[href$='.html']")
    return list(dict.fromkeys(link["href"].removesuffix(".html") for link in links))


def _page(name: str) -> str:
    return f"page-{name}"


def _anchor(page: str, anchor: str, counts: Counter[str]) -> str:
    return f"{page}--{anchor}" if counts[anchor] > 1 else anchor


def _target(page: str, href: str, counts: Counter[str]) -> str:
    """Where a link of a page leads on the page of all."""
    path, anchor = urldefrag(href)
    if path not in ("", "#") and not (path.endswith(".html") and "/" not in path):
        return href
    name = path.removesuffix(".html") if path.endswith(".html") else page
    return f"#{_anchor(name, anchor, counts)}" if anchor else f"#{_page(name)}"
