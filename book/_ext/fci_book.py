"""Sphinx side of the book: the edit button, what pages include and fold, no request outside.

Loaded by `_config.yml` (`sphinx: local_extensions`).
"""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from html import escape
from pathlib import Path
from typing import Any

from docutils.nodes import Node, document, raw, section, system_message, title
from docutils.nodes import reference as link
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole

import fcilib
from fcilib.ledger.catalogue import ONLY
from fcilib.ledger.ledger import BOOK, Entry, whole_ledger
from fcilib.present import ledger_page
from fcilib.present.first_screen import write_first_screen
from fcilib.present.recorded import choice_text, rung_text
from fcilib.present.sizes import measured_text, write_sizes
from fcilib.publish.project import Project
from fcilib.publish.status import write_status
from fcilib.publish.sweep_cost import write_sweep_cost
from fcilib.storage.files import write_atomic

ENTRIES: dict[str, dict[str, Entry]] = {}
"""The ledger's entries by profile, for `measured`."""

COLON = "\ufdd0"
"""A character that is none, in a colon's place."""


def write_parts(app: Sphinx) -> None:
    """Make what pages include that is computed from records and reports; before any is read."""
    root = Path(app.srcdir)
    names = [chapter.name for chapter in Project(root).chapters()]
    write_status(root / "book", names, root / "records")
    ENTRIES.update(whole_ledger(root / "records"))
    ledger_page.write_ledger_pages(root / "book", ENTRIES)
    write_first_screen(root, ENTRIES)
    write_sizes(root / "book", ENTRIES)
    write_sweep_cost(root / "book", root / "records")
    write_atomic(root / "book" / "_generated" / "api.md", reference())
    write_atomic(root / "book" / "_generated" / "wings.md", wings(root))


class Measured(SphinxRole):
    """The role "measured", of CLAIM PROFILE PROTOCOL: the number, behind a link to its row."""

    def run(self) -> tuple[list[Node], list[system_message]]:
        claim, profile, *named = self.text.split(maxsplit=2)
        protocol = named[0] if named else ONLY
        shown = measured_text(ENTRIES[profile][claim], protocol)
        return [link(self.rawtext, shown, refuri=f"claims.html#{claim}")], []


class Chosen(SphinxRole):
    """The role "choice", of a name that `choices` has: the number, linked to its chapter."""

    def run(self) -> tuple[list[Node], list[system_message]]:
        shown, chapter = choice_text(Path(self.env.srcdir) / "records" / BOOK, self.text)
        return [link(self.rawtext, shown, refuri=f"{chapter}.html")], []


class Rung(SphinxRole):
    """The role "rung", of RUNG REPRESENTATION: precision among look-alikes, linked to chapter 9."""

    def run(self) -> tuple[list[Node], list[system_message]]:
        where, _, what = self.text.partition(" ")
        shown = rung_text(Path(self.env.srcdir) / "records" / BOOK, where, what)
        return [link(self.rawtext, shown, refuri="09_context_ladder.html")], []


def reference() -> str:
    """The API reference: a section for each wing, with autodoc's directive for each public name."""
    lines = []
    for wing, names in fcilib.NAMES.items():
        lines += [f"## `{wing}`", "", _first_line(wing.rpartition(".fci")[0] or wing), ""]
        for name in names.split():
            kind = "class" if inspect.isclass(getattr(fcilib, name)) else "function"
            lines += ["```{eval-rst}", f".. auto{kind}:: {wing}.{name}", "```", ""]
    return "\n".join(lines)


def wings(root: Path) -> str:
    """The wings of the library, the top one first, from the contract that holds their order."""
    tools = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    rows = tools["importlinter"]["contracts"][0]["layers"]
    lines = ["| wing | holds |", "| --- | --- |"]
    lines += [f"| `{wing}` | {_first_line(f'fcilib.{wing}')} |" for wing in rows]
    return "\n".join(lines) + "\n"


def _first_line(module: str) -> str:
    return (importlib.import_module(module).__doc__ or "").strip().partition("\n")[0]


def for_sphinx(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Docstrings are Markdown: code in single backticks, and `*`, `|` and `_` are themselves."""
    for i, line in enumerate(lines):
        parts = re.split(r"(`[^`]+`)", line)
        parts[::2] = [re.sub(r"([*|_\\])", r"\\\1", part) for part in parts[::2]]
        lines[i] = "".join(f"`{p}`" if p.startswith("`") else p for p in parts)
    if what in ("attribute", "property"):  # what stands before a colon is not the field's type
        lines[:] = [line.replace(":", COLON) for line in lines]


def with_colons(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Put back what `for_sphinx` hid from napoleon."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def no_fields_in_signature(
    app: Sphinx, what: str, name: str, thing: object, options: object, arguments: str, result: str
) -> tuple[str, str | None] | None:
    """A description's fields stand below it, one by one; its signature would repeat them all."""
    return ("", None) if hasattr(thing, "model_fields") else None


def edit_the_source(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Lead a chapter's edit button to its `chapters/*.py`: the notebook is made from that."""
    name = pagename.rpartition("/")[2]
    if not (Path(app.srcdir) / "chapters" / f"{name}.py").is_file():
        return
    notebook = f"{pagename}.ipynb"
    for button in _flat(context.get("header_buttons", [])):
        if button.get("label") == "source-edit-button":
            button["url"] = button["url"].replace(notebook, f"chapters/{name}.py")
            button["tooltip"] = "Suggest an edit of the chapter's source"


DETAIL = "In detail"
"""The heading of what a page's answer does not need."""


def fold_detail(app: Sphinx, doctree: document, docname: str) -> None:
    """Close the sections "In detail" of a page; their summary names what is inside.

    A browser opens one by itself when a link or a search leads into it.
    """
    for part in [s for s in doctree.findall(section) if s.next_node(title).astext() == DETAIL]:
        heads = [s.next_node(title).astext() for s in part.children if isinstance(s, section)]
        inside = escape(" · ".join(heads) or "Show")
        opened = f'<details class="fci-detail"><summary>{inside}</summary>'
        part.insert(1, raw("", opened, format="html"))
        part.append(raw("", "</details>", format="html"))


WIDE = 570
"""Pixels: an image that is wider can't be read whole on a phone, where it has some 346."""


def mark_wide_images(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Give the class `fci-wide` to images that a phone must not shrink to its width."""
    sources = {name: Path(app.srcdir) / path for path, name in app.builder.images.items()}

    def marked(match: re.Match[str]) -> str:
        path = sources.get(match["name"])
        wide = path is not None and path.suffix == ".png" and png_width(path) > WIDE
        return match[0].replace("<img ", '<img class="fci-wide" ', 1) if wide else match[0]

    if "body" in context:
        found = re.compile(r'<img (?![^>]*class=)[^>]*src="[^"]*_images/(?P<name>[^"]+)"[^>]*>')
        context["body"] = found.sub(marked, context["body"])


def png_width(path: Path) -> int:
    """The width in pixels, from the head of a PNG file."""
    return int.from_bytes(path.read_bytes()[16:20], "big")


def leave_thebe_out(app: Sphinx) -> None:
    """Take sphinx-thebe, which Jupyter Book always loads, off the pages.

    It offers to fetch a script from a CDN, and declares its constants twice on every page.
    """
    for listeners in list(app.events.listeners.values()):
        for listener in list(listeners):
            if getattr(listener.handler, "__module__", "") == "sphinx_thebe":
                app.disconnect(listener.id)


def _flat(buttons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All buttons, those in groups too."""
    return [inner for b in buttons for inner in (b, *_flat(b.get("buttons", [])))]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx; after the theme (501), which makes the buttons."""
    app.connect("builder-inited", leave_thebe_out, priority=1)
    app.connect("builder-inited", write_parts)
    app.add_role("measured", Measured())
    app.add_role("choice", Chosen())
    app.add_role("rung", Rung())
    app.connect("autodoc-process-docstring", for_sphinx, priority=1)
    app.connect("autodoc-process-docstring", with_colons, priority=900)
    app.connect("autodoc-process-signature", no_fields_in_signature)
    app.connect("doctree-resolved", fold_detail)
    app.connect("html-page-context", edit_the_source, priority=600)
    app.connect("html-page-context", mark_wide_images)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
