"""The router that compares by angle alone."""

import pytest
import torch
from torch.nn import functional as F

from fcilib.model import metrics
from fcilib.representations import Embedding
from fcilib.routers import Cosine
from fcilib.specs.size import Size
from fcilib.tasks import Evidence
from fcilib.training.experiment import Experiment, Training
from fcilib.training.loop import train

SIZE = Size(vocabulary=20, length=37, width=16)


def test_scores_are_cosines():
    torch.manual_seed(0)
    x, query = torch.randn(3, 37, 16), torch.tensor([0, 36, 5])
    x[1, 3] = 0  # a vector without a direction has none in common
    router = Cosine().build(SIZE)
    expected = torch.stack([F.cosine_similarity(x[b], x[b, q][None]) for b, q in enumerate(query)])
    torch.testing.assert_close(router(x, query), expected)
    torch.testing.assert_close(router.matrix(x)[torch.arange(3), query], expected)
    assert list(router.parameters()) == []
    assert router.form() is None


@pytest.mark.parametrize(("candidates", "right"), [("all", 0.0), ("others", 1.0)])
def test_it_finds_the_copy_of_a_vector_once_the_query_itself_is_left_out(candidates, right):
    """Among all, the query and its copy tie where vectors hold no position."""
    task = Evidence(length=40, vocabulary=30, min_distance=8, distractors=2)
    for positions, found in (("none", right or 0.5), ("learned", right and None)):
        router = Cosine(candidates=candidates)
        representation = Embedding(positions=positions)
        experiment = Experiment(task=task, width=64, representation=representation, router=router)
        torch.manual_seed(0)
        model = experiment.build().eval()
        batch = task.draw(50, 0)
        with torch.no_grad():
            output = model(batch.tokens, batch.query)
        scored = metrics.score(output, batch, router.k)
        if found is not None:
            assert scored["precision"].mean() == found


def test_training_leaves_what_it_finds_as_it_was():
    task = Evidence(length=32, vocabulary=17, min_distance=8, distractors=2, class_size=4, unseen=2)
    training = Training(sequences=64, epochs=2, held_out=32)
    representation = Embedding(positions="none", vectors="minilm", embeddings="frozen")
    outcome = train(
        Experiment(
            task=task,
            width=16,
            representation=representation,
            router=Cosine(candidates="others"),
            normalisation="none",
            training=training,
        )
    )
    first, second = (epoch["precision"] for epoch in outcome.curve)
    assert first == second > 0.5
