"""Routers that compare within a bucket, a cluster, a block, or what heads chose; hubs; slots."""

import math

import pytest
import torch
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


def gradients(scores, leaves):
    """Of the finite scores, squared."""
    return torch.autograd.grad(scores[scores.isfinite()].square().sum(), leaves)


def compared(scores):
    return scores.isfinite()


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


# Expert choice.


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


def test_hubs_read_as_torchs_attention_does():
    router = built(HubRouter(hubs=3))
    x, _ = some()
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    encode = router.encode
    theirs.in_proj_weight.data = torch.cat([encode.query.weight, encode.key_value.weight])
    theirs.in_proj_bias.data = torch.cat([encode.query.bias, encode.key_value.bias])
    theirs.out_proj.load_state_dict(encode.out.state_dict())
    hubs = router.hubs.expand(3, -1, -1)
    read = router.norm(hubs + theirs(hubs, x, x, need_weights=False)[0])
    expected = router.key(x) @ read.mT / 4
    torch.testing.assert_close(router.fingerprints(x), expected)


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
