# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6. Escape routes
#
# **The claim.** What stands in front of the pairwise router need not be attention: bidirectional Mamba
# and a Perceiver, even one of a single hub, give it 98.8% to 99.7% routing precision, while a global
# mean and Fourier mixing leave it below 2% and unidirectional recurrence at 2.2%. A rank-1 router on
# bidirectional Mamba is the best of all, at linear cost {cite:p}`basu2026routing` (§4.6).
#
# **Our verdict.** {glue:text}`verdict`
#
# **To run it again.** `.venv/bin/fci run 06 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# In this notebook we put the nine entries of the paper's table, and its "no preprocessing", in front of
# the same router and the same Council, and add rows of our own: the two mixers that fail, with their
# residual connection put back.

# %% tags=["parameters"]
profile = "quick"  # smoke, quick or paper
seeds = 3
executor = "process"  # process or inline
records = ""  # a folder; empty for the repository's own

# %%
from fcilib.study import Study

study = Study.from_parameters(globals())
print(study)

# %% tags=["hide-input"]
import inspect

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import HTML, Code
from myst_nb import glue

from fcilib import claims, figures
from fcilib.claims import CHANCE, percent, spread
from fcilib.representations import (
    Attention,
    Embedding,
    Flow,
    Fourier,
    GlobalMean,
    Perceiver,
)
from fcilib.routers import Investigator, RandomRouter, RankOne
from fcilib.routers.rank_one import FingerprintScores

# %% [markdown]
# ## Which preprocessing lets the router succeed?
#
# The paper does not say how deep its bidirectional Mamba is. Ours has one block in each direction: as
# many scans as the control, two layers of unidirectional Flow.

# %%
both_ways = Flow(layers=1, bidirectional=True)


def conditions(candidates):
    pairwise = Investigator(candidates=candidates)
    rank_one = RankOne(candidates=candidates)
    random = RandomRouter(candidates=candidates)
    pairs = {
        "bidirectional Mamba, rank-1 router": (both_ways, rank_one),
        "bidirectional Mamba": (both_ways, pairwise),
        "Perceiver, 16 hubs": (Perceiver(hubs=16), pairwise),
        "Perceiver, 1 hub": (Perceiver(hubs=1), pairwise),
        "global mean": (GlobalMean(), pairwise),
        "Fourier mixing": (Fourier(), pairwise),
        "attention, 1 layer": (Attention(), pairwise),
        "causal attention, 1 layer": (Attention(mask="causal"), pairwise),
        "Flow, 2 layers": (Flow(), pairwise),
        "raw embeddings": (Embedding(), pairwise),
        # Ours:
        "global mean, residual kept": (GlobalMean(residual=True), pairwise),
        "Fourier mixing, residual kept": (Fourier(residual=True), pairwise),
        "Fourier mixing, residual kept, orthonormal": (
            Fourier(residual=True, orthonormal=True),
            pairwise,
        ),
        CHANCE: (Embedding(), random),
    }
    return {
        name: study.experiment(representation=representation, router=router)
        for name, (representation, router) in pairs.items()
    }


results = study.run_protocols({c: conditions(c) for c in ("all", "others")})

# %%
CLAIMS = {
    "bidirectional Mamba, rank-1 router": "bidirectional-mamba-rank-one",
    "bidirectional Mamba": "bidirectional-mamba",
    "Perceiver, 16 hubs": "perceiver-16",
    "Perceiver, 1 hub": "perceiver-1",
    "global mean": "global-mean",
    "Fourier mixing": "fourier",
    "attention, 1 layer": "bidirectional-attention",
    "causal attention, 1 layer": "causal-attention",
    "Flow, 2 layers": "unidirectional-flow",
    "raw embeddings": "raw",
}
routing = claims.compare(CLAIMS, results)

# %% tags=["remove-input", "nbval-ignore-output"] mystnb={"figure": {"name": "fig-ladder-06", "caption": "Routing precision of every entry of the paper's table, and of raw embeddings: paper (hollow), measured (filled, with its spread over seeds), chance (tick). The line between paper and measured is blue where the two agree within five points and orange where they do not. Rows are sorted by what was measured with the query excluded."}, "image": {"alt": "A row per preprocessing with the paper's routing precision, the measured one and chance, for the two candidate sets."}}
figures.claims_figure(routing)
plt.show()

# %% tags=["remove-cell"]
precision = {c: r.summary("precision") for c, r in results.items()}
accuracy = {c: r.summary("accuracy") for c, r in results.items()}
for candidates in results:
    for name, row in precision[candidates].iterrows():
        glue(
            f"{name}, {candidates}",
            spread(row["mean"], row["sd"]),
            display=False,
        )
    for name, row in accuracy[candidates].iterrows():
        glue(
            f"accuracy {name}, {candidates}",
            spread(row["mean"], row["sd"]),
            display=False,
        )

# %% [markdown]
# With the query excluded, bidirectional Mamba reaches {glue:text}`bidirectional Mamba, others`, its
# unidirectional control {glue:text}`Flow, 2 layers, others`, one hub
# {glue:text}`Perceiver, 1 hub, others`, and no preprocessing at all
# {glue:text}`raw embeddings, others`. The rank-1 router on bidirectional Mamba reaches
# {glue:text}`bidirectional Mamba, rank-1 router, others` (`"all"`:
# {glue:text}`bidirectional Mamba, rank-1 router, all`). Chance is {glue:text}`random router, others`.

# %% [markdown]
# ## Why do the mean and the Fourier transform fail?
#
# The paper says that they destroy what tells tokens apart. Taken alone, they do: the mean gives every
# token the same vector. Put the residual connection back, which every Transformer and FNet itself
# {cite:p}`leethorp2022fnet` has, and the token is there again, next to whatever the mixing wrote. Beside
# an unscaled Fourier transform, whose entries are sums over all positions and all of the width, that
# is little; the orthonormal transform has the size of the token it is added to.

# %% tags=["remove-input"]
ablations = {
    "global mean": "mean, mixed only",
    "global mean, residual kept": "mean, residual kept",
    "Fourier mixing": "Fourier, mixed only",
    "Fourier mixing, residual kept": "Fourier, residual kept",
    "Fourier mixing, residual kept, orthonormal": "Fourier, residual kept, orthonormal",
    CHANCE: "chance (random router)",
}
claims.labelled(
    pd.DataFrame(
        {
            candidates: [
                spread(*summary.loc[name, ["mean", "sd"]])
                for name in ablations
            ]
            for candidates, summary in precision.items()
        },
        index=ablations.values(),
    ),
    "routing precision",
)

# %% [markdown]
# With the residual, the mean goes from {glue:text}`global mean, others` to
# {glue:text}`global mean, residual kept, others`. The Fourier transform goes from
# {glue:text}`Fourier mixing, others` to {glue:text}`Fourier mixing, residual kept, others` with the
# residual and to {glue:text}`Fourier mixing, residual kept, orthonormal, others` with the residual and
# an orthonormal transform.

# %% [markdown]
# ## Routing is not reasoning
#
# The paper's second column: routing may be right and the answer still wrong, because the Council has
# to find the value among the tokens it was handed. All conditions share one Council and one head.

# %%
answers = claims.compare(
    {
        name: f"{claim}-accuracy"
        for name, claim in CLAIMS.items()
        if claim != "raw"
    },
    results,
)
answers.attrs["metric"] = "task accuracy"

# %% tags=["remove-input", "nbval-ignore-output"] mystnb={"figure": {"name": "fig-accuracy-06", "caption": "Task accuracy for the same conditions, marked as in the figure above. Chance is a Council that reads randomly picked tokens."}, "image": {"alt": "A row per preprocessing with the paper's task accuracy, the measured one and chance, for the two candidate sets."}}
figures.claims_figure(answers)
plt.show()

# %% [markdown]
# One layer of attention answers {glue:text}`accuracy attention, 1 layer, others` of the questions,
# bidirectional Mamba {glue:text}`accuracy bidirectional Mamba, others` and the 16 hubs
# {glue:text}`accuracy Perceiver, 16 hubs, others`; a Council that reads random tokens
# {glue:text}`accuracy random router, others`.

# %% [markdown]
# ## What the paper says, what we measured, chance
#
# Routing precision first, then task accuracy. The paper's 1.2% for raw embeddings stands in its §4.1 and
# Table 3; it gives no accuracy for them.

# %% tags=["remove-input"]
claims.table(routing)

# %% tags=["remove-input"]
claims.table(answers)

# %% tags=["remove-cell"]
held = routing[routing.condition != "raw embeddings"].drop_duplicates(
    "condition"
)
contradicted = sorted(held[held.verdict != "reproduced"].condition)
works = precision["others"]["mean"]
verdict = (
    f"Of the table's {len(held)} routing rows, {len(held) - len(contradicted)} reproduce under both "
    f"protocols; {', '.join(contradicted) or 'none'} "
    f"{'does' if len(contradicted) == 1 else 'do'} not. Unidirectional Flow reaches "
    f"{percent(works['Flow, 2 layers'])}, and raw embeddings, with no preprocessing, "
    f"{percent(works['raw embeddings'])} (chance: {percent(works[CHANCE])}), with the query excluded."
)
glue("verdict", verdict, display=False)
link = '<a href="06_escape_routes.html">Escape routes</a>'
glue("finding", HTML(f"<p>{link}. {verdict}</p>"), display=False)
seconds = sum(r.frame.seconds.sum() for r in results.values()) / study.seeds
glue(
    "cost",
    f"trains {sum(len(r.frame) for r in results.values()) // study.seeds} "
    f"models; a seed took {seconds / 60:.0f} core-minutes at profile {study.profile}.",
    display=False,
)

# %% [markdown]
# ## Rank one, in linear time
#
# A fingerprint $s_i = v^\top h_i$ per token and the product of two as the score: the best partners of
# a query with a positive fingerprint are the largest fingerprints, of one with a negative the
# smallest. So `route` forms no product at all; it agrees with the scores of training:

# %%
router = FingerprintScores(study.sizes.width)
x = torch.randn(
    1, 512, study.sizes.width, generator=torch.Generator().manual_seed(0)
)
for query in range(0, 512, 64):
    scores = router(x, torch.tensor([query]))[0]
    assert torch.equal(router.route(x[0], query, k=8), scores.topk(8).indices)

# %% tags=["remove-input"]
Code(inspect.getsource(FingerprintScores.route), language="python")

# %% [markdown]
# One number per token also means that the ranking of the candidates is the same for every query of a
# sequence, or its reverse. A rank-1 router cannot compare a query with a token; it can only find tokens
# that the representation has marked beforehand. There being one question in a sequence, a recurrence
# that has read the question can do the marking: the comparison then happens in the preprocessing.

# %% tags=["remove-cell"]
at_k = {c: r.summary("precision_at_k") for c, r in results.items()}
for name in ("bidirectional Mamba, rank-1 router", CHANCE):
    row = at_k["others"].loc[name]
    glue(f"at k {name}", spread(row["mean"], row["sd"]), display=False)
glue("epochs", study.sizes.training.epochs, display=False)

# %% [markdown]
# In the {glue:text}`epochs` epochs of this profile it has begun to: the evidence is among the router's 8
# picks in {glue:text}`at k bidirectional Mamba, rank-1 router` of the sequences (chance:
# {glue:text}`at k random router`), but first in only
# {glue:text}`bidirectional Mamba, rank-1 router, others`. The paper trains for 40 epochs on longer
# sequences; whether that closes the gap is for its own profile to show.

# %% [markdown]
# ## What differs, and why
#
# * **The working routes work, and so does none.** Raw embeddings under the same router and the same
#   training do what the escape routes do ([chapter 1](01_phase_transition.ipynb) shows why); on this
#   task they cannot show that context is needed.
# * **Unidirectional recurrence.** The query stands before the evidence, as in the paper's example. A
#   forward scan has then read the query key by the time it reaches the evidence, and each token's own
#   vector is kept by the residual; the pairwise router has all that it needs.
# * **The two failures** reproduce as described, and follow from that description: what fails is losing
#   the token, by having no residual or by drowning it. Mixing by a mean is no obstacle.
# * **The rank-1 router** has to have its comparison done for it. Here that is learned slowly if at all;
#   the paper's best entry is the one that this size does not bear out.
# * **What is not comparable.** These are the sizes of the profile printed above. Task accuracy depends
#   on them far more than routing does: with the verdicts on it, take the sizes into account.

# %% [markdown]
# ## Exercises
#
# 1. Give the rank-1 router no help: `(Embedding(), rank_one)` in `conditions`. What is the best it
#    can do when nobody marked the evidence?
# 2. Ask unidirectional Flow with `task=study.sizes.evidence.model_copy(update={"order":
#    "evidence-first"})`. Does the direction matter?
# 3. Train the rank-1 router four times as long: `training=study.sizes.training.model_copy(update=
#    {"epochs": 4 * study.sizes.training.epochs})`. Does it get there?
# 4. Tell the Council which pick was which: `council=Council(slots="learned")` (from
#    `fcilib.council`). How much of the gap between routing and accuracy does that close?
