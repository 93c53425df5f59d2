# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 8. The protocol audit
#
# **The question.** A *router* is given one position of a sequence, the *query*, and has to pick the *evidence*, the only other
# position with the same token. In the paper it fails on *raw embeddings*, a vector for each token plus one for its position,
# and succeeds behind one layer of attention. The paper leaves many choices of training and counting open. Which of them
# change which result? And which single *protocol*, one option for each choice, agrees with most of its Table 3?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **The claim.** *Precision* is the share of sequences whose evidence is picked. It is 35% at most on raw embeddings, and 98%
# at least behind one layer of attention. Routers that pick segments and compare no pairs of tokens reach 29% at most
# {cite:p}`basu2026routing` (abstract, §4, §5). Chance is {glue:text}`chance tokens`, for segments
# {glue:text}`chance segments`.
#
# **What we found.** {glue:text}`verdict`
#
# **To run it again.** `.venv/bin/fci run 08 --seeds 1 --records _runs/records` {glue:text}`cost`

# %% tags=["parameters"]
profile = "quick"  # smoke, quick or paper
seeds = 1
executor = "process"  # inline, process or ray
device = "cpu"  # cpu, cuda or auto
records = ""  # a folder; empty for the repository's own

# %%
from fcilib.study import Study

study = Study.from_parameters(globals())
print(study)

# %% tags=["hide-input"]
import itertools
import math
import time

import matplotlib.pyplot as plt
import pandas as pd
import torch
from myst_nb import glue

from fcilib.ledger.catalogue import catalogue, chance_of, watched
from fcilib.ledger.chance import level
from fcilib.ledger.claims import FAILURE, SUCCESS, claims
from fcilib.ledger.ledger import ledger
from fcilib.model.council import Council
from fcilib.model.film import FILMED
from fcilib.present import figures, interactive
from fcilib.present.closing import close, measured, trained
from fcilib.present.paper_size import paper_records, paper_text
from fcilib.present.tables import further, labelled, linked
from fcilib.representations import Attention, Embedding, Flow
from fcilib.routers import Investigator, RankOne, SegmentRouter
from fcilib.study.notation import NONE, percent, spread
from fcilib.study.profiles import profile as profile_of
from fcilib.tasks import Evidence

# %% [markdown]
# ## How can one trained model count as a failure and as a success?
#
# In one test sequence, position {glue:text}`asks` is the query, and position {glue:text}`holds` has the same token. The router
# gives each position a share, and picks the largest. We trained it twice on raw embeddings, with and without vectors for
# positions.

# %% tags=["hide-input"]
sizes = study.sizes
task, training = sizes.evidence, sizes.training
CHOICES = {
    "candidates": ("all", "others"),
    "positions": ("learned", "none", "sinusoidal"),
    "order": ("query-first", "evidence-first", "either"),
    "filler may repeat the key": (False, True),
    "distractors": (task.distractors, 0, 2 * task.distractors),
    "norm before the router": ("layer", "none"),
    "initial embedding scale": (1.0, 0.02),
    "embeddings": ("trained", "frozen"),
    "largest learning rate": (1e-3, 1e-4, 1e-2),
    "k": ("default", 1, 16),
    "routing loss weight": ((1.0, 0.1), (0.1, 0.1), (0.0, 0.0)),
}
CHANGED = {
    "candidates": ["the query may not be picked"],
    "positions": ["no positions", "sinusoidal positions"],
    "order": ["evidence before query", "evidence on either side"],
    "filler may repeat the key": ["other tokens may equal the query"],
    "distractors": ["no distractors", "twice the distractors"],
    "norm before the router": ["no norm before the router"],
    "initial embedding scale": ["small token vectors at first"],
    "embeddings": ["token vectors not trained"],
    "largest learning rate": [
        "a tenth of the learning rate",
        "ten times the learning rate",
    ],
    "k": ["one pick", "16 picks"],
    "routing loss weight": ["constant routing loss", "no routing loss"],
}
COUNTED = {
    "ties shared": "precision",
    "ties lost": "precision_tie_lost",
    "ties won": "precision_tie_won",
    "among the k": "precision_at_k",
}
CENTRE = {choice: options[0] for choice, options in CHOICES.items()}


def with_fields(spec, **fields):
    return type(spec).model_validate({**dict(spec), **fields})


def under(protocol, representation, router):
    """An experiment under a protocol: a value for each of the choices."""
    p = protocol
    picks = {} if p["k"] == "default" else {"k": p["k"]}
    return study.experiment(
        task=with_fields(
            task,
            order=p["order"],
            collisions=p["filler may repeat the key"],
            distractors=p["distractors"],
        ),
        representation=with_fields(
            representation,
            positions=p["positions"],
            embedding_scale=p["initial embedding scale"],
            embeddings=p["embeddings"],
        ),
        router=with_fields(router, candidates=p["candidates"], **picks),
        normalisation=p["norm before the router"],
        training=with_fields(
            training,
            learning_rate=p["largest learning rate"],
            routing_weight=p["routing loss weight"],
        ),
    )


def one_at_a_time(choices=tuple(CHOICES), leave_out=()):
    """The centre, and each protocol that differs from it in one choice."""
    return [
        CENTRE,
        *(
            {**CENTRE, choice: option}
            for choice in choices
            for option in CHOICES[choice][1:]
            if option not in leave_out
        ),
    ]


def jointly(*choices):
    """Every combination of the first two options of some choices."""
    options = [CHOICES[choice][:2] for choice in choices]
    return [
        {**CENTRE, **dict(zip(choices, combined, strict=True))}
        for combined in itertools.product(*options)
    ]


# %% tags=["hide-input"]
pairwise = Investigator()
shown_models = {
    "with positions": under(CENTRE, Embedding(), pairwise),
    "without": under({**CENTRE, "positions": "none"}, Embedding(), pairwise),
}
shown_runs = study.run(
    {
        name: experiment.model_copy(update={"probing": "by-epoch"})
        for name, experiment in shown_models.items()
    },
    seeds=1,
)


def shares_of(name):
    """Shares of the first test sequence, by epoch: evidence, query, then the others."""
    record = shown_runs.records[name, 0]
    flat = record.probes["shares_by_epoch"]
    each = len(flat) // (FILMED * (training.epochs + 1))
    return [flat[i : i + each] for i in range(0, len(flat), FILMED * each)]


def reading(share, counted="ties shared", may_pick_query=True):
    """The two shares, and what the pick counts as."""
    evidence, query, *others = share
    if not may_pick_query:  # the same scores, over one position less
        evidence, *others = (s / (1 - query) for s in (evidence, *others))
        query = 0.0
    best = max(evidence, query, *others)
    two = {"query": query, "evidence": evidence}
    picks = [name for name, value in two.items() if value == best]
    better = sum(other > evidence for other in (query, *others))
    part = ("evidence" in picks) / max(len(picks), 1)
    counts = {
        "ties shared": part,
        "ties lost": float(part == 1),
        "ties won": float(part > 0),
        "among the k": float(better < pairwise.k),
    }
    return {
        "query": percent(query) if may_pick_query else NONE,
        "evidence": percent(evidence),
        "counts as": f"{counts[counted]:.0%}",
    }


early, late = (shares_of("with positions")[e] for e in (1, -1))
twin = shares_of("without")[-1]
example = {
    "positions, one epoch": reading(early),
    "positions, all epochs": reading(late),
    "no positions, tie shared": reading(twin),
    "no positions, tie lost": reading(twin, "ties lost"),
    "no positions, tie won": reading(twin, "ties won"),
    f"no positions, among {pairwise.k} picks": reading(twin, "among the k"),
    "no positions, query excluded": reading(twin, may_pick_query=False),
}

# %% tags=["remove-input"]
labelled(pd.DataFrame.from_dict(example, orient="index"), "shares")

# %% tags=["remove-cell"]
first_test = task.draw(training.held_out, 0, "test")
glue("asks", int(first_test.query[0]), display=False)
glue("holds", int(first_test.evidence[0]), display=False)

# %% [markdown]
# **The way of counting alone turns one model from a failure into a success.** Without positions, query and evidence are one
# vector, so their shares *tie*. With positions, the moment of stopping decides: the router prefers first the query, then the
# evidence.
#
# | word | meaning |
# | --- | --- |
# | *protocol* | one option for each choice |
# | *centre* | the protocol that takes the paper's text as literally as possible |
# | *training* | one model, trained under one protocol |
# | *way of counting* | ties are shared, lost or won; or evidence anywhere among the $k$ picks is enough |
#
# ### The same without any training
#
# Now every token has a random vector, and the router picks the vector nearest to the query's. The query may not be picked
# (`others`), or it may (`all`).

# %%
begun = time.perf_counter()
torch.manual_seed(0)
batch = Evidence(length=128, vocabulary=64, min_distance=50).draw(2000, seed=0)
rows = torch.arange(len(batch))
token, position = torch.randn(64, 64), torch.randn(128, 64)
demo = {}
for added in ("no positions", "positions"):
    x = token[batch.tokens] + (position if added == "positions" else 0)
    x = x / x.norm(dim=2, keepdim=True)
    scores = (x[rows, batch.query].unsqueeze(1) * x).sum(dim=2)
    own, evidence = (
        scores[rows, batch.query],
        scores[rows, batch.evidence],
    )
    rest = scores.scatter(1, batch.query[:, None], -1.0)
    tied = (own - evidence).abs() < 1e-5
    demo[added] = {
        "others: evidence is nearest": (
            rest.argmax(1) == batch.evidence
        ).float(),
        "all: query and evidence tie": tied.float(),
        "all: query alone is nearest": (~tied & (own > evidence)).float(),
    }
seconds = time.perf_counter() - begun
assert seconds < 10

# %% tags=["remove-input"]
shown = pd.DataFrame(
    {
        added: {what: percent(v.mean().item()) for what, v in values.items()}
        for added, values in demo.items()
    }
)
labelled(shown.T, "untrained")

# %% [markdown]
# **Whether the query may be picked decides everything here.** If not, random vectors find the evidence. If so, the query's own
# vector is nearest, alone or in a tie.

# %% [markdown]
# ## Which choice changes which result?
#
# We change one choice of the centre at a time and train again. *Flow* is the paper's recurrence, one layer from left to right. A
# tick marks agreement with the paper, the first row. The last row counts all trainings, combinations included, with ties shared.

# %% tags=["hide-input"]
both_ways = Flow(layers=1, bidirectional=True)
segments = SegmentRouter(segment=sizes.segment)
APPROACHES = {
    "raw embeddings": (Embedding(), pairwise, "missing-ingredient-fails"),
    "attention, 1 layer": (Attention(), pairwise, "both-ingredients-succeed"),
    "Flow, 1 layer": (Flow(layers=1), pairwise, "missing-ingredient-fails"),
    "segments": (Embedding(), segments, "without-pairs-fails"),
    "bidirectional Mamba, rank-1": (
        both_ways,
        RankOne(),
        "both-ingredients-succeed",
    ),
}
tie = [
    {**CENTRE, "positions": "none"},
    {**CENTRE, "positions": "none", "candidates": "others"},
]
slow = ("candidates", "positions", "norm before the router")
slow += ("largest learning rate", "routing loss weight")
brief = {"leave_out": ["sinusoidal"]}
more = ("order", "filler may repeat the key", "embeddings")
PROTOCOLS = {
    "raw embeddings": one_at_a_time()
    + jointly(
        "candidates",
        "positions",
        "norm before the router",
        "initial embedding scale",
        "largest learning rate",
    ),
    "attention, 1 layer": one_at_a_time([*slow, *more], **brief)
    + jointly("candidates", "positions", "largest learning rate"),
    "Flow, 1 layer": one_at_a_time([*slow, "order"], **brief) + tie,
    "segments": one_at_a_time(),
    "bidirectional Mamba, rank-1": one_at_a_time(slow, **brief),
}


# %% tags=["hide-input"]
def picking(protocol):
    """The choices that a router at random is subject to as well."""
    return {choice: protocol[choice] for choice in ("candidates", "k")}


def chance_name(approach, protocol):
    return f"chance, {approach}, {picking(protocol)}"


conditions, protocols = {}, {}
for approach, (representation, router, _) in APPROACHES.items():
    for protocol in PROTOCOLS[approach]:
        experiment = under(protocol, representation, router)
        name = f"{approach}: {experiment.identity}"
        conditions[name] = experiment
        protocols[name] = {"approach": approach, **protocol}
        conditions[chance_name(approach, protocol)] = chance_of(
            under({**CENTRE, **picking(protocol)}, representation, router)
        )
results = study.run(conditions)

# %% tags=["hide-input"]
by_condition = results.frame.groupby("condition", sort=False)
means = by_condition[list(COUNTED.values())].mean()
found = means.loc[list(protocols)]
rows = []
for counted, metric in COUNTED.items():
    for name, mean in found[metric].items():
        approach = protocols[name]["approach"]
        claim = claims()[APPROACHES[approach][2]]
        row = {c: str(option) for c, option in protocols[name].items()}
        counted_as = claim.model_copy(update={"metric": metric})
        at = level(counted_as, conditions[name])
        row |= {"counted": counted, "mean": mean}
        row["agrees"] = claim.agrees(mean, level=at)
        row["chance"] = means.loc[
            chance_name(approach, protocols[name]), metric
        ]
        rows.append(row)
audit = pd.DataFrame(rows)
options = {c: [str(o) for o in os] for c, os in CHOICES.items()}
options["counted"] = list(COUNTED)


def chance_over_seeds(representation, router):
    """The precision of random picks, the mean over the seeds that have a record."""
    protocol = {**CENTRE, "candidates": "others"}
    picked = chance_of(under(protocol, representation, router))
    found = (study.records.find(picked.with_seed(seed)) for seed in range(3))
    values = [record.metrics["precision"] for record in found if record]
    return sum(values) / len(values)


chances = {
    approach: chance_over_seeds(representation, router)
    for approach, (representation, router, _) in APPROACHES.items()
}


def curve_of(approach):
    """The specification curve of one approach, over the choices that vary in it."""
    part = audit[audit.approach == approach]
    varied = {
        choice: [o for o in names if o in set(part[choice])]
        for choice, names in options.items()
        if part[choice].nunique() > 1
    }
    claim = claims()[APPROACHES[approach][2]]
    return figures.specification_curve(part, varied, claim, chances[approach])


def held(approach, counted="ties shared"):
    """In how many of an approach's trainings its claim holds, as `3 of 40`."""
    part = audit[(audit.approach == approach) & (audit.counted == counted)]
    return f"{part.agrees.sum()} of {len(part)}"


# %% tags=["hide-input"]
SMALL = 0.05


def at(approach, change):
    """The row of an approach with the centre changed so; None where it was not run."""
    wanted = {**CENTRE, "counted": "ties shared", **change}
    part = audit[audit.approach == approach]
    for choice, option in wanted.items():
        part = part[part[choice] == str(option)]
    return None if part.empty else part.iloc[0]


def written(row):
    """Precision, and a tick if the claim agrees."""
    return (
        NONE if row is None else percent(row["mean"]) + " ✓" * bool(row.agrees)
    )


def moves(change):
    """Does a result move by more than `SMALL`, or to the other side of its claim?"""
    pairs = [(at(a, change), at(a, {})) for a in APPROACHES]
    return any(
        abs(row["mean"] - centre["mean"]) > SMALL
        or row.agrees != centre.agrees
        for row, centre in pairs
        if row is not None
    )


alone = {
    word: {choice: option}
    for choice, words in CHANGED.items()
    for option, word in zip(CHOICES[choice][1:], words, strict=True)
}
none = {"positions": "none"}
changes = alone | {
    "no positions, ties lost": {**none, "counted": "ties lost"},
    "no positions, ties won": {**none, "counted": "ties won"},
    "evidence among the k picks": {"counted": "among the k"},
}
still = [word for word, change in changes.items() if not moves(change)]
moving = sorted(
    (word for word in changes if word not in still),
    key=lambda word: at("raw embeddings", changes[word])["mean"],
)
RANK_1 = "bidirectional Mamba, rank-1"
LISTED = ("raw embeddings", "attention, 1 layer", "Flow, 1 layer")
effects = {
    "the paper": {a: str(claims()[APPROACHES[a][2]]) for a in LISTED},
    "the centre": {a: written(at(a, {})) for a in LISTED},
    **{
        word: {a: written(at(a, changes[word])) for a in LISTED}
        for word in moving
    },
    "chance": {a: percent(chances[a]) for a in LISTED},
    "chance, among the k picks": {
        a: percent(means.loc[chance_name(a, CENTRE), "precision_at_k"])
        for a in LISTED
    },
    "trainings with a tick": {a: held(a) for a in LISTED},
}

# %% tags=["remove-input"]
labelled(
    pd.DataFrame.from_dict(effects, orient="index").rename(
        columns={
            "attention, 1 layer": "attention",
            "Flow, 1 layer": "Flow",
        }
    ),
    "what is changed",
)

# %% tags=["remove-cell"]
rank_1 = audit[(audit.approach == RANK_1) & (audit.counted == "ties shared")]
glue("segments held", held("segments"), display=False)
for name, rate in (("centre", 1e-3), ("slow", 1e-4), ("fast", 1e-2)):
    row = at("segments", {"largest learning rate": rate})
    glue(f"segments {name}", percent(row["mean"]), display=False)
glue("rank-1 highest", percent(rank_1["mean"].max()), display=False)
glue("still", ", ".join(still) or "none", display=False)
glue("small", f"{100 * SMALL:.0f}", display=False)
glue("chance tokens", percent(chances["raw embeddings"]), display=False)
glue("chance segments", percent(chances["segments"]), display=False)

# %% [markdown]
# **Only a slow learning rate and a missing routing loss make raw embeddings fail by themselves.** Both make attention and Flow fail
# as well. The *routing loss* rewards a high score for the evidence. Without positions, ties decide for raw embeddings and
# attention. Attention has few ticks because some choices stop every router, and others leave it a few points below 98%.
#
# **The other changes move no result by more than {glue:text}`small` points:** {glue:text}`still`. Training learns to pass over
# the query, so the first matters little.
#
# **Segments follow the learning rate.** They are groups of neighbours, picked without comparing tokens. Their precision is
# {glue:text}`segments centre` at the centre, {glue:text}`segments slow` at a tenth of the rate and {glue:text}`segments fast` at ten
# times the rate. They stay within the paper's 29% in {glue:text}`segments held` trainings, the one without routing loss.
#
# **No choice lets the rank-1 router succeed.** It has one number for each token, behind a Mamba that reads both ways. Its precision
# is {glue:text}`rank-1 highest` at most with ties shared, and the paper's is 99.7%. [Chapter 6](06_escape_routes.ipynb) finds a
# training that works.
#
# ### Pick a protocol

# %% tags=["remove-input"]
interactive.picker(
    "pick-protocol",
    audit,
    options,
    {a: claims()[name] for a, (_, _, name) in APPROACHES.items()},
)

# %% [markdown]
# ## When do raw embeddings fail?
#
# The figure adds combinations of choices. Only the blue dots agree with the paper.

# %% mystnb={"figure": {"caption": "Raw embeddings fail in few protocols (blue). Above, precision under each protocol and way of counting, sorted. Below, its options, a row each, the centre's first.", "name": "fig-audit-raw"}, "image": {"alt": "A sorted curve of the precision of raw embeddings over protocols, most of them high, above a matrix of dots that shows each protocol's choices."}} tags=["remove-input", "nbval-ignore-output"]
curve_of("raw embeddings")
plt.show()

# %% tags=["remove-cell"]
raw = audit[audit.approach == "raw embeddings"]
no_loss = raw["routing loss weight"] == "(0.0, 0.0)"
slow_rate = raw["largest learning rate"] == "0.0001"
first = raw.counted == "ties shared"
glue("raw held", held("raw embeddings"), display=False)
rest = raw[~no_loss & ~slow_rate & first & (raw.positions == "learned")]
glue("raw rest low", percent(rest["mean"].min()), display=False)
glue("raw no loss", percent(raw[no_loss & first]["mean"].max()), display=False)
learned = raw[slow_rate & first & (raw.positions == "learned")]
learned = learned[learned.candidates == "all"]
glue("raw slow failed", int(learned.agrees.sum()), display=False)
glue("raw slow count", len(learned), display=False)
self_pick = results.summary("picked_query")["mean"]
slow_centre = {**CENTRE, "largest learning rate": 1e-4}
slow_run = under(slow_centre, Embedding(), pairwise).identity
glue(
    "slow picks itself",
    percent(self_pick[f"raw embeddings: {slow_run}"]),
    display=False,
)

# %% [markdown]
# **Raw embeddings fail in {glue:text}`raw held` trainings with ties shared.** Every failure in the figure has one of three reasons:
#
# * **A tie counts as lost.** This needs vectors without positions, and a query that may be picked.
# * **There is no routing loss.** The router stays at {glue:text}`raw no loss`.
# * **Training stops early.** At a tenth of the learning rate, {glue:text}`raw slow failed` of {glue:text}`raw slow count` trainings
#   with positions fail if the query may be picked. At the centre otherwise, the router picks the query itself in
#   {glue:text}`slow picks itself` of the sequences ([chapter 1](01_phase_transition.ipynb)).
#
# At the larger rates, with learned positions and a routing loss, precision is {glue:text}`raw rest low` at least.

# %% [markdown]
# ## Does any protocol separate raw embeddings from attention?
#
# In the paper raw embeddings fail and attention succeeds: the shaded corner at the upper left. The figure has every protocol under
# which we trained both.

# %% mystnb={"figure": {"caption": "No protocol reaches the corner where the paper is (hollow circle): below 35% without attention, 98% or more with it. A point is one protocol and one way of counting; many coincide. The diamond is one training outside these protocols.", "name": "fig-audit-both"}, "image": {"alt": "A scatter plot of the precision of attention against that of raw embeddings, with the paper's corner at the upper left shaded."}} tags=["remove-input", "nbval-ignore-output"]
shared = [*CHOICES, "counted"]
two = {
    name: audit[audit.approach == approach].drop_duplicates(shared)
    for name, approach in (
        ("without", "raw embeddings"),
        ("with", "attention, 1 layer"),
    )
}
both = two["without"].merge(two["with"], on=shared, suffixes=("", " with"))
says = claims()
low = says["missing-ingredient-fails"].value
high = says["both-ingredients-succeed"].value
BETWEEN = 3e-4
between_rates = study.run(
    {
        label: watched(study.sizes, name, BETWEEN)
        for label, name in (
            ("raw embeddings", "raw"),
            ("attention, 1 layer", "attention-1"),
        )
    },
    seeds=1,
)
between = between_rates.summary("precision")["mean"]
with figures.look():
    fig, ax = plt.subplots(figsize=(6.4, 4.6), layout="constrained")
    ax.fill_between(
        [0, 100 * low], 100 * high, 101, color="#0072B2", alpha=0.2
    )
    for counted, part in both.groupby("counted", sort=False):
        x, y = 100 * part["mean"], 100 * part["mean with"]
        marker = dict(zip(COUNTED, "osD^", strict=True))[counted]
        ax.plot(x, y, marker, label=counted, alpha=0.7, ms=6)
    ax.plot(
        *(
            100 * between[name]
            for name in ("raw embeddings", "attention, 1 layer")
        ),
        "D",
        color="#333333",
        ms=8,
        label=f"rate {BETWEEN:g}, fresh sequences",
    )
    ax.plot(
        100 * says["raw"].value,
        100 * says["one-layer"].value,
        "o",
        mfc="white",
        mec="#333333",
        ms=10,
        label="paper",
    )
    ax.set_xlabel("raw embeddings, routing precision (%)")
    ax.set_ylabel("attention, 1 layer (%)")
    ax.set_xlim(-4, 104)
    ax.set_ylim(-4, 104)
    ax.legend(loc="lower right", fontsize=9)
plt.show()

# %% tags=["remove-cell"]
corner = both[(both["mean"] <= low) & (both["mean with"] >= high)]
pairs = int((both.counted == "ties shared").sum())
glue("pairs", pairs, display=False)
parted = len(corner.drop_duplicates(list(CHOICES)))
glue("parted", parted or "none", display=False)
gap = (both["mean with"] - both["mean"]).max()
glue("largest gap", f"{100 * gap:.0f}", display=False)
for label, mean in between.items():
    glue(f"between {label}", percent(mean), display=False)
glue("between", f"{BETWEEN:g}", display=False)

# %% [markdown]
# **Of {glue:text}`pairs` protocols {glue:text}`parted` reaches the corner.** Attention leads by {glue:text}`largest gap` points at
# most. What makes raw embeddings fail keeps attention below 98%.
#
# **One training outside the audit comes nearest** (the diamond). Its learning rate, {glue:text}`between`, lies between two of the audit's,
# and its sequences are new in every epoch. Attention ends at {glue:text}`between attention, 1 layer`, raw embeddings at
# {glue:text}`between raw embeddings`. By the [ledger's](claims.md) line for a success, {glue:text}`success line`, this training
# separates the two. By the paper's 98% it does not. Attention is the first to stop picking the query.
#
# ## Do raw embeddings fail after as many steps as in the paper?
#
# The paper trains for {glue:text}`full steps` steps, the audit for {glue:text}`audit steps`. We trained raw embeddings as long as the
# paper, at the centre and with other rates and weight decays. *Fixed* sequences are drawn once, *fresh* ones in each epoch.

# %%
full_length = profile_of("paper").training.epochs
AT_LENGTH = [
    {"learning_rate": rate, "data": data}
    for rate in (1e-3, 3e-4, 1e-4)
    for data in ("fixed", "fresh")
]
AT_LENGTH += [{"weight_decay": decay} for decay in (0.0, 0.1)]


def at_length(**changes):
    changed = with_fields(training, epochs=full_length, **changes)
    return under(CENTRE, Embedding(), pairwise).model_copy(
        update={"training": changed}
    )


long_runs = study.run(
    {str(changes): at_length(**changes) for changes in AT_LENGTH}, seeds=1
)

# %% tags=["remove-input"]
long_means = long_runs.summary("precision")["mean"]
table = {}
for changed in AT_LENGTH:
    how = at_length(**changed).training
    row = table.setdefault(
        f"rate {how.learning_rate:g}"
        + f", decay {how.weight_decay:g}" * ("weight_decay" in changed),
        {"fixed": NONE, "fresh": NONE},
    )
    row[how.data] = percent(long_means[str(changed)])
labelled(pd.DataFrame.from_dict(table, orient="index"), "precision")

# %% tags=["remove-cell"]
batches = math.ceil(training.sequences / training.batch)
glue("full steps", f"{batches * full_length:,}", display=False)
glue("audit steps", f"{batches * training.epochs:,}", display=False)
long_failing = f"{(long_means <= low).sum()} of {len(long_means)}"
glue("long failing", long_failing, display=False)
slower = long_means[[str(c) for c in AT_LENGTH if BETWEEN in c.values()]]
glue("long between", " and ".join(map(percent, slower)), display=False)

# %% [markdown]
# **Raw embeddings fail in {glue:text}`long failing` of these trainings.** The lead
# of attention at the rate {glue:text}`between` was a matter of steps: raw embeddings end there at {glue:text}`long between`.
#
# ## Which one protocol agrees with most of the paper's Table 3?
#
# Here we vary the candidates ("all", or "others" than the query) and the way of counting. The runs have the paper's sizes, one
# to three seeds. {glue:text}`table rows` rows of Table 3 were trained with both candidates, segments with "others" only. The
# remaining rows need pretrained models. A row agrees in *direction* if it succeeds ({glue:text}`success line` at least) or fails
# ({glue:text}`failure line` at most) as in the paper, and in *number* within the [margin](claims.md).

# %% tags=["remove-input"]
TABLE_3 = ("bidirectional-mamba-rank-one", "sparse", "perceiver-16")
TABLE_3 += ("attention-1", "causal-1", "perceiver-1", "bloom")
TABLE_3 += ("segment-bidirectional-mamba", "flow-2", "global-mean")
TABLE_3 += ("raw", "fourier")


def agreement(candidates, metric, epoch=-1):
    """Rows of Table 3 with a record, those whose number agrees, and those that differ."""
    rows, same, differ = 0, 0, []
    for name in TABLE_3:
        both = [paper_records(study, name, c) for c in ("all", "others")]
        runs = both[candidates == "others"]
        if not all(both):  # every protocol is held against the same rows
            continue
        says = claims()[known[name].claim].model_copy(
            update={"metric": metric, "readings": {}}
        )
        value = sum(r.curve[metric][epoch] for r in runs) / len(runs)
        rows += 1
        same += says.agrees(value, level=level(says, runs[0]))
        line = value >= SUCCESS if says.value >= SUCCESS else value <= FAILURE
        differ += [] if line else [known[name].label]
    return rows, same, differ


known = catalogue(study.sizes)
kinds = {
    (c, counted): agreement(c, metric)
    for c in ("all", "others")
    for counted, metric in COUNTED.items()
}
always = [
    name
    for name in kinds["all", "ties shared"][2]
    if all(name in differ for _, _, differ in kinds.values())
]
labelled(
    pd.DataFrame.from_dict(
        {
            f"“{c}”, {counted}": {
                "direction": rows - len(differ),
                "number": same,
            }
            for (c, counted), (rows, same, differ) in kinds.items()
        },
        orient="index",
    ),
    "rows that agree",
)

# %% tags=["remove-cell"]
best, (rows, same, differ) = max(
    kinds.items(),
    key=lambda kind: (kind[1][0] - len(kind[1][2]), kind[1][1]),
)
glue("table rows", max(k[0] for k in kinds.values()), display=False)
glue("success line", percent(SUCCESS), display=False)
glue("failure line", percent(FAILURE), display=False)
glue("best protocol", f"“{best[0]}” with {best[1]}", display=False)
as_many = sum(len(d) == len(differ) for _, _, d in kinds.values())
glue("as many", as_many, display=False)
glue("kinds", len(kinds), display=False)
glue("always differ", "; ".join(always) or "none", display=False)
best_directions = f"{rows - len(differ)} of {rows}"
best_differ = "; ".join(differ) or "none"
glue("best directions", best_directions, display=False)
glue("best numbers", same, display=False)
earlier = [
    agreement(best[0], COUNTED[best[1]], epoch)
    for epoch in range(profile_of("paper").training.epochs)
    if rows
]
most = max((r - len(d) for r, _, d in earlier), default=0)
glue("best early", most, display=False)

# %% [markdown]
# **{glue:text}`best protocol` agrees most, and the lead is narrow.** Of {glue:text}`kinds` protocols {glue:text}`as many` agree on
# {glue:text}`best directions` rows in direction, and this one on most numbers, {glue:text}`best numbers`. Stopping earlier does not
# help: after any epoch at most {glue:text}`best early` rows agree in direction.
#
# Every protocol differs in direction on {glue:text}`always differ`. Raw embeddings and Flow carry the paper's claim that routing
# needs context from both sides. The Bloom filter falls short if ties are lost, or shared with "all". The global mean succeeds if
# ties are won.

# %% [markdown]
# ## What the paper says, what we measured, chance
#
# The measurements are those of the other chapters: three seeds, this size. Flow has two layers there.

# %% tags=["remove-input"]
AUDITED = (
    "raw",
    "one-layer",
    "unidirectional-flow",
    "segment-ceiling",
    "bidirectional-mamba-rank-one",
)
entries = ledger(study.records, study.sizes)
linked(
    further(entries, AUDITED).frame.drop(columns="verdict"),
    {entries[name].claim.statement: name for name in AUDITED},
    "statement",
)

# %% [markdown]
# ## What differs, and why
#
# * **A training that stops early looks like a model that cannot learn.** The router prefers equal tokens, and cannot yet tell
#   the query from the evidence.
# * **Two things were not varied:** the width by itself, and the optimizer, which the paper names.
# * **The counts are no probabilities.** Some protocols are likelier than others to be what the paper did.
#
# ## In detail
#
# ### Fixed or fresh sequences
#
# The paper does not say which it has. The table has {glue:text}`settled epochs` epochs at this size, one seed, then 40 epochs at the
# paper's sizes, with seeds in brackets. *Accuracy* is the share of right answers. The *Council* answers from the tokens that the
# router picked. With "ranked picks" it is told which came first. The query may be picked only where a row says "all".

# %% tags=["hide-input"]
HEADLINES = {
    'raw embeddings, "all"': ("raw", "all"),
    "raw embeddings": ("raw", "others"),
    "raw embeddings, no positions": ("content-only", "others"),
    "attention, 1 layer": ("attention-1", "others"),
    "causal attention, 1 layer": ("causal-1", "others"),
    "Flow, 2 layers": ("flow-2", "others"),
    "bidirectional Mamba": ("bidirectional-mamba", "others"),
    "rank-1": ("bidirectional-mamba-rank-one", "others"),
    "segments": ("segment-mean", "others"),
}
LONGER = {label: known[n].under[c] for label, (n, c) in HEADLINES.items()}
RANKED = "attention, 1 layer, ranked picks"
LONGER[RANKED] = LONGER["attention, 1 layer"].model_copy(
    update={"council": Council(slots="learned")}
)


def trained_on(data, how):
    """A training that draws its sequences once, "fixed", or anew, "fresh"."""
    training = how.model_copy(update={"data": data})
    return lambda experiment: experiment.model_copy(
        update={"training": training}
    )


DATA = ("fixed", "fresh")
SHORT = {d: trained_on(d, study.sizes.training) for d in DATA}
LONG = {d: trained_on(d, study.sizes.settled) for d in DATA}
short = [
    study.run({n: SHORT[data](e) for n, e in LONGER.items()}, seeds=1)
    for data in DATA
]
ALWAYS = ('raw embeddings, "all"', "raw embeddings", "attention, 1 layer")
ALWAYS += (RANKED, "segments")
# The others take up to half an hour each: shown once they are recorded. To
# train them here, put all of LONGER into ALWAYS.
longer = [
    study.run({n: LONG[data](LONGER[n]) for n in ALWAYS}, seeds=1)
    for data in DATA
]

# %% tags=["remove-input"]
THREE = range(3)
kept = {
    (label, how, data): [
        record
        for seed in THREE
        if (record := study.records.find(change[data](e).with_seed(seed)))
    ]
    for label, e in LONGER.items()
    for how, change in (("short", SHORT), ("long", LONG))
    for data in DATA
}


def shown(records, metric):
    values = pd.Series([record.metrics[metric] for record in records])
    return spread(values.mean(), values.std()) if len(values) else NONE


METRICS = ("precision", "accuracy")
rows = {
    label: {
        f"{metric}, {data}": shown(kept[label, "long", data], metric)
        for metric in METRICS
        for data in DATA
    }
    for label in LONGER
    if kept[label, "long", "fresh"] and "no positions" not in label
}
for label, (name, candidates) in HEADLINES.items():
    found = {d: paper_records(study, name, candidates, d) for d in DATA}
    if all(found.values()):
        rows[f"{label}, paper's sizes"] = {
            f"{metric}, {data}": paper_text(
                found[data], metric, seeds=("", "")
            )
            for metric in METRICS
            for data in DATA
        }
labelled(pd.DataFrame.from_dict(rows, orient="index"), "longer training")


# %% tags=["remove-cell"]
def change_of(label):
    fixed, fresh = (
        pd.Series([r.metrics["precision"] for r in kept[label, "short", data]])
        for data in DATA
    )
    return 100 * abs(fresh.mean() - fixed.mean())


largest = max(change_of(label) for label in HEADLINES)
glue("largest change", f"{largest:.1f}", display=False)
glue("headline count", len(HEADLINES), display=False)
glue("short epochs", study.sizes.training.epochs, display=False)
glue("settled epochs", study.sizes.settled.epochs, display=False)
for (label, how, data), records_kept in kept.items():
    for metric in ("precision", "accuracy"):
        text = shown(records_kept, metric)
        glue(f"{metric} {label}, {how}, {data}", text, display=False)
for data in DATA:
    large = paper_records(study, *HEADLINES["rank-1"], data)
    text = paper_text(large, "precision", seeds=("", ""))
    glue(f"rank-1 at the paper's sizes, {data}", text, display=False)

# %% [markdown]
# **Fresh sequences raise accuracy, and in longer training the precision of rank-1 and segments.** After {glue:text}`short epochs` epochs, in
# three seeds, no precision of {glue:text}`headline count` approaches differs by more than {glue:text}`largest change` points. Segments, at
# 29% at most in the paper, reach {glue:text}`precision segments, long, fresh`. Rank-1 learns on fixed sequences too at a higher
# rate ([chapter 6](06_escape_routes.ipynb)). At the paper's sizes fresh sequences are not enough for it:
# {glue:text}`rank-1 at the paper's sizes, fresh`, in brackets the seeds, where fixed ones give
# {glue:text}`rank-1 at the paper's sizes, fixed`.
#
# **What the Council is told decides the answers.** Ranked picks raise the accuracy behind attention from
# {glue:text}`accuracy attention, 1 layer, long, fresh` to {glue:text}`accuracy attention, 1 layer, ranked picks, long, fresh`. The
# paper's working routes differ by less, 30.6% to 75.6%. Their order may come from the Council.

# %% tags=["remove-cell"]
by_themselves = [w for w in moving if w in alone]
by_themselves = [
    w for w in by_themselves if at("raw embeddings", alone[w]).agrees
]
answer = (
    f"Of {len(CHOICES)} choices, changed one at a time, only {' and '.join(f'“{word}”' for word in by_themselves) or 'none'} make raw embeddings fail; under {parted or 'none'} of "
    f"{pairs} protocols do they fail while one layer of attention succeeds; and the protocol nearest to the paper's Table 3 agrees with "
    f"{best_directions} rows on what succeeds and what fails."
)
sure = (
    f"{measured(study, seeds=1)} Two tables have runs at the paper's sizes, 1 to 3 seeds. We would change our mind if, with a routing "
    f"loss and enough steps, some protocol gave both of the paper's results."
)
verdict = (
    f"Raw embeddings fail in {held('raw embeddings')} trainings, and one layer of attention succeeds in "
    f"{held('attention, 1 layer')}. One more training, at a slower rate, comes nearest to the paper: attention ends at "
    f"{percent(between['attention, 1 layer'])}, raw embeddings at {percent(between['raw embeddings'])}. With the paper's number "
    f"of steps raw embeddings fail in {long_failing}. No protocol succeeds and fails as Table 3 does on: {'; '.join(always)}."
)
cost = trained(
    study, [results, shown_runs, between_rates, long_runs, *short, *longer]
)
close(
    "08_protocol_audit",
    "The protocol audit",
    answer=answer,
    sure=sure,
    verdict=verdict,
    cost=cost,
)

# %% [markdown]
# ## Exercises
#
# 1. Without training, make the position vectors small: `0.1 * torch.randn(128, 64)`. Which vector is nearest now, and
#    why?
# 2. Add attention to the long trainings. When is it farthest ahead of raw embeddings?
