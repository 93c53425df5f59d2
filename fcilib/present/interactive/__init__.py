"""Figures that answer: a page of the book, or a notebook, in which a reader turns a knob.

Each is one piece of HTML with its numbers, its style and its script inside: no library, nothing
from outside, so that it works offline and in a downloaded notebook.
"""

from fcilib.present.interactive.film import film
from fcilib.present.interactive.picker import picker
from fcilib.present.interactive.widget import Widget

__all__ = ["Widget", "film", "picker"]
