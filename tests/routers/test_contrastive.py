"""Projections pretrained to match: the loss against a library's, and what training leaves alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fcilib.representations import Embedding
from fcilib.routers import ContrastiveInvestigator, Investigator
from fcilib.specs.size import Size
from fcilib.study.profiles import PROFILES
from fcilib.training.experiment import Experiment, Training
from fcilib.training.loop import train

SMOKE = PROFILES["smoke"]
SIZE = Size(vocabulary=16, length=32, width=16)


def experiment(router, **training) -> Experiment:
    return Experiment(
        task=SMOKE.evidence,
        width=SMOKE.width,
        representation=Embedding(),
        router=router,
        training=Training(**{"sequences": 128, "epochs": 2, "held_out": 64, **training}),
    )


def test_the_loss_is_infonce_pair_by_pair():
    torch.manual_seed(0)
    router = ContrastiveInvestigator(temperature=0.2).build(SIZE)
    x = torch.randn(5, 32, 16)
    query, evidence = torch.arange(5), torch.arange(5) + 7
    asking = [router.query.weight @ x[b, q] for b, q in enumerate(query)]
    keys = [router.key.weight @ x[b, a] for b, a in enumerate(evidence)]
    cosines = torch.stack(
        [torch.stack([F.cosine_similarity(u, w, dim=0) for w in keys]) for u in asking]
    )
    expected = -torch.stack(
        [torch.log(torch.exp(row / 0.2)[b] / torch.exp(row / 0.2).sum())
         for b, row in enumerate(cosines)]
    ).mean()  # fmt: skip
    torch.testing.assert_close(router.loss(x, query, evidence), expected)


def test_scores_are_the_investigators():
    torch.manual_seed(0)
    ours, theirs = ContrastiveInvestigator().build(SIZE), Investigator().build(SIZE)
    theirs.load_state_dict(ours.state_dict())
    x, query = torch.randn(3, 32, 16), torch.tensor([0, 5, 31])
    assert torch.equal(ours(x, query), theirs(x, query))


def test_pretraining_moves_the_projections_and_training_does_not():
    before, pretrained, trained = (
        train(experiment(ContrastiveInvestigator(epochs=passes), epochs=epochs)).model
        for passes, epochs in ((0, 0), (2, 0), (2, 2))
    )
    for name in ("query", "key"):
        start, kept, end = (getattr(m.router, name).weight for m in (before, pretrained, trained))
        assert not torch.equal(start, kept)
        assert torch.equal(kept, end)
    vectors = [m.representation[0].token.weight for m in (before, pretrained, trained)]
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.equal(vectors[1], vectors[2])


def test_pretraining_lowers_the_loss():
    model = train(experiment(ContrastiveInvestigator(epochs=0), epochs=0)).model
    data = SMOKE.evidence.draw(256, 0)

    def loss():
        with torch.no_grad():
            return model.router.loss(model.represent(data.tokens), data.query, data.evidence)

    before = loss()
    model.router.spec = ContrastiveInvestigator(epochs=20)
    model.pretrain(data)
    assert loss() < 0.6 * before


@pytest.mark.parametrize("name", ["batch", "temperature", "learning_rate"])
def test_bad_fields_are_named(name):
    with pytest.raises(ValueError, match=name):
        ContrastiveInvestigator(**{name: 0})
