"""What interactive figures share: a frame of HTML around numbers, style and script."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Widget:
    """An interactive figure; notebooks show it by itself.

    Its script is called with the figure's element and its data.
    """

    name: str
    """The id of its element, one of a kind on a page."""
    script: str
    """The file of its script, beside this one."""
    controls: str
    """HTML of what readers turn, between the frame's edges."""
    caption: str
    alt: str
    """The drawing in words, for those who can't see it."""
    data: Any
    """The numbers; must have a JSON form."""

    def __repr__(self) -> str:
        return f"<interactive figure {self.name}>"

    def _repr_html_(self) -> str:
        data = json.dumps(self.data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        style, shared, script = (
            (HERE / file).read_text(encoding="utf-8").strip()
            for file in ("widget.css", "widget.js", self.script)
        )
        return f"""<figure class="fci-live" id="{self.name}">
<style>{style}</style>
<form onsubmit="return false">{self.controls}</form>
<svg role="img" aria-label="{escape(self.alt)}"></svg>
<p class="fci-said" aria-live="polite"></p>
<noscript>This figure is drawn by a script, and scripts are off.</noscript>
<figcaption>{escape(self.caption)}</figcaption>
<script>(function () {{
{shared}
{script}
show(document.getElementById("{self.name}"), {data});
}})();</script>
</figure>"""


def select(name: str, label: str, options: list[str]) -> str:
    """A labelled menu."""
    inner = "".join(f'<option value="{i}">{escape(o)}</option>' for i, o in enumerate(options))
    return f'<label>{escape(label)} <select name="{escape(name)}">{inner}</select></label>'
