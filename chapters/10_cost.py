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
# **The question.** A *router* scores tokens and picks the few that get full attention. What do the router and the layers in
# front of it cost, as the sequence grows to n tokens?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **The claim.** The layers in front of the router can be linear in n. The pairwise router, which compares the query with
# every token, costs O(n²). A rank-1 router, which has one number per token, brings that down to O(n) at inference, though
# training still needs the n × n matrix of scores. What limits the recurrent models is their sequential scan in Python
# {cite:p}`basu2026routing` (§4.4, §4.6, §6).
#
# We measure time and memory against n: first of the layers in front of the router (*preprocessing*), then of the routers
# and of the *routing loss*, by which a router is trained. All of these get one sequence and one thread. Last comes the *selective
# scan*, the recurrence inside a Mamba block. Nothing is trained. Curves end where the next length would pass the limits
# printed below. Milliseconds, and the lengths at which two curves cross, hold for one machine. How a cost grows with n
# should hold for others too.

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

# %% tags=["hide-input"]
import inspect

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import Code
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
# ## What does the preprocessing cost?
#
# We time a forward pass over one sequence of n tokens, without gradients: what a trained model pays before its router sees
# anything. The representations are those of the other chapters, with one layer. Bidirectional Mamba has one for each direction.

# %%
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

# %% mystnb={"figure": {"caption": "Time and peak memory of every preprocessing against the length of one sequence, one thread, both axes logarithmic. Lines are means over repetitions of the whole measurement, shades their range. On these axes a line of slope one is linear. In time only full attention is far from linear. In memory full attention is linear as well, since it never keeps an n \u00d7 n matrix. Related methods share a colour and differ in the marker; in memory many lines coincide.", "name": "fig-preprocessing-10"}, "image": {"alt": "Two log-log panels, time and memory against length, with a line per representation; all but attention come to run along slope one, raw embeddings after a step."}} tags=["remove-input", "nbval-ignore-output"]
figures.growth_figure(preprocessing)
plt.show()

# %% [markdown]
# **Only full attention is far from linear.** The *slope* is the power p if time grows like $n^p$. Attention has slope
# {glue:text}`slope attention`, bidirectional Mamba {glue:text}`slope bidirectional Mamba`, sparse attention
# {glue:text}`slope sparse attention` and linear attention {glue:text}`slope linear attention`. Fourier mixing needs
# $O(n \log n)$ steps and has {glue:text}`slope Fourier mixing`, too close to one to tell it from linear.
# {numref}`fig-slopes-10` has every slope for which the paper states a cost; for linear attention it states none.
#
# **A slope says nothing about height.** At n = {glue:text}`mid` raw embeddings, which have no layer, take
# {glue:text}`ms raw embeddings` ms and bidirectional Mamba {glue:text}`ms bidirectional Mamba`. Full attention is cheaper
# than sparse attention up to about n = {glue:text}`crossing sparse attention`, and cheaper than bidirectional Mamba up to
# about n = {glue:text}`crossing bidirectional Mamba`.

# %% [markdown]
# ## What does a router cost?
#
# That depends on the number of questions. In the paper's task there is one question in a sequence: the router scores n
# candidates for one query and picks k. In a layer of a language model there is a question at every position, and n times n
# candidates. The *Investigator* is the paper's pairwise router. The paper's O(n²) for it is right where every position asks;
# its task asks once.

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

# %% mystnb={"figure": {"caption": "Time and peak memory of routing one sequence, against its length. Investigator and rank-1 router have one query, or every position as a query; the random router has one query. Lines are means over repetitions, shades their range. Only the Investigator with a query at every position is steeper than linear.", "name": "fig-routing-10"}, "image": {"alt": "Two log-log panels, time and memory against length, with a line per router; the Investigator with every query rises twice as steeply as the others."}} tags=["remove-input", "nbval-ignore-output"]
figures.growth_figure(routing)
plt.show()

# %% [markdown]
# **With one query both routers are close to linear.** The Investigator has slope {glue:text}`slope Investigator, one query` and
# the rank-1 router {glue:text}`slope rank-1, one query`; we do not tell a slope below 1.1 from 1. At n = {glue:text}`longest` they take
# {glue:text}`longest Investigator, one query` and {glue:text}`longest rank-1, one query` ms.
#
# **With a query at every position the Investigator is quadratic**, in time ({glue:text}`slope Investigator, every query`)
# and in memory ({glue:text}`memory Investigator, every query`). The rank-1 router has
# {glue:text}`slope rank-1, every query`.

# %% [markdown]
# **The rank-1 router is cheap because it can give only two different answers in a sequence.** Every token has one number. A query whose own number is
# positive gets the tokens with the largest numbers, and any other query those with the smallest. This is also the router's limit:
# different queries get the same picks ([chapter 6](06_escape_routes.ipynb)). We count the different answers in one sequence. Below,
# folded, is the code that finds them:

# %%
module = FingerprintScores(width)
x = torch.randn(512, width, generator=torch.Generator().manual_seed(0))
every = module.route_all(x, k=8)
assert torch.equal(every, super(FingerprintScores, module).route_all(x, k=8))
print(len(every.unique(dim=0)), "different answers to", len(x), "queries")

# %% tags=["remove-input", "hide-output"]
Code(inspect.getsource(FingerprintScores.route_all), language="python")

# %% [markdown]
# ## Does training need all pairs?
#
# The paper says so, for the routing loss: it computes the n × n matrix of the scores of all pairs. But the loss compares the
# scores of one query's candidates, and these are one row of the matrix. We measure loss and gradient in two ways: from that
# row alone, and from the whole matrix, out of which the row is cut.

# %%
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

# %% mystnb={"figure": {"caption": "Time and peak memory of the routing loss of one sequence, forward and backward: from the scores of the query alone, and from the scores of all pairs, of which one row is used. Both give the same loss and the same gradients. Lines are means over repetitions, shades their range.", "name": "fig-training-10"}, "image": {"alt": "Two log-log panels, time and memory against length; for both routers the loss from one row is linear, the loss from all pairs quadratic."}} tags=["remove-input", "nbval-ignore-output"]
figures.growth_figure(training)
plt.show()

# %% [markdown]
# **One row is enough.** Computed from the query's row, the Investigator's loss has slope
# {glue:text}`slope Investigator, the query's row`; computed from all pairs, {glue:text}`slope Investigator, all pairs`. Both give the
# same loss, since they compare the same scores:

# %%
module = Investigator().build(Size(vocabulary=64, length=512, width=width))
row = module(x[None], torch.tensor([100]))
whole = module.matrix(x[None])[:, 100]
torch.testing.assert_close(row, whole)

# %% [markdown]
# ## What does the scan cost?
#
# The *scan* carries a state from token to token. The paper says that its own, a sequential loop in Python, limits the speed of
# its recurrent models. It does not say how that loop is written. We time five ways to compute the same, forward
# and backward, on 32 sequences and two threads. L is the length.
#
# | name | what it does |
# | --- | --- |
# | slicing loop | a loop in Python that takes a slice of the sequence at each step. The gradient of every slice is as long as the sequence, so that the backward pass is quadratic in L |
# | reference (unbind) | a loop in Python that cuts the sequence into its steps once, and is linear in L |
# | numba | a compiled loop, which `fcilib` uses on a CPU. It stores every eighth state, and recomputes the others in the backward pass |
# | torch | the same algorithm as numba, in PyTorch without a compiler |
# | mambapy pscan | the parallel scan of the package mambapy |
# | arithmetic limit | not a scan but a lower bound: as many multiply-adds as the recurrence has arithmetic instructions, with nothing read or written |

# %%
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

# %% mystnb={"figure": {"caption": "Time and peak memory of one selective scan, forward and backward, against its length (batch 32, 256 channels, 16 states, two threads). The compiled loop, numba, lies closest to the arithmetic limit, and the slicing loop is steeper than all others. The arithmetic limit holds no memory. Lines are means over repetitions, shades their range.", "name": "fig-scan-10"}, "image": {"alt": "Two log-log panels, time and memory against length, with a line for each implementation of the scan and one for the arithmetic limit; the numba kernel lies closest to the limit."}} tags=["remove-input", "nbval-ignore-output"]
bounded = scans.workload == presets.LIMIT
figures.growth_figure(
    scans.assign(megabytes=scans.megabytes.mask(bounded)), "L"
)
plt.show()

# %% tags=["remove-input", "nbval-ignore-output"]
shared = scans.groupby("length").workload.nunique()
at = int(shared[shared == shared.max()].index.max())
scans["times"] = report.ratios(scans, "numba")
scans["share"] = report.ratios(scans, "numba", "megabytes")
here = scans[scans.length == at].groupby("workload", sort=False).mean()
labelled(
    pd.DataFrame(
        {
            "forward (ms)": (1000 * here.forward).map("{:,.1f}".format),
            "both (ms)": (1000 * here.seconds).map("{:,.1f}".format),
            "time ÷ numba's": here.times.map("{:.2f}".format),
            "peak memory (MB)": here.megabytes.map("{:,.0f}".format),
            "memory ÷ numba's": here.share.map("{:.2f}".format),
        }
    ),
    f"L = {at}",
)

# %% tags=["remove-cell"]
glue("at", at, display=False)
for name, value in here.times.items():
    glue(f"times {name}", f"{value:.2f}", display=False)

# %% [markdown]
# **How a loop is written decides its cost.** At L = {glue:text}`at`, on two threads, the slicing loop takes
# {glue:text}`times slicing loop` times as long as numba's compiled one. The reference, also a loop in Python, takes
# {glue:text}`times reference (unbind)` times as long, and mambapy's parallel scan {glue:text}`times mambapy pscan` times. The arithmetic
# alone would take {glue:text}`times arithmetic limit` of numba's time. Both loops in Python are slow, as the paper says of its own; how
# slow depends on how they are written. `fci bench scan` measures your own machine, and `fci bench block` a whole Mamba block.

# %% [markdown]
# ## What the paper says, what we measured, chance
#
# {glue:text}`verdict`
#
# The slope is the power p in time = c nᵖ, by least squares over the upper half of the lengths that a curve reached. It agrees
# if it is within 0.1 of the slope of the claimed growth over the same lengths. This margin was set beforehand; the
# Investigator with a query at every position only just keeps it. A cost has no chance level. In its place we show a
# *baseline*, the slope of what compares nothing: raw embeddings for the preprocessing, the random router for the rest.
#
# The paper's O(n²) for the Investigator is held against one query and against every query; the last two rows are routing losses.
# [The ledger](claims.md) judges trainings only, and leaves its claim on a cost open.

# %%
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
    # §4.4, §4.6: routing
    "Investigator, one query": "O(n²)",
    "Investigator, every query": "O(n²)",
    "rank-1, one query": "O(n)",
    "rank-1, every query": "O(n)",
    # §6: the routing loss
    "Investigator, the query's row": "O(n²)",
    "rank-1, the query's row": "O(n²)",
}
measured = pd.concat([preprocessing, routing, training])
slopes = report.against_claims(measured, CLAIMS)
memory = report.slopes(measured, "megabytes")
every_slope = report.slopes(measured, "seconds")
baselines = [
    "raw embeddings" if name in PREPROCESSING else CHANCE
    for name in slopes.index
]
slopes["chance"] = every_slope["mean"].loc[baselines].to_numpy()
comparison = (
    slopes.rename(columns={"expected": "paper"})
    .rename_axis("condition")
    .reset_index()
    .assign(protocol="", verdict=NONE)
)

# %% mystnb={"figure": {"caption": "The slope of time against length. Hollow: what the paper's growth would give over the same lengths. Filled: measured, with its spread over repetitions. Tick: the baseline, raw embeddings or the random router. The line between paper and measured is blue where the two agree within 0.1 and orange where they do not.", "name": "fig-slopes-10"}, "image": {"alt": "A row per preprocessing and router with the slope that the paper's cost implies, the measured slope and that of the baseline."}} tags=["remove-input", "nbval-ignore-output"]
figures.claims_figure(
    comparison,
    scale=1,
    label="slope of log time on log n",
    rule="0.1",
    tick="baseline",
)
plt.show()


# %% tags=["remove-input", "nbval-ignore-output"]
def plus_minus(mean, sd):
    return f"{mean:.2f}" if pd.isna(sd) else f"{mean:.2f} ± {sd:.2f}"


linked(
    pd.DataFrame(
        {
            "paper": slopes.claim,
            "its slope": slopes.expected.map("{:.2f}".format),
            "ours": [
                plus_minus(row["mean"], row["sd"])
                for _, row in slopes.iterrows()
            ],
            "verdict": [
                "agrees" if agrees else "differs" for agrees in slopes.agrees
            ],
        }
    ),
    {"rank-1, one query": "rank-one-linear"},
    "time of",
)

# %% [markdown]
# ## What this means for choosing a router
#
# A system pays for its preprocessing and for its routing. The table has the sum for one question in a sequence of n tokens,
# and the router's share of it:

# %%
SYSTEMS = {
    "bidirectional Mamba": ("rank-1, one query", "Investigator, one query"),
    "Perceiver, 1 hub": ("Investigator, one query",),
    "sparse attention": ("Investigator, one query",),
    "attention": ("Investigator, one query", "Investigator, every query"),
    "raw embeddings": ("Investigator, one query", "rank-1, one query"),
}

# %% tags=["remove-input", "nbval-ignore-output"]
time = measured.groupby(["workload", "length"]).seconds.mean()
shown = sizes.lengths[len(sizes.lengths) // 3 :: 3][:3]


def cell(preprocessing, router, n):
    if (preprocessing, n) not in time or (router, n) not in time:
        return "–"
    parts = time[preprocessing, n], time[router, n]
    return f"{1000 * sum(parts):,.1f} ms, {percent(parts[1] / sum(parts))}"


labelled(
    pd.DataFrame(
        {
            f"n = {n:,}": {
                f"{preprocessing} + {router.removesuffix(', one query')}": cell(
                    preprocessing, router, n
                )
                for preprocessing, routers_ in SYSTEMS.items()
                for router in routers_
            }
            for n in shown
        }
    ),
    "time, router's share",
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
    parts = ("bidirectional Mamba", mid), (f"{router}, one query", mid)
    text = "–"
    if all(part in time for part in parts):
        before, routed = (time[part] for part in parts)
        text = percent(routed / (before + routed))
    glue(f"share {router}", text, display=False)
known = time.get("Investigator, every query", pd.Series(dtype=float))
known = known.index.intersection(time["attention"].index)
glue("most", f"{known.max():,}" if len(known) else "–", display=False)
text = "–"
if len(known):
    scored = time["Investigator, every query", known.max()]
    text = percent(scored / time["attention", known.max()])
glue("of attention", text, display=False)

# %% [markdown]
# **With one question the router costs little beside any layer in front of it.** At n = {glue:text}`mid`, behind
# bidirectional Mamba, the Investigator takes {glue:text}`share Investigator` of the time and the rank-1 router
# {glue:text}`share rank-1`. Behind raw embeddings, which have no layer, the router is a large part of a small cost.
# Therefore:
#
# * **One question per sequence** (retrieval, reading comprehension, the paper's task): choose the router by its precision
#   and the preprocessing by its cost.
# * **A question at every position** (a layer of a language model): at n = {glue:text}`most` the Investigator's
#   n × n scores take {glue:text}`of attention` as long as a layer of full attention itself, and its memory is quadratic. A
#   cheaper router pays here. The rank-1 router is cheaper, and has only two answers.
# * **Training**: score the queries that have a label. No n × n matrix is needed.
# * **Recurrence**: how fast its scan is depends on the implementation.

# %% tags=["remove-cell"]
agreeing = slopes[slopes.agrees]
WORDS = {
    "Investigator, one query": "the pairwise router with one query",
    "Investigator, the query's row": "its routing loss",
    "rank-1, the query's row": "the rank-1 router's routing loss",
}
others = slopes[~slopes.agrees]
assert study.profile != "quick" or set(others.claim) == {"O(n²)"}
differing = ", ".join(
    f"{WORDS.get(name, name)} (power {slope:.2f})"
    for name, slope in others["mean"].items()
)
answer = (
    "For the one question of the paper's task the pairwise router is linear in the length of the sequence, in "
    "training too; it is quadratic only where every position asks."
)
sure = (
    f"Very sure of the growth: that one query has n scores follows from the router's definition. Measured at profile {study.profile}, "
    f"on one sequence of width {width}, one thread and one machine; repetitions: {study.seeds}. "
    f"We would change our mind if the time of a router with one question grew with a power of n that is nearer to 2 than to 1."
)
verdict = (
    f"We compared {len(slopes)} costs with the growth that the paper states, and {len(agreeing)} grow so. The other {len(others)} are "
    f"quadratic in the paper and about linear here: {differing}. "
    f"A scan that is a loop in Python is slow here, too; how slow depends on how it is written."
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
# * **What O(n²) is about.** The paper counts the scores of all pairs, and its task asks one question. The Investigator with
#   one query never forms a pair that it does not need, and neither does its loss. The paper's statement holds where every
#   position asks.
# * **Constants.** A slope of one is not cheap by itself. Attention's products are what a processor does best, and linear
#   preprocessing overtakes it only at the lengths given above; on another machine these are others.
# * **Memory.** Full attention is computed in tiles and holds no n × n matrix. Its memory is linear, as FlashAttention's is.
#   Its curve ends at the limit on time, that of the Investigator with every query at the limit on memory.
# * **Bends.** The line of raw embeddings has a step, so that its slope is {glue:text}`slope raw embeddings`. We believe that
#   the step comes where the vectors outgrow a cache; that was not measured. Where a layer adds its own, larger time, the
#   step cannot be seen.
# * **The scan's memory.** Here, as in our training, the process keeps the memory that it frees for its next tensors, which
#   saves time.
# * **What was not measured.** A GPU's costs other than the scan's, and a training step of a whole model; every record of
#   the other chapters holds the seconds of its run.

# %% [markdown]
# ## In detail: the scan on a GPU
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

# %% [markdown]
# **It takes no more memory than the official kernel, and on its slower card it takes more time.** Its memory is {glue:text}`gpu least memory` to
# {glue:text}`gpu most memory` times that of the official kernel, its time {glue:text}`gpu least official` to
# {glue:text}`gpu most official` times.
#
# **Against the version before, long sequences gain and short ones lose.** At L = {glue:text}`gpu long` and more it is
# {glue:text}`gpu least gained` to {glue:text}`gpu most gained` times as fast, since it walks pieces of a sequence side by side. On
# the shorter sequences it takes {glue:text}`gpu least lost` to {glue:text}`gpu most lost` times as long. It saves
# memory by computing states again in the backward pass, and there it is far from the card's limits (`fcilib/scan/README.md`).

# %% [markdown]
# ## Exercises
#
# **To run it again.** `.venv/bin/fci run 10 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# 1. Give sparse attention a wider window, `Attention(mask="sparse", window=128)`. Slope or height: which
#    changes?
# 2. Double the width in `Route`. Where does the step in the line of the one-query Investigator move to,
#    and why?
# 3. Ask for more picks, `Investigator(k=1024)` and `RankOne(k=1024)`. Which line moves, and at which n
#    does it no longer matter?
