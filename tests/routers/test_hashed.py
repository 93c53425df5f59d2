"""Routers that compare within a bucket, a cluster, a block, or what heads chose; hubs; slots."""

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from fcilib.routers import (
    LSH,
    BlockRouter,
    ExpertChoice,
    HubRouter,
    Investigator,
    KMeans,
    ProductKey,
)
from fcilib.specs.size import Size

SIZE = Size(vocabulary=20, length=37, width=16)
WHY = "pip install -e .[oracles]"


def some(batch=3, length=37):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(batch, length, 16, generator=rng)
    return x, torch.randint(length, (batch,), generator=rng)


def built(spec):
    torch.manual_seed(0)
    return spec.build(SIZE)


@pytest.fixture
def double():
    """So that what is equal can be told from what is nearly so."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def gradients(scores, leaves):
    """Of the finite scores, squared."""
    return torch.autograd.grad(scores[scores.isfinite()].square().sum(), leaves)


def compared(scores):
    return scores.isfinite()


def assert_parity(ours, theirs, leaves):
    """The values are equal, and so are the gradients, none of which is a rounding error."""
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(gradients(ours, leaves), gradients(theirs, leaves), strict=True):
        size = b.abs().max().item()
        assert size > 1e-9
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7 * size)


@pytest.mark.parametrize("spec", [LSH(), KMeans(), BlockRouter(), ExpertChoice()])
@pytest.mark.parametrize("length", [1, 2, 5, 37])
def test_odd_lengths_are_scored_and_something_is_compared(spec, length):
    x, query = some(length=length)
    scores = built(spec)(x, query)
    assert scores.shape == (3, length)
    assert compared(scores).any(dim=1).all()
    assert not scores.isnan().any()


# Locality-sensitive hashing.


@pytest.mark.parametrize(("hashes", "buckets"), [(1, 2), (4, 8), (3, 6)])
def test_buckets_are_the_reformers_under_the_same_rotations(hashes, buckets):
    package = pytest.importorskip("reformer_pytorch.reformer_pytorch", reason=WHY)
    theirs = package.LSHAttention(bucket_size=1, n_hashes=hashes)
    ours = built(LSH(hashes=hashes, buckets=buckets))
    keys, _ = some()
    torch.manual_seed(5)
    expected = theirs.hash_vectors(buckets, keys).view(3, hashes, 37)
    torch.manual_seed(5)
    ours.rotations.copy_(torch.randn(1, 16, hashes, buckets // 2)[0])
    offsets = buckets * torch.arange(hashes)
    assert torch.equal(ours.hash(keys).mT + offsets[:, None], expected)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("hashes", [1, 3])
def test_the_softmax_of_scores_and_its_gradients_are_the_reformers_attention(hashes):
    """For every query; against LSHAttention, which sorts, chunks, and merges its rounds itself."""
    package = pytest.importorskip("reformer_pytorch.reformer_pytorch", reason=WHY)
    theirs = package.LSHAttention(
        bucket_size=18, n_hashes=hashes, attend_across_buckets=False,
        allow_duplicate_attention=False, return_attn=True,
    )  # fmt: skip
    ours = built(LSH(hashes=hashes, buckets=2))
    half, _ = some(length=18)
    x = torch.cat([half, -half], dim=1).requires_grad_()  # so that each bucket fills its chunk
    torch.manual_seed(5)
    weights = theirs(ours.key(x), torch.zeros(3, 36, 16))[1]
    torch.manual_seed(5)
    ours.rotations.copy_(torch.randn(1, 16, hashes, 1)[0])
    # There, a token is not compared with itself: candidates="others".
    scores = ours.matrix(x).masked_fill(torch.eye(36, dtype=torch.bool), float("-inf"))
    assert 0 < compared(scores).float().mean() < 0.95
    assert_parity(scores.softmax(dim=2), weights, (x, *ours.parameters()))


def test_equal_vectors_always_share_a_bucket_and_the_others_are_left_out():
    router = built(LSH(hashes=1, buckets=16))
    x, query = some()
    x[:, 30] = x[torch.arange(3), query]
    scores = router(x, query)
    assert compared(scores)[:, 30].all()
    keys = router.key(x)
    buckets = router.hash(keys)[:, :, 0]
    for b in range(3):
        expected = buckets[b] == buckets[b, query[b]]
        assert torch.equal(compared(scores)[b], expected)
        dots = F.normalize(keys[b], dim=1) @ keys[b, query[b]] / 4
        torch.testing.assert_close(scores[b][expected], dots[expected])
    assert 0 < compared(scores).float().mean() < 0.5


def test_more_rounds_compare_more():
    x, query = some()
    shares = [compared(built(LSH(hashes=h))(x, query)).float().mean() for h in (1, 4, 64)]
    assert shares[0] < shares[1] < shares[2]


# K-means.


def test_means_move_as_the_routing_transformers():
    package = pytest.importorskip("routing_transformer.routing_transformer", reason=WHY)
    router = built(KMeans(clusters=6, memory=0.0))
    x, query = some()
    keys = F.normalize(router.key(x).detach(), dim=2)
    expected = package.kmeans_iter(keys.unsqueeze(1), router.means.unsqueeze(0).clone())
    dists, _ = package.dists_and_buckets(keys.unsqueeze(1), router.means.unsqueeze(0))
    torch.testing.assert_close(router.likeness(router.key(x)), dists[:, 0])
    router.observe(x, query, torch.zeros(3, 37), query)
    torch.testing.assert_close(router.means, expected[0])


@pytest.mark.usefixtures("double")
def test_the_softmax_of_scores_on_values_and_its_gradients_are_the_routing_transformers():
    """For every query; against KmeansAttention, which finds the members of clusters itself."""
    package = pytest.importorskip("routing_transformer.routing_transformer", reason=WHY)
    router = built(KMeans(clusters=6))
    x = some()[0].requires_grad_()
    keys = router.key(x).unsqueeze(1)
    values = torch.randn(3, 37, 16, generator=torch.Generator().manual_seed(1))
    # There, clusters take queries as they take keys. Here, a query asks its nearest mean: so each
    # cluster is a head that takes all queries, and the one that is nearest answers.
    theirs = package.KmeansAttention(
        num_clusters=1, window_size=37, context_window_size=7, num_heads=6, head_dim=16,
        receives_context=True,
    ).eval()  # fmt: skip
    theirs.kmeans.means.copy_(router.means.unsqueeze(1))
    theirs.kmeans.initted.fill_(True)
    out, _ = theirs(*(t.expand(3, 6, 37, 16) for t in (keys, keys, values.unsqueeze(1))))
    _, nearest = package.dists_and_buckets(F.normalize(keys, dim=3), router.means.unsqueeze(0))
    answered = out.gather(1, nearest.unsqueeze(3).expand(3, 1, 37, 16))[:, 0]
    expected = answered * (1 + 1e-5)  # their mean over one cluster divides by that
    ours = router.matrix(x).softmax(dim=2) @ values
    assert_parity(ours, expected, (x, *router.parameters()))


def test_means_keep_their_share_and_one_without_keys_stays():
    router = built(KMeans(clusters=2, memory=0.75))
    x, query = some()
    with torch.no_grad():
        direction = F.normalize(router.key(x).mean(dim=(0, 1)), dim=0)
        router.means[0], router.means[1] = direction, -direction
        x = x[:1, :1].expand(3, 37, 16)  # every key is the same
        nearest = int(router.likeness(router.key(x))[0, 0].argmax())
    before = router.means.clone()
    router.observe(x, query, torch.zeros(3, 37), query)
    key = F.normalize(router.key(x[0, 0]), dim=0)
    torch.testing.assert_close(router.means[nearest], 0.75 * before[nearest] + 0.25 * key)
    assert torch.equal(router.means[1 - nearest], before[1 - nearest])


def test_a_cluster_is_the_keys_nearest_to_the_querys_mean():
    router = built(KMeans(clusters=5))
    x, query = some()
    scores = router(x, query)
    keys = router.key(x)
    assert (compared(scores).sum(dim=1) == math.ceil(37 / 5)).all()
    for b in range(3):
        unit = F.normalize(keys[b], dim=1)
        mean = router.means[(unit[query[b]] @ router.means.T).argmax()]
        members = set((unit @ mean).argsort(descending=True)[:8].tolist())
        assert set(compared(scores)[b].nonzero().flatten().tolist()) == members
        expected = keys[b] @ keys[b, query[b]] / 4
        torch.testing.assert_close(scores[b][compared(scores)[b]], expected[compared(scores)[b]])


# Blocks.


@pytest.mark.parametrize("blocks", [10, 100])
def test_with_all_blocks_it_is_the_investigator(blocks):
    x, query = some()
    router, whole = built(BlockRouter(block=4, blocks=blocks)), built(Investigator())
    router.pairwise.load_state_dict(whole.state_dict())
    torch.testing.assert_close(router(x, query), whole(x, query))
    ours, theirs = (gradients(r(x, query), tuple(r.parameters())) for r in (router, whole))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_the_blocks_are_those_whose_mean_scores_best_and_the_querys_own():
    router = built(BlockRouter(block=5, blocks=3))
    x, query = some()
    scores, every = router(x, query), router.pairwise(x, query)
    for b in range(3):
        means = torch.stack([part.mean() for part in every[b].split(5)])  # Eq. 1 is linear in x_j
        own = int(query[b]) // 5
        others = [i for i in means.argsort(descending=True).tolist() if i != own][:2]
        expected = torch.cat(
            [torch.full_like(p, i in {own, *others}) for i, p in enumerate(every[b].split(5))]
        ).bool()
        assert torch.equal(compared(scores)[b], expected)
        torch.testing.assert_close(scores[b][expected], every[b][expected])


def test_a_learned_compression_adds_its_score_and_learns():
    router = built(BlockRouter(block=5, blocks=3, compression="learned"))
    x, query = some()
    scores = router(x, query)
    padded = F.pad(x, (0, 0, 0, 3)).view(3, 8, 5, 16)
    keys = router.compress((padded + router.places).flatten(2))
    rows = torch.arange(3)
    gate = torch.stack(
        [router.pairwise.compare(x[rows, query], keys[:, i : i + 1])[:, 0] for i in range(8)], dim=1
    )
    expected = router.pairwise(x, query) + gate.repeat_interleave(5, dim=1)[:, :37]
    where = compared(scores)
    torch.testing.assert_close(scores[where], expected[where])
    assert all(g.abs().sum() > 0 for g in gradients(scores, tuple(router.parameters())))


@pytest.mark.usefixtures("double")
@pytest.mark.filterwarnings("ignore:Flash Attention is not installed:ImportWarning")
@pytest.mark.parametrize("compression", ["mean", "learned"])
def test_the_softmax_of_scores_and_its_gradients_are_native_sparse_attentions(
    monkeypatch, compression
):
    """Against fla-core's plain forms: they weigh compressed keys, and attend to chosen blocks."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "layers")
    from naive import naive

    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # they narrow what they get
    for module, name in (("utils", "prepare_chunk_offsets"), ("utils.pooling", "mean_pooling")):
        # What needs Triton, and is not called here.
        monkeypatch.setitem(sys.modules, f"fla.ops.{module}", SimpleNamespace(**{name: None}))
    theirs = naive("nsa")
    router = built(BlockRouter(block=5, blocks=3, compression=compression))
    x, query = some(batch=24)
    x.requires_grad_()
    summaries = F.avg_pool1d(x.mT, 5, ceil_mode=True).mT
    if compression == "learned":
        padded = F.pad(x, (0, 0, 0, 3)).view(24, 8, 5, 16)
        summaries = router.compress((padded + router.places).flatten(2))
    # There, one attends to the past alone: the query stands at the end, and its block is given.
    asking = router.pairwise.query(x[torch.arange(24), query])[:, None, None].expand(24, 40, 1, 16)
    keys, short = router.pairwise.key(x), router.pairwise.key(summaries)
    values = torch.eye(40).expand(24, 40, 40).unsqueeze(2)  # so that what comes out are the weights
    gates, _ = theirs.naive_nsa_compression(asking, short.unsqueeze(2), values[:, :8], 5, 1 / 8)
    best = gates[:, -1, 0, :8].scatter(1, query[:, None] // 5, 2).topk(3, dim=1).indices
    chosen = torch.zeros(24, 37, 1, 3, dtype=torch.int64)
    chosen[:, -1, 0] = best
    if compression == "learned":  # here, a block's score is added to those of its tokens
        keys = keys + short.repeat_interleave(5, dim=1)[:, :37]
    weights = theirs.naive_nsa_selection(
        asking[:, :37], keys.unsqueeze(2), values[:, :37], chosen, block_size=5, scale=1 / 8
    )[:, -1, 0, :37]
    # A softmax does not see a bias that all keys of blocks share.
    leaves = [p for name, p in router.named_parameters() if name != "compress.2.bias"]
    assert_parity(router(x, query).softmax(dim=1), weights, (x, *leaves))


# Expert choice.


@pytest.mark.usefixtures("double")
def test_scores_and_their_gradients_are_those_of_colt5s_routed_attention():
    """For every query; against its router, which takes tokens, and its heads, which compare them.

    A key of zeros stands beside those taken, so that a score is the log of a ratio of weights.
    """
    package = pytest.importorskip("colt5_attention.transformer_block", reason=WHY)
    ours = built(ExpertChoice(heads=4, share=0.2))
    x = some()[0].requires_grad_()
    takes = package.CoordinateDescentRouter(16, num_routing_tokens=4, fetch_k_ratio=1, eps=1.0)
    heads = package.Attention(16, dim_head=4, heads=4, multiply_keys_by_score=True)
    heads.norm = heads.to_out = torch.nn.Identity()
    values = torch.eye(9).expand(3, 4, 9, 9)  # so that what comes out are the weights
    heads.attend.register_forward_pre_hook(lambda _, qkv: (*qkv[:2], values))
    taken = functional_call(takes, {"routing_token": ours.rate.weight}, (x,), {"num_tokens": 8})
    # There, a router makes its ratings from all of them; here, each is a sigmoid.
    ratings = ours.rate(x).sigmoid().mT.gather(2, taken.indices)
    keys = ours.key.weight.view(4, 4, 16)
    given = {
        "to_q.weight": ours.query.weight,
        "to_kv.weight": torch.cat([keys, torch.zeros(4, 4, 16)], dim=1).flatten(0, 1),
        "null_kv": torch.zeros(2, 4, 4),
    }
    # Not `taken.routed_tokens`: with several routes, those come from the wrong sequences.
    tokens = package.batched_gather(x, taken.indices)
    named = {"context": tokens, "normalized_scores_kv": ratings}
    weights = functional_call(heads, given, (x,), named).unflatten(2, (4, 9))
    products = (weights[..., 1:] / weights[..., :1]).log().flatten(2)  # (B, L, heads * taken)
    where = taken.indices.flatten(1).unsqueeze(1).expand_as(products)
    none = torch.ones(3, 37, 37, dtype=torch.bool).scatter(2, where, False)
    expected = torch.zeros(3, 37, 37).scatter_add(2, where, products)
    expected = expected.masked_fill(none, float("-inf"))
    assert 0 < none.float().mean() < 0.75
    assert_parity(ours.matrix(x), expected, (x, *ours.parameters()))


def test_a_score_is_the_sum_over_the_heads_that_took_the_token():
    router = built(ExpertChoice(heads=2, share=0.2))
    x, query = some()
    scores = router(x, query)
    for b in range(3):
        expected = torch.zeros(37)
        taken = torch.zeros(37, dtype=torch.bool)
        ratings = torch.sigmoid(x[b] @ router.rate.weight.T + router.rate.bias)
        for h in range(2):
            rows = slice(8 * h, 8 * h + 8)
            best = ratings[:, h].argsort(descending=True)[:8]
            q = router.query.weight[rows] @ x[b, query[b]]
            k = x[b] @ router.key.weight[rows].T
            expected[best] += (ratings[:, h] * (k @ q) / 8**0.5)[best]
            taken[best] = True
        assert torch.equal(compared(scores)[b], taken)
        torch.testing.assert_close(scores[b][taken], expected[taken])


def test_what_the_heads_take_does_not_depend_on_who_asks():
    router = built(ExpertChoice())
    x, _ = some()
    matrix = router.matrix(x)
    assert torch.equal(compared(matrix), compared(matrix[:, :1]).expand_as(matrix))
    rates = gradients(matrix, [router.rate.weight])[0]
    assert rates.abs().sum() > 0


# Hubs.


@pytest.mark.parametrize("hubs", [1, 3, 32])
def test_scores_have_the_rank_of_the_hubs(hubs):
    router = built(HubRouter(hubs=hubs))
    x, query = some()
    matrix = router.matrix(x)
    rank = torch.linalg.matrix_rank(matrix[0].detach().double(), rtol=1e-5)
    assert rank == min(hubs, 15)  # what hubs have read is normalised, and has one dimension less
    torch.testing.assert_close(router(x, query), matrix[torch.arange(3), query])
    assert all(g.isfinite().all() for g in gradients(matrix, tuple(router.parameters())))


@pytest.mark.usefixtures("double")
def test_scores_and_their_gradients_follow_from_torchs_attention_and_bilinear_form():
    """Hubs read by MultiheadAttention, and fingerprints are compared by `bilinear`."""
    router = built(HubRouter(hubs=3))
    x, query = some()
    x.requires_grad_()
    encode, hubs = router.encode, router.hubs.expand(3, -1, -1)
    with torch.no_grad():
        router.score.add_(torch.randn(3, 3))
    given = {
        "in_proj_weight": torch.cat([encode.query.weight, encode.key_value.weight]),
        "in_proj_bias": torch.cat([encode.query.bias, encode.key_value.bias]),
        "out_proj.weight": encode.out.weight,
        "out_proj.bias": encode.out.bias,
    }
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    read = hubs + functional_call(theirs, given, (hubs, x, x), {"need_weights": False})[0]
    read = F.layer_norm(read, (16,), router.norm.weight, router.norm.bias)
    prints = F.linear(x, router.key.weight) @ read.mT / 4
    asking = prints[torch.arange(3), query].unsqueeze(1).expand(3, 37, 3).contiguous()
    expected = F.bilinear(asking, prints, router.score[None]).squeeze(2)
    assert_parity(router(x, query), expected, (x, *router.parameters()))


# Product keys.


@pytest.mark.parametrize(("keys", "reads"), [(4, 3), (4, 16), (9, 20)])
def test_the_best_slots_are_the_best_of_all_pairs(keys, reads):
    router = built(ProductKey(keys=keys, reads=reads))
    halves = router.halves(some()[0][:, 0])
    slots, weights = router.best(halves)
    every = (halves[:, 0, :, None] + halves[:, 1, None]).flatten(1)
    best = every.topk(reads, dim=1)
    assert torch.equal(slots, best.indices)
    torch.testing.assert_close(weights, best.values.softmax(dim=1))


def test_the_slots_are_those_of_the_package():
    package = pytest.importorskip("product_key_memory", reason=WHY)
    theirs = package.PKM(16, heads=1, num_keys=5, topk=4, dim_head=8).eval()
    router = built(ProductKey(keys=5, reads=4))
    x, _ = some(batch=1)
    seen = {}
    with torch.no_grad():
        theirs.norm = torch.nn.Identity()
        theirs.to_queries.weight.copy_(router.address.weight)
        theirs.keys.copy_(router.keys.transpose(0, 1).unsqueeze(0))
        theirs.values.register_forward_pre_hook(
            lambda _, arguments, named: seen.update(
                slots=arguments[0], weights=named["per_sample_weights"]
            ),
            with_kwargs=True,
        )
        theirs(x)
        slots, weights = router.best(router.halves(x[0]))
    order, its = slots.argsort(dim=1), seen["slots"].argsort(dim=1)
    assert torch.equal(slots.gather(1, order), seen["slots"].gather(1, its))
    torch.testing.assert_close(weights.gather(1, order), seen["weights"].gather(1, its))


@pytest.mark.usefixtures("double")
def test_scores_and_their_gradients_follow_from_two_memories_of_the_package():
    """For every query: what it reads, and how tokens divide themselves, are the package's."""
    package = pytest.importorskip("product_key_memory", reason=WHY)
    router = built(ProductKey(keys=5, reads=4))
    x = some()[0].requires_grad_()
    # There, no more slots are read than a side has keys, and all 25 are wanted: beside its five
    # stand twenty that match nothing, by one more entry, which is 1 in every address.
    keys = torch.cat([F.pad(router.keys, (0, 1)), torch.zeros(2, 20, 9)], dim=1)
    keys = keys + F.pad(torch.full((20, 1), -1e3), (8, 0, 5, 0))
    given = {
        "to_queries.weight": router.address.weight,
        "keys": keys.transpose(0, 1).unsqueeze(0),
        "values.weight": torch.eye(25**2),
    }

    def memory(reads):
        theirs = package.PKM(16, heads=1, num_keys=25, topk=reads, dim_head=8).eval()
        theirs.norm = torch.nn.ConstantPad1d((0, 1), 1.0)
        return functional_call(theirs, given, (x,))  # each token's weight in every slot

    expected = (memory(4) @ memory(25).mT).log()
    assert_parity(router.matrix(x), expected, (x, *router.parameters()))


def test_a_score_is_the_log_of_the_share_in_the_slots_that_are_read():
    router = built(ProductKey(keys=4, reads=3))
    x, query = some()
    scores, halves = router(x, query), router.halves(x)
    table = (
        halves.softmax(dim=3)[:, :, 0, :, None] * halves.softmax(dim=3)[:, :, 1, None]
    ).flatten(2)
    for b in range(3):
        slots, weights = router.best(halves[b, query[b]][None])
        expected = sum(w * table[b, :, s] for s, w in zip(slots[0], weights[0], strict=True)).log()
        torch.testing.assert_close(scores[b], expected)
    assert all(g.abs().sum() > 0 for g in gradients(scores, tuple(router.parameters())))


def test_sizes_that_can_not_be_are_refused():
    for spec, word in ((ExpertChoice(heads=3), "heads"), (BlockRouter(heads=3), "heads")):
        with pytest.raises(ValueError, match=word):
            spec.build(SIZE)
    with pytest.raises(ValueError, match="halves"):
        ProductKey().build(Size(20, 37, 15))
    with pytest.raises(ValueError, match="buckets"):
        LSH(buckets=7)
