"""The whole of FCI: shapes, what the Council may read, and where gradients go."""

import pytest
import torch
from torch.nn import functional as F

from fcilib.model.council import Council, CouncilLayer
from fcilib.representations import Attention, Embedding
from fcilib.routers import BloomIndex, ClosedLoop, Investigator, RandomRouter, RankOne
from fcilib.specs.size import Size
from fcilib.tasks import MQAR, Evidence
from fcilib.training.experiment import Experiment

TASK = Evidence(length=32, vocabulary=16, min_distance=8, distractors=2)


def build(**parts):
    torch.manual_seed(0)
    start = {"task": TASK, "width": 16, "representation": Attention(), "router": Investigator()}
    return Experiment(**{**start, **parts}).build()


@pytest.mark.parametrize("router", [Investigator(), RankOne(), RandomRouter(), None])
@pytest.mark.parametrize("slots", ["none", "learned"])
def test_shapes(router, slots):
    batch = TASK.draw(5, 0)
    output = build(router=router, council=Council(slots=slots))(batch.tokens, batch.query)
    assert output.logits.shape == (5, 16)
    if router is None:
        assert output.scores is None
    else:
        assert output.scores.shape == (5, 32)
        assert output.picks.shape == (5, 16)


@pytest.mark.parametrize(
    "router",
    [Investigator(candidates="others"), RankOne(), BloomIndex(segment=4), ClosedLoop(), None],
)
def test_questions_of_one_sequence_are_answered_as_if_each_were_asked_alone(router):
    task = MQAR(length=32, vocabulary=16, pairs=3, form="multi", asks="all")
    batch, model = task.draw(4, 0), build(task=task, router=router).eval()
    together = model(batch.tokens, batch.query, batch.evidence)
    for n in range(3):
        alone = model(batch.tokens, batch.query[:, n], batch.evidence[:, n])
        torch.testing.assert_close(together.logits[n::3], alone.logits)
        if router is not None:
            torch.testing.assert_close(together.scores[n::3], alone.scores)
            assert torch.equal(together.picks[n::3], alone.picks)


def test_others_never_picks_the_query_first():
    batch = TASK.draw(200, 0)
    output = build(router=Investigator(candidates="others"))(batch.tokens, batch.query)
    assert not (output.picks[:, :8] == batch.query[:, None]).any()


def test_the_prediction_teaches_the_representation_but_not_the_router():
    batch = TASK.draw(5, 0)
    model = build()
    model(batch.tokens, batch.query).logits.sum().backward()
    assert all(p.grad is None for p in model.router.parameters())
    assert model.representation[0].token.weight.grad.abs().sum() > 0


def test_the_council_reads_the_picked_tokens_and_no_others():
    torch.manual_seed(0)
    council = CouncilLayer(16, heads=4, slots=0)
    x, query, picks = torch.randn(2, 9, 16), torch.tensor([0, 1]), torch.tensor([[3, 4], [5, 6]])
    read = council(x, query, picks)
    unseen = x.clone()
    unseen[:, 7:] += 1
    torch.testing.assert_close(council(unseen, query, picks), read)
    seen = x.clone()
    seen[0, 4] += 1
    assert not torch.allclose(council(seen, query, picks)[0], read[0])


@pytest.mark.parametrize("slots", [0, 3])
def test_the_council_is_a_transformers_block_with_one_query(slots):
    """`MultiheadAttention` with the same weights, then sums with the query and with the network."""
    torch.manual_seed(0)
    council = CouncilLayer(16, heads=4, slots=slots)
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    ours = council.attention
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
        if slots:
            council.slots.normal_()
    x, query, picks = torch.randn(1, 9, 16), torch.tensor([2]), torch.tensor([[7, 0, 4]])
    asking, picked = x[:, 2:3], x[:, [7, 0, 4]]
    if slots:
        picked = picked + council.slots  # the vector of its rank, for each pick
    read = asking + theirs(asking, picked, picked, need_weights=False)[0]
    expected = read + council.feed_forward(F.layer_norm(read, (16,)))
    torch.testing.assert_close(council(x, query, picks), expected[:, 0])


def test_a_council_has_a_vector_for_each_rank_only_if_told_ranks():
    size = Size(vocabulary=16, length=32, width=16)
    assert Council().build(size, 6).slots is None
    learned = Council(slots="learned").build(size, 6).slots
    assert learned.shape == (6, 16)
    assert learned.eq(0).all()
    assert learned.requires_grad


def test_the_council_reads_a_repeated_pick_once():
    torch.manual_seed(0)
    council = CouncilLayer(16, heads=4, slots=0)
    x, query = torch.randn(1, 9, 16), torch.tensor([0])
    once = council(x, query, torch.tensor([[3, 4, 5]]))
    # Unevenly: were each read as often as it stands there, its weight would not be the same.
    for picks in ([3, 4, 5, 4, 4, 3], [3, 3, 3, 4, 5]):
        torch.testing.assert_close(council(x, query, torch.tensor([picks])), once)


def test_content_only_ties_with_its_own_answer_under_all():
    """With token-only vectors x_q = x_a, so s_qq = s_qa whatever the router's weights are."""
    batch = TASK.draw(50, 0)
    model = build(representation=Embedding(positions="none"))
    scores = model(batch.tokens, batch.query).scores
    rows = torch.arange(50)
    torch.testing.assert_close(scores[rows, batch.query], scores[rows, batch.evidence])


@pytest.mark.parametrize("representation", [Attention(), Embedding()])
def test_what_the_router_sees_is_normalised_or_handed_on_unchanged(representation):
    tokens = TASK.draw(5, 0).tokens
    plain = build(normalisation="none", representation=representation)
    x = plain.representation(tokens)
    assert torch.equal(plain.represent(tokens), x)
    layer = build(representation=representation)
    with torch.no_grad():
        layer.norm.weight.add_(torch.randn(16))
        layer.norm.bias.add_(torch.randn(16))
    expected = F.layer_norm(x, (16,), layer.norm.weight, layer.norm.bias)
    torch.testing.assert_close(layer.represent(tokens), expected)
    assert not torch.allclose(layer.represent(tokens), x)


def test_the_choice_of_normalisation_moves_no_other_parameter():
    layer, plain = (dict(build(normalisation=n).named_parameters()) for n in ("layer", "none"))
    assert layer.keys() - plain.keys() == {"norm.weight", "norm.bias"}
    assert all(torch.equal(layer[name], plain[name]) for name in plain)


def test_without_normalisation_router_and_council_see_the_same_vectors():
    batch = TASK.draw(5, 0)
    model = build(normalisation="none")
    x, seen = model.representation(batch.tokens), []
    for part in (model.router, model.council):
        part.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    model(batch.tokens, batch.query)
    assert len(seen) == 2
    assert all(torch.equal(given, x) for given in seen)


@pytest.mark.parametrize("shape", [(2, 31), (2, 32, 1), (2, 32, 32), (1, 32), (64,)])
def test_scores_that_are_not_one_for_each_candidate_are_refused(shape):
    experiment = Experiment(
        task=Evidence(length=32, vocabulary=16, min_distance=8, distractors=2),
        width=16,
        representation=Embedding(),
        router=Investigator(),
    )
    model, batch = experiment.build(), experiment.task.draw(2, 0, "test").first
    model.router.forward = lambda x, query: torch.zeros(shape)
    with pytest.raises(ValueError, match=r"router: investigator has scores .* = \(2, 32\)"):
        model(batch.tokens, batch.query)
