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
# # 11. Bring your own router
#
# **The question.** A *router* scores tokens and picks the best one. The paper's task hides a second copy, the *evidence*, of the
# token that asks, the *query*. Does a router of your own find the evidence?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **What this is.** A tutorial of ten minutes. We write a router in twelve lines, train it as the paper's approaches were trained, and
# put it beside them in a figure. Then we do the same with a layer. Nothing in the library is changed for it.
#
# To try your own, open this file in JupyterLab ([how](how-to-run.md)), change the twelve lines, and run all cells. In the twelve lines
# put **a new name** in both places of `kind: Literal["metric"] = "metric"`, and keep the names of the two classes. (Results are stored under this name. Under the old name you
# would be shown ours.)

# %% tags=["parameters"]
profile = "quick"  # smoke, quick or paper
seeds = 3
executor = "process"  # inline, process or ray
device = "cpu"  # cpu, cuda or auto
records = ""  # a folder; empty for the repository's own

# %% tags=["hide-cell"]
from fcilib.study import Study

study = Study.from_parameters(globals())
print(study)

# %% [markdown]
# ## Twelve lines
#
# The paper's router multiplies two vectors, after a learned map of each. Ours asks how far apart they are, after one learned map $W$.
# With $x_q$ for the vector of the query and $x_j$ for that of another token, the score is
#
# $$
# s_{qj} = -\lVert W x_q - W x_j \rVert^2
# $$
#
# The nearest token has the highest score. Example: with $W x_q = (1, 0)$, a token at $(1, 0.1)$ has the score −0.01, and a token at
# $(0, 1)$ has −2. The first one is picked.
#
# A router is two classes. The first one describes it: its name (`kind`) and `build`. The second one is a PyTorch module. It gets the vectors
# `x` of shape (batch, tokens, width) and the position of the query in each sequence. It returns a score for every token. The library
# does the rest: losses, picking, metrics and records.

# %%
from typing import Literal

import torch
from torch import nn

from fcilib.routers.router import RouterModule, RouterSpec


class Metric(RouterSpec):
    kind: Literal["metric"] = "metric"

    def build(self, size):
        return MetricScores(size.width)


class MetricScores(RouterModule):
    def __init__(self, width):
        super().__init__()
        self.map = nn.Linear(width, width, bias=False)

    def forward(self, x, query):
        places = self.map(x)
        asked = places[torch.arange(len(x)), query]
        return -(places - asked[:, None]).square().sum(dim=2)


# %% [markdown]
# Two checks cost nothing before anything is trained. We draw random vectors and make one nearly equal to the query's: is it picked?
# And does the gradient agree with finite differences?

# %% tags=["hide-input"]
torch.manual_seed(0)
x = torch.randn(3, 12, 4, dtype=torch.float64)
query, near = torch.tensor([0, 5, 11]), torch.tensor([7, 2, 3])
x[torch.arange(3), near] = x[torch.arange(3), query] + 1e-3
scores = MetricScores(4).double()

candidates = Metric(candidates="others").mask(scores(x, query), query)
assert (candidates.argmax(dim=1) == near).all()
assert torch.autograd.gradcheck(lambda x: scores(x, query), x.requires_grad_())
print("it is picked, and the gradient is right")

# %% [markdown]
# ## On the bench
#
# One experiment names two parts: what the router sees, and the router. Here it sees *raw embeddings*: one vector for each token plus one
# for its position. It may not pick the query itself (`candidates="others"`). All sizes come from `study`, which the parameters make.
#
# *Precision* is the share of sequences in which the first pick is the evidence. `chance_of` gives the same experiment with a router
# that draws its scores at random. Its precision is *chance*. Counting gives 1 in {glue:text}`tokens picked from`; the test sequences
# and the random scores are a sample, so that chance as measured is a little off.

# %%
from dataclasses import replace

from fcilib.ledger.catalogue import chance_of
from fcilib.representations import Attention, Embedding
from fcilib.study.notation import READINGS, texts
from fcilib.training.records import Records

one = study.experiment(
    representation=Embedding(), router=Metric(candidates="others")
)
own = replace(study, records=Records(study.records.folder / "own"))
precision = own.run({"metric": one}).summary("precision")
chance = study.run({"chance": chance_of(one)}).summary("precision")
print(texts(precision) | texts(chance))

# %% [markdown]
# Our results (*records*) go into a folder `own`, apart from those that decide the paper's claims.
#
# The table has four such experiments. The router sees raw embeddings, or what one layer of attention makes of them. And it may pick all
# tokens (*query included*) or all but the query (*query excluded*). *Among k* is the share of sequences in which the
# evidence is one of the {glue:text}`k` best.

# %% tags=["hide-input"]
import pandas as pd

from fcilib.present.tables import labelled

ours = {
    candidates: {
        f"metric, {name}": one.model_copy(
            update={
                "representation": representation,
                "router": Metric(candidates=candidates),
            }
        )
        for name, representation in {
            "embeddings": Embedding(),
            "attention": Attention(),
        }.items()
    }
    for candidates in ("all", "others")
}
measured = own.run_protocols(ours)


def chances(runs):
    """For each run, under a name of its own, its chance level."""
    return {f"chance of {name}": chance_of(run) for name, run in runs.items()}


rows = {}
for candidates, runs in ours.items():
    measured[candidates] |= study.run(chances(runs))
    first, among = (
        texts(measured[candidates].summary(metric))
        for metric in ("precision", "precision_at_k")
    )
    for name in runs:
        rows[f"{name}, {READINGS[candidates]}"] = {
            "precision": first[name],
            "chance": first[f"chance of {name}"],
            "among k": among[name],
            "chance among k": among[f"chance of {name}"],
        }
labelled(pd.DataFrame.from_dict(rows, orient="index"), "router")

# %% tags=["remove-cell"]
from myst_nb import glue

for name, row in rows.items():
    for column in ("precision", "among k"):
        glue(f"{column} {name}", row[column], display=False)
glue("k", Metric().k, display=False)

# %% [markdown]
# **Query excluded, our router finds the evidence.** It does so with embeddings and with attention.
#
# **Query included, it never does.** Nothing is nearer to the query than the query itself, at distance zero, whatever $W$ is. The evidence
# is close behind: on embeddings it is among the {glue:text}`k` nearest in {glue:text}`among k metric, embeddings, query included` of the sequences.
# The paper's product can avoid this trap: it maps query and token by two different matrices, and query and evidence stand at different
# positions.

# %% [markdown]
# ## In the landscape
#
# How does our router compare? The figure adds approaches of the paper, from [chapter 3](03_landscape.ipynb), which explains them. In the repository
# their records are only read. All have the query excluded. *Flow* and *Mamba* read a sequence token by token, Mamba here in both directions.
# *Sparse* attention looks through a window. In a *Perceiver* tokens meet in a few vectors, its *hubs*. The *global mean* replaces every
# vector by the average of all.

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

from fcilib.ledger.catalogue import by_protocol, conditions
from fcilib.ledger.comparison import compare
from fcilib.present import closing, figures
from fcilib.study.notation import NONE, percent
from fcilib.study.results import Results

chosen = conditions(
    study.sizes,
    "raw",
    "flow-2",
    "bidirectional-mamba",
    "attention-1",
    "sparse",
    "perceiver-16",
    "global-mean",
    "bidirectional-mamba-rank-one",
)
landscape = by_protocol(chosen)["others"]
OF_THE_PAPER = {label: c.claim for label, c in chosen.items()}
results = study.run(landscape | chances(landscape)) | measured["others"]

names = [*OF_THE_PAPER, *ours["others"]]
comparison = compare(
    {name: OF_THE_PAPER.get(name) for name in names},
    {"others": results},
    chance={name: f"chance of {name}" for name in names},
)

# %% mystnb={"figure": {"caption": "Our router, \u201cmetric\u201d, finds the evidence as most rows do. A filled mark is what we measured, with its spread over seeds; a hollow one is the paper's number (none for ours); a tick is chance. The line between two marks is blue where they agree, mostly within two points, orange where they differ, and grey where both are near chance.", "name": "fig-own"}, "image": {"alt": "A row for each router with the paper's precision, where it has one, the measured one and chance, sorted by the measured precision."}} tags=["remove-input", "nbval-ignore-output"]
figures.claims_figure(comparison)
plt.show()

# %% tags=["remove-cell"]
ranked = comparison.sort_values("mean", ascending=False, kind="stable")
glue("rows", len(ranked), display=False)
good = ranked["mean"][ranked["mean"] >= 0.8]
glue("good rows", len(good), display=False)
glue("good from", percent(good.min()) if len(good) else NONE, display=False)
glue("tokens picked from", study.sizes.evidence.length - 1, display=False)
rank_one = texts(results.summary("precision"))["bidirectional Mamba, rank-1"]
glue("rank one", rank_one, display=False)

nearest = texts(measured["others"].summary("precision"))
blind = texts(measured["all"].summary("precision"))
glue(
    "answer",
    f"Yes: a router that picks the token nearest to the query finds the evidence in {nearest['metric, embeddings']} of the "
    f"sequences, if it may not pick the query itself (else in {blind['metric, embeddings']}).",
    display=False,
)
glue(
    "sure",
    f"{closing.measured(study)} The example says nothing about other tasks. Picking at random gives "
    f"{nearest['chance of metric, embeddings']}.",
    display=False,
)

# %% [markdown]
# **Ours finds the evidence, as most rows do.** {glue:text}`good rows` of the {glue:text}`rows` rows have {glue:text}`good from` or more. Their order means little, since neighbours in the list often lie within each other's spread.
#
# The row farthest below the paper's number is the *rank-1* router, which keeps one number for each token:
# {glue:text}`rank one`. In the paper it has 99.7%. [Chapter 6](06_escape_routes.ipynb) shows what makes it learn.
#
# A router that is good here finds an equal token. It has shown no more than that.

# %% [markdown]
# ## A layer of your own
#
# A *layer* before the router gives each token's vector context from other tokens. You add it like a router: one class describes it, a
# PyTorch module computes it. The module gets vectors of shape (batch, tokens, width), which hold tokens and positions already, and
# returns the same shape. As an example we take about the simplest recurrence: each number of a vector is averaged over the tokens
# so far. The past fades by a factor $a$ between 0 and 1, which each number learns for itself:
#
# $$
# y_t = a\, y_{t-1} + (1 - a)\, v_t
# $$
#
# `bidirectional=True` adds the same average from the other end. The last line of the module keeps the token's own vector, `x`, and adds
# to it.

# %%
from fcilib.representations.base import StackSpec


class FadingAverage(StackSpec):
    kind: Literal["fading-average"] = "fading-average"
    bidirectional: bool = False

    def layer(self, size):
        return Fading(size.width, self.bidirectional)


class Fading(nn.Module):
    def __init__(self, width, bidirectional):
        super().__init__()
        self.bidirectional = bidirectional
        self.keep = nn.Parameter(torch.linspace(-3, 3, width))  # a, by sigmoid
        self.values = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def average(self, v):
        a, past, found = torch.sigmoid(self.keep), 0, []
        for now in v.unbind(dim=1):
            past = a * past + (1 - a) * now
            found.append(past)
        return torch.stack(found, dim=1)

    def forward(self, x):
        v = self.values(x)
        y = self.average(v)
        if self.bidirectional:
            y = y + self.average(v.flip(1)).flip(1)
        return x + self.out(y)


# %% [markdown]
# Three checks before any training: does an implementation that is not ours, NumPy's `convolve`, give the same average? Does a
# token's vector know nothing of what follows it? And is the gradient right?

# %% tags=["hide-input"]
import numpy as np

torch.manual_seed(0)
layer, v = Fading(4, False).double(), torch.randn(2, 9, 4).double()
a = torch.sigmoid(layer.keep).detach().numpy()
for channel in range(4):
    fading = (1 - a[channel]) * a[channel] ** np.arange(9)
    theirs = np.convolve(v[0, :, channel].numpy(), fading)[:9]
    np.testing.assert_allclose(
        layer.average(v)[0, :, channel].detach().numpy(), theirs
    )

changed = v.clone()
changed[:, 5:] += 1
assert torch.equal(layer(v)[:, :5], layer(changed)[:, :5])
assert torch.autograd.gradcheck(layer, v.requires_grad_())
print("it is NumPy's average, it looks back only, and the gradient is right")

# %% [markdown]
# Before we train it we write down what the paper predicts, as [chapter 12](12_todays_hybrids.ipynb) does for today's layers. From left
# to right the layer *fails*, since no vector knows what follows (§4.7). In both directions it *succeeds* (§4.6). We put the layer before the
# paper's router, which compares the query with every token, and test two tasks: the paper's own, and `right` of
# [chapter 9](09_context_ladder.ipynb), with that chapter's training. There three look-alikes equal the query, and only the token after the
# evidence tells it from them (chance is one in four). To succeed is to have {glue:text}`success line` or more, to fail
# {glue:text}`failure line` or less.

# %% tags=["hide-input"]
from fcilib.ledger import hybrids
from fcilib.ledger.claims import FAILURE, SUCCESS
from fcilib.routers import Investigator

pairwise = Investigator(candidates="others")
METHODS = [
    hybrids.Method(
        "fading average", FadingAverage(), pairwise, hybrids.FAILS, "4.7"
    ),
    hybrids.Method(
        "the same, bidirectional",
        FadingAverage(bidirectional=True),
        pairwise,
        hybrids.ROUTES,
        "4.6",
    ),
]
tasks = {
    "the paper's task": own.run(
        {m.label: hybrids.on_evidence(study.sizes, m) for m in METHODS}
    ),
    "right": own.run(
        {m.label: hybrids.on_ladder(study.sizes, m, "right") for m in METHODS}
    ),
}
METRIC = {"the paper's task": "precision", "right": "precision_lookalike"}
SAYS = {hybrids.FAILS: "fails", hybrids.ROUTES: "succeeds"}
outcomes = {
    task: result.summary(METRIC[task])["mean"].map(hybrids.outcome)
    for task, result in tasks.items()
}
labelled(
    pd.DataFrame(
        {
            m.label: {
                "predicted": SAYS[m.predicted],
                **{
                    task: texts(result.summary(METRIC[task]))[m.label]
                    for task, result in tasks.items()
                },
            }
            for m in METHODS
        }
    ).T,
    "layer",
)

# %% tags=["remove-cell"]
glue("success line", percent(SUCCESS), display=False)
glue("failure line", percent(FAILURE), display=False)
for task, column in outcomes.items():
    right = sum(column[m.label] == m.predicted for m in METHODS)
    glue(f"right on {task}", f"{right} of {len(METHODS)}", display=False)
both = texts(tasks["right"].summary(METRIC["right"]))[METHODS[1].label]
glue("both on right", both, display=False)
trained = [
    Results({run: r for run, r in measured[c].records.items() if run[0] in of})
    for c, of in ours.items()
]
spent = closing.trained(
    study,
    [*trained, *tasks.values()],
    "trains {models} models of its own, which take {minutes} core-minutes for one seed at profile {profile}. "
    "In a new folder it also trains the approaches of chapter 3 that its figure shows.",
)
glue("cost", spent, display=False)

# %% [markdown]
# On the paper's task {glue:text}`right on the paper's task` predictions are right, and on `right` {glue:text}`right on right`. As with the
# eight published layers of chapter 12, reading from left to right is no obstacle on the paper's task (where no layer is needed, either). On
# `right` it is. There both directions together have {glue:text}`both on right`: more than one direction
# has, and less than success.
#
# **To add the layer for good,** put both classes into `fcilib/representations/fading_average.py`, import `FadingAverage` in that folder's
# `__init__.py`, and turn the three checks into tests. Then add one line, `"fading average": FadingAverage()`, to the table `RECURRENT` of
# `fcilib/ledger/hybrids.py`. This needs the field `bidirectional`; other layers get a line in `representations()` of the same file, and
# routers one in `routers()`. The layer is then in chapter 12's tables, with its predictions, in `fci bench layers`, in `fci sweep` and in the
# audit.

# %% [markdown]
# ## Keep it, and share it
#
# * **Name every change.** A stored result is found by `kind` and the fields that differ from their defaults, not by the code of
#   `forward`. If you change this code, a default or the list of fields, choose another `kind`, or delete the
#   records in the folder `own`.
# * **Keep it in a file.** The folder of that file has to be on `PYTHONPATH`. A class in a cell needs nothing more.
# * **Share it.** Put both classes into `fcilib/routers/metric.py`, with the imports above them, import `Metric` in that folder's `__init__.py` and here, in
#   place of the twelve lines, and turn the two checks into tests. `CONTRIBUTING.md` has the recipe.
#
# ## Exercises
#
# **To run it again.** `.venv/bin/fci run 11 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# 1. Under a new `kind`, give `Metric` a field, `dimensions: int = 64`, and let the map go from `size.width` to `self.dimensions`
#    numbers. Try `Metric(dimensions=8, candidates="others")` and others. How few are enough on embeddings?
# 2. Give queries a map of their own, `self.asks`, besides that of the candidates, and leave out the first check. What becomes of
#    the precision with the query included?
# 3. Replace the square by `.abs()`. Name a new `kind`: why?
#
# ## In detail
#
# ### A harder task
#
# [Chapter 9](09_context_ladder.ipynb) has harder tasks. In the one called `left`, the token before the evidence decides. `climbing` is
# the training that chapter 9 uses for all its tasks.
#
# ```python
# harder = study.experiment(
#     task=study.sizes.ladder.model_copy(update={"rung": "left"}),
#     training=study.sizes.climbing,
#     representation=Embedding(),
#     router=Metric(candidates="others"),
# )
# texts(own.run({"harder": harder}).summary("precision_lookalike"))
# ```
#
# ### What it costs
#
# Seconds and megabytes for one query, beside the paper's router (the seconds are those of your machine):
#
# ```python
# from fcilib.cost import Bench, Route, report
# from fcilib.routers import Investigator
#
# routers = {"metric": Metric(), "pairwise": Investigator()}
# bench = Bench(
#     workloads={n: Route(router=r, width=64) for n, r in routers.items()},
#     lengths=(256, 1024, 4096),
# )
# report.frame(*own.measure(bench))
# ```
#
# ### Fields that every router has
#
# From `RouterSpec` a router has `candidates` (which positions may be picked), `k` (how many are picked) and `neighbours` (how many
# tokens after each pick are taken along). The [library](api.md) has the others.
#
# ### Query included: could a product do better?
#
# The paper's router can prefer the evidence to the query only if the vectors hold positions. Without positions, query and
# evidence have the same vector, and no score tells them apart.
#
# ### When two numbers agree
#
# They agree if they lie within [the margin](tables-margin): two points, less near chance, and more where one of the two has a larger
# error.
#
# ### Classes in a notebook
#
# The processes that train get a copy of a class in a cell, and import a class in a file. To read a record, its class must be defined or
# imported first. Two classes may not share a `kind`. A cell that is run again defines its class anew, so the cells after it, which
# made experiments of the old one, have to be run again too.
#
# ### A router of segments
#
# A router that picks segments, runs of tokens, is brought in the same way, from `SegmentSpec`.
