"""What a chapter ends with: its verdict, the answer for the book's first page, what it costs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fcilib.study.results import Results
from fcilib.study.study import Study

TRAINED = "trains {models} models; a seed took {minutes} core-minutes at profile {profile}."


def close(chapter: str, title: str, verdict: str, cost: str) -> None:
    """Glue "verdict", "finding" (its first sentence behind a link to the chapter) and "cost".

    Args:
        chapter: the chapter's file name, without its ending.
        title: the chapter's title, the text of the link.
        verdict: its first sentence is the chapter's answer, and stands on the first page too.
    """
    from IPython.display import HTML  # both of the extra "book"
    from myst_nb import glue  # type: ignore[import-untyped]

    link = f'<a href="{chapter}.html">{title}</a>'
    glue("verdict", verdict, display=False)
    glue("finding", HTML(f"<p>{link}. {first_sentence(verdict)}</p>"), display=False)
    glue("cost", cost, display=False)


def first_sentence(text: str) -> str:
    """The text up to the first full stop that a space and a capital letter follow."""
    found = re.match(r".*?[.!?](?=\s+[^\W\d_a-z])", text, re.DOTALL)
    return found[0] if found else text


def trained(study: Study, results: Iterable[Results], text: str = TRAINED) -> str:
    """What training cost, by `text`, where {models}, {minutes} and {profile} are filled in.

    A condition counts as one model, and its minutes are the mean over its seeds.
    """
    seconds = [r.frame.groupby("condition").seconds.mean() for r in results]
    minutes = sum(s.sum() for s in seconds) / 60
    models = sum(len(s) for s in seconds)
    return text.format(models=models, minutes=f"{minutes:.0f}", profile=study.profile)
