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
# # 10. Cost
#
# **The question.** A sequence has n tokens. A *query* is a token that needs information from other tokens, and a *router* picks
# the few tokens that the query gets. How does time grow with n, for the router and for the layers in front of it?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **The claim.** By the paper, layers in front of the router can be linear in n, written O(n). The paper's router compares tokens
# pair by pair and is quadratic, O(n²). A *rank-1* router gives each token one number, picks the tokens with the largest or the smallest numbers, and needs
# O(n) once it is trained.
# Training needs the scores of all n × n pairs, with either router. The paper's recurrent layers are slowed down by a loop in Python
# {cite:p}`basu2026routing` (§4.3, §4.6, §4.7, §5).

# %% tags=["parameters"]
profile = "quick"  # smoke, quick or paper
seeds = 3
executor = "process"  # no effect here: a measurement runs alone
device = "cpu"  # cpu, cuda or auto
records = ""  # a folder; empty for the repository's own

# %% tags=["hide-cell"]
from fcilib.study import Study

study = Study.from_parameters(globals())
sizes = study.sizes.cost
print(
    f"profile {study.profile}, repetitions: {study.seeds}\n"
    f"n from {min(sizes.lengths):,} to {max(sizes.lengths):,} by doubling\n"
    f"limits: {sizes.seconds:g} s, {sizes.megabytes:g} MB for one call",
)

import math

import matplotlib.pyplot as plt
import pandas as pd
import torch
from myst_nb import glue

from fcilib.cost import (
    Arithmetic,
    Bench,
    Loss,
    Represent,
    Route,
    Scan,
    gpu_scan,
    presets,
    report,
)
from fcilib.ledger.catalogue import CHANCE
from fcilib.present import closing, figures
from fcilib.present.tables import labelled, linked
from fcilib.representations import (
    Attention,
    Embedding,
    Flow,
    Fourier,
    GlobalMean,
    LinearAttention,
    Perceiver,
)
from fcilib.routers import Investigator, RandomRouter, RankOne
from fcilib.routers.rank_one import FingerprintScores
from fcilib.specs.size import Size
from fcilib.study.notation import NONE, percent

width = study.sizes.width
limits = sizes.limits

# %% [markdown]
# ## How many pairs does a router score?
#
# A pairwise router gives a score to a pair of tokens: a query, and a token that the query may get. One query needs one row of n
# scores. Only if every token is a query are there n × n scores. The paper's task has one query per sequence. If the router is part
# of a layer of a language model, every token is a query.

# %% mystnb={"figure": {"caption": "One query is one row of scores; every token a query is a square. Each cell is the score of one pair of tokens, here for n = 8. Coloured cells have to be computed.", "name": "fig-row-10"}, "image": {"alt": "Two grids of eight by eight cells. In the left one a single row is coloured, in the right one all cells are."}} tags=["remove-input", "nbval-ignore-output"]
few, asking = 8, 5
fig, axes = plt.subplots(1, 2, figsize=(figures.NARROW, 2.7))
for ax, rows, heading in (
    (axes[0], [asking], "one query: n scores"),
    (axes[1], range(few), "every token a query:\nn × n scores"),
):
    grid = [[float(y in rows)] * few for y in range(few)]
    ax.pcolormesh(
        grid, cmap="Blues", vmin=0, vmax=1.5, edgecolors="#aaaaaa", lw=0.6
    )
    ax.set_aspect("equal")
    ax.invert_yaxis()
    ax.set(xticks=[], yticks=[], xlabel="tokens to pick from")
    ax.set_ylabel("queries")
    ax.set_title(heading, fontsize=10)
fig.tight_layout()
plt.show()

# %% [markdown]
# ## How does each cost grow?
#
# We time one sequence on one thread, from n = {glue:text}`shortest` to n = {glue:text}`longest`. No weights are updated. The *power* p says
# how time grows: like nᵖ. With power 1, twice the length takes twice the time; with power 2, four times. We fit a power to the paper's
# formula over the same lengths, too. A measured power *agrees* if the two differ by at most 0.1.
#
# *Sparse* attention sees a window and a few fixed tokens. A *Perceiver* passes all tokens through a few vectors, its hubs. *Flow*
# is the paper's left-to-right recurrence, here one Mamba layer. *Global mean* and *Fourier mixing* mix all tokens by a fixed rule.
# In the code, `Investigator` is the paper's pairwise router and `RankOne` the rank-1 router. A `Bench` times each of its workloads.

# %%
QUERIES = {"one query": "one", "every query": "all"}
routers = {"Investigator": Investigator(), "rank-1": RankOne()}
routing_costs = study.measure(
    Bench(
        workloads={
            **{
                f"{name}, {words}": Route(
                    router=router, queries=queries, width=width
                )
                for words, queries in QUERIES.items()
                for name, router in routers.items()
            },
            CHANCE: Route(router=RandomRouter(), width=width),
        },
        lengths=sizes.lengths,
        **limits,
    )
)
routing = report.frame(*routing_costs)

# %% tags=["hide-input", "nbval-ignore-output"]
PREPROCESSING = {
    "raw embeddings": Embedding(),
    "attention": Attention(),
    "sparse attention": Attention(mask="sparse"),
    "linear attention": LinearAttention(),
    "Perceiver, 16 hubs": Perceiver(hubs=16),
    "Perceiver, 1 hub": Perceiver(hubs=1),
    "Flow": Flow(layers=1),
    "bidirectional Mamba": Flow(layers=1, bidirectional=True),
    "global mean": GlobalMean(),
    "Fourier mixing": Fourier(),
}
preprocessing_costs = study.measure(
    Bench(
        workloads={
            name: Represent(representation=representation, width=width)
            for name, representation in PREPROCESSING.items()
        },
        lengths=sizes.lengths,
        **limits,
    )
)
preprocessing = report.frame(*preprocessing_costs)
training_costs = study.measure(
    Bench(
        workloads={
            f"{name}, {words}": Loss(router=router, scores=scores, width=width)
            for words, scores in {
                "the query's row": "row",
                "all pairs": "matrix",
            }.items()
            for name, router in routers.items()
        },
        lengths=sizes.lengths,
        **limits,
    )
)
training = report.frame(*training_costs)
CLAIMS = {
    # §4.6, the table, and Table 3
    "attention": "O(n²)",
    "sparse attention": "O(n)",
    "Perceiver, 16 hubs": "O(n)",
    "Perceiver, 1 hub": "O(n)",
    "Flow": "O(n)",
    "bidirectional Mamba": "O(n)",
    "global mean": "O(n)",
    "Fourier mixing": "O(n log n)",
    # §4.3, §4.6: routing
    "Investigator, one query": "O(n²)",
    "Investigator, every query": "O(n²)",
    "rank-1, one query": "O(n)",
    "rank-1, every query": "O(n)",
    # §4.7: the routing loss
    "Investigator, the query's row": "O(n²)",
    "rank-1, the query's row": "O(n²)",
}
measured = pd.concat([preprocessing, routing, training])
slopes = report.against_claims(measured, CLAIMS)
memory = report.slopes(measured, "megabytes")
every_slope = report.slopes(measured, "seconds")

LABELS = {
    "attention": "full attention",
    "Flow": "Flow (Mamba, left to right)",
    "Investigator, one query": "pairwise router, one query",
    "Investigator, every query": "pairwise router, every token a query",
    "rank-1, one query": "rank-1 router, one query",
    "rank-1, every query": "rank-1 router, every token a query",
    "Investigator, the query's row": "training loss from one row, pairwise router",
    "rank-1, the query's row": "training loss from one row, rank-1 router",
    "Investigator, all pairs": "training loss from all pairs, pairwise router",
    "raw embeddings": "baseline: raw embeddings, no layer",
    CHANCE: "baseline: random router, no comparison",
}


def plus_minus(mean, sd):
    return f"{mean:.2f}" if pd.isna(sd) else f"{mean:.2f} ± {sd:.2f}"


# The loss computed as the paper describes it; not one of the claims counted above.
as_described = report.against_claims(
    measured, {"Investigator, all pairs": "O(n²)"}
)
listed = pd.concat([slopes, as_described])
powers = pd.DataFrame(
    {
        "paper": listed.claim,
        "power in the paper": listed.expected.map("{:.2f}".format),
        "power measured": [
            plus_minus(row["mean"], row["sd"]) for _, row in listed.iterrows()
        ],
        "verdict": [
            "agrees"
            if row["agrees"]
            else "grows less"
            if row["mean"] < row["expected"]
            else "grows more"
            for _, row in listed.iterrows()
        ],
    }
)
for name in ("raw embeddings", CHANCE):
    found = every_slope.loc[name]
    text = plus_minus(found["mean"], found["sd"])
    powers.loc[name] = [NONE, NONE, text, NONE]
linked(
    powers.rename(index=LABELS),
    {LABELS["rank-1, one query"]: "rank-one-linear"},
    "time of",
)

# %% [markdown]
# **Of the layers and routers two are quadratic: full attention, and the pairwise router with every token a query** (only just
# within the margin). With one query the pairwise router is linear, where the paper says O(n²).
#
# **Training can be linear as well.** The training loss uses only the scores of the one query whose evidence is known, so that one row is
# enough. All pairs give the same loss and the same gradients, in quadratic time.

# %% [markdown]
# ## What does a whole system cost?
#
# The same power can mean very different times. The table has the time of a layer and of a router behind it, for
# n = {glue:text}`middle`. The router has one query unless the row says otherwise.

# %% tags=["remove-input", "nbval-ignore-output"]
SYSTEMS = {
    "bidirectional Mamba": ("rank-1, one query", "Investigator, one query"),
    "Perceiver, 1 hub": ("Investigator, one query",),
    "sparse attention": ("Investigator, one query",),
    "attention": ("Investigator, one query", "Investigator, every query"),
    "raw embeddings": ("Investigator, one query", "rank-1, one query"),
}
time = measured.groupby(["workload", "length"]).seconds.mean()
shown = sizes.lengths[len(sizes.lengths) // 3 :: 3][:3]
middle = shown[len(shown) // 2]


def small(share):
    """A share for readers, without a zero that is none."""
    return "below 0.1%" if 0 < share < 0.0005 else percent(share)


def in_ms(seconds):
    """Milliseconds with three digits, so that shares can be checked."""
    ms = 1000 * seconds
    return f"{ms:,.{min(3, max(0, 2 - math.floor(math.log10(ms))))}f}"


def parts_of(preprocessing, router, n):
    """Milliseconds of the layer and of the router, and the router's share; dashes if too long."""
    if (preprocessing, n) not in time or (router, n) not in time:
        return NONE, NONE, NONE
    layer, routed = time[preprocessing, n], time[router, n]
    of_router = small(routed / (layer + routed))
    return in_ms(layer), in_ms(routed), of_router


def system(preprocessing, router):
    behind = {
        "Investigator, one query": "pairwise router",
        "rank-1, one query": "rank-1 router",
    }.get(router, LABELS[router])
    return f"{LABELS.get(preprocessing, preprocessing).removeprefix('baseline: ')} + {behind}"


pairs = [
    (before, router) for before, behind in SYSTEMS.items() for router in behind
]
labelled(
    pd.DataFrame.from_dict(
        {system(*pair): parts_of(*pair, middle) for pair in pairs},
        orient="index",
        columns=["layer (ms)", "router (ms)", "router's share of the time"],
    ),
    "layer + router",
)


# %% tags=["remove-cell"]
def milliseconds(name, n, digits):
    known = (name, n) in time
    return f"{1000 * time[name, n]:,.{digits}f}" if known else "–"


mid = sizes.lengths[len(sizes.lengths) * 3 // 4]
for name, row in every_slope.iterrows():
    glue(f"slope {name}", plus_minus(row["mean"], row["sd"]), display=False)
for name, row in memory.iterrows():
    glue(f"memory {name}", plus_minus(row["mean"], row["sd"]), display=False)
glue("mid", f"{mid:,}", display=False)
longest = max(sizes.lengths)
glue("longest", f"{longest:,}", display=False)
for name in PREPROCESSING:
    glue(f"ms {name}", milliseconds(name, mid, 2), display=False)
for name in routing.workload.unique():
    glue(f"longest {name}", milliseconds(name, longest, 1), display=False)
for name in ("sparse attention", "bidirectional Mamba"):
    both = pd.DataFrame({n: time[n] for n in ("attention", name)}).dropna()
    cheaper = both.index[both["attention"] <= both[name]]
    text = f"{cheaper.max():,}" if len(cheaper) else f"{min(sizes.lengths):,}"
    glue(f"crossing {name}", text, display=False)
for router in routers:
    glue(
        f"share {router}",
        parts_of("bidirectional Mamba", f"{router}, one query", middle)[2],
        display=False,
    )
glue("shortest", f"{min(sizes.lengths):,}", display=False)
glue("middle", f"{middle:,}", display=False)
known = time.get("Investigator, every query", pd.Series(dtype=float))
known = known.index.intersection(time["attention"].index)
glue("most", f"{known.max():,}" if len(known) else "–", display=False)
for name in ("Investigator, every query", "attention"):
    text = in_ms(time[name, known.max()]) if len(known) else "–"
    glue(f"most {name}", text, display=False)

# %% [markdown]
# * **One query per sequence** (retrieval, the paper's task): the router costs little beside any layer in front of it. Behind
#   bidirectional Mamba it takes {glue:text}`share Investigator` of the time. A cheaper router would save next to nothing, so choose the
#   router by how often it is right.
# * **Every token a query** (a layer of a language model): the pairwise router takes {glue:text}`most Investigator, every query` ms,
#   beside {glue:text}`most attention` ms of full attention, at n = {glue:text}`most`. Here a cheaper router is worth having. The rank-1
#   router is cheaper, but it has only two answers for all queries ([chapter 6](06_escape_routes.ipynb)).
# * **Training:** score only the queries whose evidence is known.

# %% [markdown]
# ## Is a loop in Python slow?
#
# Yes. A recurrent layer such as Mamba carries a state from token to token; this is the *scan*. The paper's scan is a loop in
# Python; how the loop is written we do not know. We time five scans that compute the same, on {glue:text}`at` tokens and two threads.

# %% tags=["hide-input", "nbval-ignore-output"]
scans_costs = study.measure(
    Bench(
        workloads={
            presets.LIMIT: Arithmetic(),
            "numba": Scan(backend="numba"),
            "torch": Scan(backend="torch"),
            "reference (unbind)": Scan(backend="reference"),
            "slicing loop": Scan(backend="slicing"),
            "mambapy pscan": Scan(backend="mambapy"),
        },
        lengths=sizes.scan_lengths,
        threads=2,
        **limits,
    )
)
scans = report.frame(*scans_costs)
WAYS = {
    "numba": "compiled loop",
    "torch": "the compiled loop's algorithm, in PyTorch",
    "reference (unbind)": "Python loop, sequence cut into tokens once",
    "mambapy pscan": "parallel scan of the package mambapy",
    "slicing loop": "Python loop, a slice cut out at every token",
}
shared = scans.groupby("length").workload.nunique()
at = int(shared[shared == shared.max()].index.max())
scans["times"] = report.ratios(scans, "numba")
scans["share"] = report.ratios(scans, "numba", "megabytes")
here = scans[scans.length == at].groupby("workload", sort=False).mean()
labelled(
    here.times.loc[list(WAYS)]
    .rename(WAYS)
    .map("{:,.0f}".format)
    .to_frame("time, compiled loop = 1"),
    "scan",
)

# %% tags=["remove-cell"]
glue("at", at, display=False)
for name, value in here.times.items():
    glue(f"times {name}", f"{value:,.0f}", display=False)
glue("limit", f"{here.times[presets.LIMIT]:.2f}", display=False)

# %% [markdown]
# **Both loops in Python are slow, and how slow depends on how they are written.** The slower one pays for slices: each step cuts
# a slice out of the sequence, and the gradient of each slice is as long as the sequence.

# %% [markdown]
# ## What the paper says, what we measured, chance
#
# {glue:text}`verdict`
#
# A cost has no chance level. The *baselines*, the last two rows of the table of powers, show what a plainly linear cost looks like
# when it is measured. The [ledger](claims.md), our list of the paper's claims, judges trainings only, and so has the rank-1 router's cost as open.


# %% tags=["remove-input", "nbval-ignore-output"]
def power(name):
    return powers["power measured"].loc[name]


layers = slopes.loc[[name for name in slopes.index if name in PREPROCESSING]]
labelled(
    pd.DataFrame.from_dict(
        {
            "layers in front of the router can be linear": (
                f"{layers.agrees.sum()} of {len(layers)} layers grow as the paper says, only full attention as n²",
            ),
            "the pairwise router is quadratic": (
                f"power {power('Investigator, one query')} with one query, "
                f"{power('Investigator, every query')} with every token a query",
            ),
            "a rank-1 router is linear": (
                f"power {power('rank-1, one query')} with one query, "
                f"{power('rank-1, every query')} with every token a query",
            ),
            "training needs the scores of all pairs": (
                "one row gives the same loss, with power "
                + power("Investigator, the query's row"),
            ),
            "a scan in Python is slow": (
                f"{here.times['reference (unbind)']:,.0f} to {here.times['slicing loop']:,.0f} "
                "times as long as a compiled scan",
            ),
        },
        orient="index",
        columns=["we measured"],
    ),
    "the paper says",
)

# %% tags=["remove-cell"]
# What the texts of this page say in words:
if study.profile == "quick":
    assert set(slopes.index[~slopes.agrees]) == {
        "Investigator, one query",
        "Investigator, the query's row",
        "rank-1, the query's row",
    }
    assert set(memory.index[memory["mean"] > 1.5]) == {
        "Investigator, every query",
        "Investigator, all pairs",
        "rank-1, all pairs",
    }
answer = (
    "With one query, the time of the paper's router grows linearly with the length; with every token as a query it grows quadratically, "
    "as full attention's does."
)
sure = (
    f"Very sure of the growth: one query has n scores by the router's definition. Milliseconds hold for one machine and vectors of width "
    f"{width}; repetitions: {study.seeds}. We would change our mind if, with one query, doubling the length took closer to four times the "
    f"time than to two times."
)
verdict = (
    "All layers grow as the paper says, and so do routers with every token a query. With one query the pairwise router and the training "
    "loss are linear, where the paper says O(n²): it counts all pairs, but its task has one query, which needs one row of scores."
)
costs = preprocessing_costs + routing_costs + training_costs + scans_costs
took = sum(cost.took for cost in costs)
closing.close(
    "10_cost",
    "Cost",
    answer=answer,
    sure=sure,
    verdict=verdict,
    cost=f"measures for about {took / 60 / study.seeds:.0f} minutes at profile {study.profile}; nothing "
    "else should run meanwhile.",
)

# %% [markdown]
# ## What differs, and why
#
# * **Memory.** It is quadratic only for the pairwise router with every token a query and for a loss from all pairs. Full attention
#   never holds the n × n matrix, since it is computed block by block, as FlashAttention does.
# * **Milliseconds.** For short sequences full attention is the cheaper layer: up to about
#   n = {glue:text}`crossing bidirectional Mamba` it beats bidirectional Mamba on our machine.
# * **Not measured.** A training step of a whole model, and costs on a GPU other than the scan's.

# %% [markdown]
# ## Exercises
#
# **To run it again.** `.venv/bin/fci run 10 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# 1. Give sparse attention a wider window, `Attention(mask="sparse", window=128)`. Which changes, the power or the time?
# 2. In the figure of layers the line of raw embeddings [has a step](#cost-layers). Double the width in `Represent`, which times a layer. Where does the step
#    move to, and why?
# 3. Let the routers pick more tokens, `Investigator(k=1024)` and `RankOne(k=1024)`. Which line moves, and from which n on does
#    the number of picks no longer matter?

# %% [markdown]
# ## In detail
#
# (cost-layers)=
# ### Layers in front of the router
#
# We time a forward pass without gradients: what a trained model pays before its router sees anything. Each representation is that of
# the other chapters, with one layer; bidirectional Mamba has one for each direction. A curve ends where the next length would pass
# {glue:text}`limit seconds` seconds or {glue:text}`limit memory` MB.

# %% mystnb={"figure": {"caption": "Only full attention is far from linear in time; in memory it is linear too. Time and peak memory of every layer against the length of one sequence, both axes logarithmic: a line of slope one is linear. Lines are means over repetitions, shades their range. In memory many lines coincide.", "name": "fig-preprocessing-10"}, "image": {"alt": "Two log-log panels, time and memory against length, with a line per representation; all but attention come to run along slope one, raw embeddings after a step."}} tags=["remove-input", "nbval-ignore-output"]
figures.growth_figure(preprocessing)
plt.show()

# %% [markdown]
# * Linear attention, for which the paper states no cost, has power {glue:text}`slope linear attention`. Fourier mixing needs
#   O(n log n) steps; its power is too close to one to tell it from linear.
# * At n = {glue:text}`mid` raw embeddings take {glue:text}`ms raw embeddings` ms and bidirectional Mamba
#   {glue:text}`ms bidirectional Mamba` ms. Full attention is cheaper than sparse attention up to about
#   n = {glue:text}`crossing sparse attention`.
# * The line of raw embeddings has a step, so that its power is {glue:text}`slope raw embeddings`. We believe that the step comes
#   where the vectors outgrow a cache; this was not measured. Other layers take so much longer that such a step would not show.
#
# ### Routers

# %% mystnb={"figure": {"caption": "Only the pairwise router (Investigator) with a query at every position is steeper than linear. Time and peak memory of routing one sequence, against its length. The random router has one query. Lines are means over repetitions, shades their range.", "name": "fig-routing-10"}, "image": {"alt": "Two log-log panels, time and memory against length, with a line per router; the Investigator with every query rises twice as steeply as the others."}} tags=["remove-input", "nbval-ignore-output"]
figures.growth_figure(routing)
plt.show()

# %% [markdown]
# * *Investigator* is the paper's pairwise router. With one query, at n = {glue:text}`longest`, it takes
#   {glue:text}`longest Investigator, one query` ms and the rank-1 router {glue:text}`longest rank-1, one query` ms.
# * With every token a query, the memory of the Investigator has power {glue:text}`memory Investigator, every query`. The curve ends at
#   the limit on memory; that of full attention ends at the limit on time.
# * Behind bidirectional Mamba, at n = {glue:text}`middle`, the rank-1 router takes {glue:text}`share rank-1` of the time.
#
# ### The rank-1 router has only two answers
#
# Every token has one number. A query whose own number is positive gets the tokens with the largest numbers, and any other query those
# with the smallest. This makes the router cheap: `FingerprintScores.route_all` computes both answers once. We count the different
# answers in one sequence:

# %%
module = FingerprintScores(width)
x = torch.randn(512, width, generator=torch.Generator().manual_seed(0))
every = module.route_all(x, k=8)
assert torch.equal(every, super(FingerprintScores, module).route_all(x, k=8))
print(len(every.unique(dim=0)), "different answers to", len(x), "queries")

# %% [markdown]
# ### Training from one row, and from all pairs

# %% mystnb={"figure": {"caption": "From one row the training loss is linear, from all pairs quadratic. Time and peak memory of the loss of one sequence, forward and backward: from the scores of the query alone, and from the scores of all pairs, of which one row is used. Lines are means over repetitions, shades their range.", "name": "fig-training-10"}, "image": {"alt": "Two log-log panels, time and memory against length; for both routers the loss from one row is linear, the loss from all pairs quadratic."}} tags=["remove-input", "nbval-ignore-output"]
figures.growth_figure(training)
plt.show()

# %% [markdown]
# Both ways compare the same scores:

# %%
module = Investigator().build(Size(vocabulary=64, length=512, width=width))
row = module(x[None], torch.tensor([100]))
whole = module.matrix(x[None])[:, 100]
torch.testing.assert_close(row, whole)

# %% [markdown]
# ### How a power is fitted
#
# The power is the slope of a straight line through log time against log n, by least squares. Only the upper half of the lengths that
# a curve reached counts. We compare it with the slope of the paper's formula over the same lengths. The margin of 0.1 was set beforehand.
# We do not tell a power of about 1.1 from 1.
#
# ### A whole system at other lengths


# %% tags=["remove-input", "nbval-ignore-output"]
def cell(preprocessing, router, n):
    layer, routed, of_router = parts_of(preprocessing, router, n)
    return NONE if layer == NONE else f"{layer} + {routed} ms, {of_router}"


labelled(
    pd.DataFrame(
        {
            f"n = {n:,}": {system(*pair): cell(*pair, n) for pair in pairs}
            for n in shown
            if n != middle
        }
    ),
    "time of layer + router, router's share",
)

# %% [markdown]
# ### The five scans
#
# We time forward and backward pass together, on 32 sequences and two threads. L is the length. `fci bench scan` measures your own
# machine, and `fci bench block` a whole Mamba block.
#
# | name | what it does |
# | --- | --- |
# | slicing loop | a loop in Python that takes a slice of the sequence at each step. The gradient of every slice is as long as the sequence: the backward pass is quadratic in L |
# | reference (unbind) | a loop in Python that cuts the sequence into its steps once, and is linear in L |
# | numba | a compiled loop, which `fcilib` uses on a CPU. It stores every eighth state, and computes the others again in the backward pass |
# | torch | the same algorithm as numba, in PyTorch without a compiler |
# | mambapy pscan | the parallel scan of the package mambapy |
# | arithmetic limit | no scan but a lower bound: as many multiply-adds as the recurrence has arithmetic instructions, with nothing read or written |

# %% mystnb={"figure": {"caption": "The compiled loop, numba, lies closest to the arithmetic limit, and the slicing loop is steeper than all others. Time and peak memory of one scan, forward and backward, against its length (batch 32, 256 channels, 16 states, two threads). The arithmetic limit holds no memory. Shades: range over repetitions.", "name": "fig-scan-10"}, "image": {"alt": "Two log-log panels, time and memory against length, with a line for each implementation of the scan and one for the arithmetic limit; the numba kernel lies closest to the limit."}} tags=["remove-input", "nbval-ignore-output"]
bounded = scans.workload == presets.LIMIT
figures.growth_figure(
    scans.assign(megabytes=scans.megabytes.mask(bounded)), "L"
)
plt.show()

# %% tags=["remove-input", "nbval-ignore-output"]
labelled(
    pd.DataFrame(
        {
            "forward (ms)": (1000 * here.forward).map("{:,.1f}".format),
            "forward and backward (ms)": (1000 * here.seconds).map(
                "{:,.1f}".format
            ),
            "time, numba = 1": here.times.map("{:.1f}".format),
            "peak memory (MB)": here.megabytes.map("{:,.0f}".format),
            "memory, numba = 1": here.share.map("{:.1f}".format),
        }
    ),
    f"L = {at}",
)

# %% [markdown]
# Ratios are means over the repetitions, each with the times of one repetition. The arithmetic alone would take {glue:text}`limit` of
# numba's time. As in our training, the process keeps the memory that it frees for its next tensors, which saves time.
#
# ### The scan on a GPU
#
# `fcilib` has a scan for GPUs as well, `triton`. We timed it on an H100. Beside it stands the official CUDA kernel of
# state-spaces/mamba, which ran on an H200, a card with faster memory. Only large differences between the two mean anything.
#
# A row has B sequences of length L with d channels and N states, stored in 32 or 16 bits. Times are for forward and backward
# pass together. *Before* is our previous version, which walked a long sequence in one piece.

# %% tags=["hide-input"]
on_cards = pd.DataFrame(gpu_scan.recorded())
on_cards["shape"] = [", ".join(map(str, shape)) for shape in on_cards["shape"]]
ours, before, official = (
    on_cards[on_cards.scan == scan].set_index(["shape", "dtype"])
    for scan in (gpu_scan.OURS, gpu_scan.BEFORE, gpu_scan.OFFICIAL)
)
beside = ours.join(before.add_suffix(" before"))
beside = beside.join(official.add_suffix(" official")).reset_index()
at_ours, at_theirs = (
    " ".join(rows.device.iloc[0].split()[1:2]) for rows in (ours, official)
)


def written(values, digits):
    """Texts of numbers; a dash where there is none."""
    texts = values.map(f"{{:,.{digits}f}}".format, na_action="ignore")
    return texts.fillna(NONE)


compared = beside.dropna(subset=["both official"])
labelled(
    pd.DataFrame(
        {
            "B, L, d, N": compared["shape"],
            "stored as": compared["dtype"],
            f"ours, {at_ours} (ms)": written(compared["both"], 2),
            "before (ms)": written(compared["both before"], 2),
            f"official, {at_theirs} (ms)": written(
                compared["both official"], 2
            ),
            "ours (MB)": written(compared["megabytes"], 0),
            "before (MB)": written(compared["megabytes before"], 0),
            "official (MB)": written(compared["megabytes official"], 0),
        }
    ).set_index("B, L, d, N"),
    "B, L, d, N",
)

# %% tags=["remove-cell"]
LONG = 8192
is_long = compared["shape"].map(lambda text: int(text.split(", ")[1]) >= LONG)
for name, of_ours, theirs, rows in (
    ("official", "both", "both official", is_long | ~is_long),
    ("memory", "megabytes", "megabytes official", is_long | ~is_long),
    ("gained", "both before", "both", is_long),
    ("lost", "both", "both before", ~is_long),
):
    ratio = compared.loc[rows, of_ours] / compared.loc[rows, theirs]
    glue(f"gpu least {name}", f"{ratio.min():.1f}", display=False)
    glue(f"gpu most {name}", f"{ratio.max():.1f}", display=False)
glue("gpu long", f"{LONG:,}", display=False)
glue("limit seconds", f"{sizes.seconds:g}", display=False)
glue("limit memory", f"{sizes.megabytes:,g}", display=False)

# %% [markdown]
# * **Beside the official kernel:** {glue:text}`gpu least memory` to {glue:text}`gpu most memory` times the memory, and
#   {glue:text}`gpu least official` to {glue:text}`gpu most official` times the time, on the slower card.
# * **Beside the version before:** at L = {glue:text}`gpu long` and more our scan is {glue:text}`gpu least gained` to
#   {glue:text}`gpu most gained` times as fast, since it walks pieces of a sequence side by side. On shorter sequences it takes
#   {glue:text}`gpu least lost` to {glue:text}`gpu most lost` times as long. It saves memory by computing states again in the backward
#   pass. The backward pass is far from the card's limits (`fcilib/scan/README.md`).
