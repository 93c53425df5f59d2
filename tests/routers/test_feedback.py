"""The closed loop: what the Council makes of the picks raises or lowers them."""

import pytest
import torch
from torch.nn import functional as F

from fcilib.model.fci import Output
from fcilib.representations import Embedding
from fcilib.routers import ClosedLoop
from fcilib.specs.size import Size
from fcilib.tasks import Evidence
from fcilib.training.experiment import Experiment
from fcilib.training.loop import _loss

SIZE = Size(vocabulary=20, length=37, width=16)
TASK = Evidence(length=33, vocabulary=16, min_distance=8, distractors=2)


def build(**fields):
    torch.manual_seed(0)
    router = ClosedLoop(**fields)
    return Experiment(task=TASK, width=16, representation=Embedding(), router=router).build()


def run(model, batch):
    return model(batch.tokens, batch.query, batch.evidence)


def set_credit(model, value):
    """Whatever the Council read, that much is added to its picks."""
    with torch.no_grad():
        model.router.credit.weight.zero_()
        model.router.credit.bias.fill_(value)


def picked(output, k):
    return [set(row.tolist()) for row in output.picks[:, :k]]


@pytest.mark.parametrize("length", [1, 8, 37])
def test_one_round_is_a_score_per_token(length):
    torch.manual_seed(0)
    x, query = torch.randn(3, length, 16), torch.zeros(3, dtype=torch.long)
    router = ClosedLoop(rounds=1).build(SIZE)
    expected = F.linear(x, router.score.weight, router.score.bias).squeeze(2)
    assert torch.equal(router(x, query), expected)
    # No token matters to another, nor does the query.
    changed = x.clone()
    changed[:, 0] += 1
    assert torch.equal(router(changed, query + length - 1)[:, 1:], expected[:, 1:])
    assert not torch.equal(router(changed, query)[:, 0], expected[:, 0])


@pytest.mark.parametrize("candidates", ["all", "others"])
def test_a_model_of_one_round_feeds_nothing_back(candidates):
    model, batch = build(rounds=1, candidates=candidates), TASK.draw(5, 0)
    output = run(model, batch)
    x = model.represent(batch.tokens)
    expected = model.router_spec.mask(model.router.score(x).squeeze(2), batch.query)
    assert torch.equal(output.scores, expected)
    set_credit(model, -100.0)
    assert torch.equal(run(model, batch).scores, expected)


@pytest.mark.parametrize("candidates", ["all", "others"])
@pytest.mark.parametrize("rounds", [2, 3])
@pytest.mark.parametrize("k", [1, 4])
def test_picks_that_led_nowhere_make_room_for_others(rounds, k, candidates):
    batch = TASK.draw(5, 0)
    fields = {"k": k, "candidates": candidates}
    first = build(rounds=1, **fields)
    scores = run(first, batch).scores
    model = build(rounds=rounds, **fields)
    set_credit(model, -100.0)
    output = run(model, batch)
    ranked = scores.argsort(dim=1, descending=True)
    assert picked(output, k) == [set(row.tolist()) for row in ranked[:, (rounds - 1) * k :][:, :k]]
    lost = scores - output.scores
    tried = ranked[:, : (rounds - 1) * k]
    torch.testing.assert_close(lost.gather(1, tried), torch.full(tried.shape, 100.0))
    kept = ranked[:, (rounds - 1) * k : 31]
    assert torch.equal(output.scores.gather(1, kept), scores.gather(1, kept))


def test_praise_keeps_the_picks():
    batch = TASK.draw(5, 0)
    model = build(rounds=3, k=4)
    set_credit(model, 100.0)
    output, first = run(model, batch), run(build(rounds=1, k=4), batch)
    assert picked(output, 4) == picked(first, 4)
    raised = (output.scores - first.scores).gather(1, first.picks[:, :4])
    torch.testing.assert_close(raised, torch.full((5, 4), 200.0), atol=1e-3, rtol=0)


def test_credit_is_a_linear_map_of_what_was_read_and_goes_to_the_picks_alone():
    torch.manual_seed(0)
    router = ClosedLoop(rounds=2).build(SIZE)
    scores, read = torch.randn(3, 37), torch.randn(3, 16)
    picks = torch.stack([torch.randperm(37)[:4] for _ in range(3)])
    refined = router.refine(scores, picks, read)
    for row in range(3):
        credit = float((router.credit.weight[0] @ read[row] + router.credit.bias[0]).detach())
        for place in range(37):
            added = credit if place in picks[row] else 0.0
            got = refined[row, place].item()
            assert got == pytest.approx(scores[row, place].item() + added, abs=1e-5)


def test_a_pick_that_stands_in_for_missing_candidates_is_credited_once():
    torch.manual_seed(0)
    router = ClosedLoop(rounds=2).build(SIZE)
    scores, read = torch.randn(2, 37), torch.randn(2, 16)
    for repeated, once in [([5, 9, 5, 5], [5, 9]), ([7, 7], [7])]:
        refined, expected = (
            router.refine(scores, torch.tensor([picks, picks]), read) for picks in (repeated, once)
        )
        assert torch.equal(refined, expected)


@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("candidates", ["all", "others"])
def test_the_routing_loss_teaches_the_credit_where_there_is_a_round_to_give_it(rounds, candidates):
    model, batch = build(rounds=rounds, candidates=candidates), TASK.draw(16, 0)
    output = run(model, batch)
    # The task loss is of a prediction that the router gets no gradient from.
    _loss(Output(output.logits.detach(), output.scores, None), batch, 1.0).backward()
    assert model.router.score.weight.grad.abs().sum() > 0
    if rounds == 1:
        assert model.router.credit.weight.grad is None
    else:
        assert model.router.credit.weight.grad.abs().sum() > 0
    given = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in given)


def test_a_run_of_the_loop_repeats():
    batch = TASK.draw(16, 0)
    one, other = run(build(), batch), run(build(), batch)
    assert torch.equal(one.scores, other.scores)
    assert torch.equal(one.logits, other.logits)


def test_no_rounds_are_refused():
    with pytest.raises(ValueError, match="rounds"):
        ClosedLoop(rounds=0)


def test_a_second_round_is_the_models_to_ask_for():
    x = torch.randn(9, 16, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="rounds"):
        ClosedLoop(rounds=2).build(SIZE).route(x, 0, 2)
    router = ClosedLoop(rounds=1).build(SIZE)
    scores = router(x[None], torch.tensor([0]))[0]
    assert torch.equal(router.route(x, 0, 2), scores.topk(2).indices)
