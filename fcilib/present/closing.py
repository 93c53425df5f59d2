"""What a chapter computes last and shows before: answer, certainty, verdict and cost."""

from __future__ import annotations

from collections.abc import Iterable

from fcilib.study.notation import seeds_text
from fcilib.study.profiles import PROFILES
from fcilib.study.results import Results
from fcilib.study.study import Study

TRAINED = "trains {models} models; a seed took {minutes} core-minutes at profile {profile}."


def close(chapter: str, title: str, *, answer: str, sure: str, verdict: str, cost: str) -> None:
    """Glue "answer" and "sure", which a chapter opens with, "verdict", which stands beside its
    comparison with the paper, and "cost", beside the command that runs it again.

    The book's first page shows "finding", which is the answer behind a link to the chapter.

    Args:
        chapter: the chapter's file name, without its ending.
        title: the chapter's title, the text of the link.
        answer: one sentence that answers the chapter's question.
        sure: at what size and with how many seeds it was measured, and what would change our mind.
        verdict: what was found, in more than the one sentence of the answer.
        cost: what it takes to run the chapter again.
    """
    from IPython.display import HTML  # both of the extra "book"
    from myst_nb import glue  # type: ignore[import-untyped]

    link = f'<a href="{chapter}.html">{int(chapter[:2])}. {title}</a>'
    glue("answer", answer, display=False)
    glue("finding", HTML(f"<p>{link}. {answer}</p>"), display=False)
    glue("sure", sure, display=False)
    glue("verdict", verdict, display=False)
    glue("cost", cost, display=False)


def measured(study: Study) -> str:
    """At what size and with how many seeds a study was measured, beside the paper's size."""
    here, paper, seeds = study.sizes, PROFILES["paper"], study.seeds
    return (
        f"Measured on {here.evidence.length} tokens of {here.evidence.vocabulary} kinds, in "
        f"{here.training.epochs} epochs, with {seeds_text(seeds)}. The paper "
        f"has {paper.evidence.length} tokens of {paper.evidence.vocabulary} kinds and "
        f"{paper.training.epochs} epochs."
    )


def trained(study: Study, results: Iterable[Results], text: str = TRAINED) -> str:
    """What training cost, by `text`, where {models}, {minutes} and {profile} are filled in.

    What is trained alike but for the seed is one model, under whatever names and however often it
    is run; its minutes are the mean over its seeds. Seconds on a GPU are no core's: models that
    were trained on one are counted apart, and said.
    """
    seconds: dict[str, list[float]] = {}
    models: set[str] = set()
    for record in (record for part in results for record in part.records.values()):
        identity = record.experiment.with_seed(0).identity
        models.add(identity)
        if record.device.startswith("cpu"):
            seconds.setdefault(identity, []).append(record.seconds)
    minutes = sum(sum(times) / len(times) for times in seconds.values()) / 60
    said = text.format(models=len(models), minutes=f"{minutes:.0f}", profile=study.profile)
    elsewhere = len(models) - len(seconds)
    was = "was" if elsewhere == 1 else "were"
    on_gpu = f"{elsewhere} of them {was} trained on a GPU, outside these minutes."
    return f"{said} {on_gpu}" if elsewhere else said
