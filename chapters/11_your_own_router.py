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
# **The question.** You have a router of your own, a rule that scores tokens and picks the best. Does it find the token that
# the paper's task hides?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **What this is.** A tutorial. We write a router in twelve lines, train it as the paper's approaches were trained in
# [chapter 3](03_landscape.ipynb), and put it into that chapter's figure, with its chance level. Nothing in the
# library is changed for it. Reading takes ten minutes.
#
# To play, open this file in JupyterLab ([how](how-to-run.md)) and change the twelve lines. Give your router **a name of its
# own** in place of "metric", which stands there behind `kind`, and run all cells. Results are stored under this name: under
# the old one you would be shown ours.

# %% tags=["parameters"]
profile = "quick"  # smoke, quick or paper
seeds = 3
executor = "process"  # inline, process or ray
device = "cpu"  # cpu, cuda or auto
records = ""  # a folder; empty for the repository's own

# %%
from fcilib.study import Study

study = Study.from_parameters(globals())
print(study)

# %% [markdown]
# ## Twelve lines
#
# The paper's router scores a pair of tokens by a product, $x_q^\top W_q^\top W_k\, x_j$, where $x_q$ is the vector of the
# query. Ours asks how far apart the two vectors are, after one learned map $W$. The nearest token is the one to pick.
#
# $$
# s_{qj} = -\lVert W x_q - W x_j \rVert^2
# $$
#
# A router is two classes. The first describes it: a name of its own (`kind`), whatever can be varied as fields, and
# `build`. From `RouterSpec` it has three fields already: which positions may be picked (`candidates`), how many are picked
# (`k`), and how many tokens after each pick are taken along (`neighbours`). The second is a PyTorch module that turns vectors
# `x (B, L, d)` and the queries' positions `(B,)` into the queries' scores `(B, L)`. Losses, picking, metrics and
# records are not its business.

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
# ## Does it do what we mean?
#
# Two checks cost nothing before anything is trained. Is the nearest token the one that we hid? We make two of the random
# vectors nearly equal; our router has to find the second by the first, trained or not. Is the gradient that of the formula?
# PyTorch compares it with finite differences.

# %%
torch.manual_seed(0)
x = torch.randn(3, 12, 4, dtype=torch.float64)
query, hidden = torch.tensor([0, 5, 11]), torch.tensor([7, 2, 3])
x[torch.arange(3), hidden] = x[torch.arange(3), query] + 1e-3
scores = MetricScores(4).double()

candidates = Metric(candidates="others").mask(scores(x, query), query)
assert (candidates.argmax(dim=1) == hidden).all()
assert torch.autograd.gradcheck(lambda x: scores(x, query), x.requires_grad_())
print("the nearest is the one we hid, and the gradient is right")

# %% [markdown]
# ## On the bench
#
# An experiment names its parts, and sizes come from the profile. We try two representations: embeddings, in which no token
# knows of another, and one layer of attention. We try two sets of candidates: all tokens, the query included, as the paper's
# text has it ("all"), and all others ("others"). Chance is measured and not computed: `chance_of` gives the same experiment
# with a router that draws its scores at random.
#
# In the table *precision* is the share of sequences in which the token with the best score is the *evidence*, the token to be
# picked. *Among k* is the share in which the evidence is one of the k = {glue:text}`k` best.
#
# Our records go into a folder of their own, `own`. They do not mix with the records that decide the paper's claims.

# %%
from dataclasses import replace

from fcilib.ledger.catalogue import chance_of
from fcilib.representations import Attention, Embedding
from fcilib.training.records import Records

ours = {
    candidates: {
        f"metric, {name}": study.experiment(
            representation=representation, router=Metric(candidates=candidates)
        )
        for name, representation in {
            "embeddings": Embedding(),
            "attention": Attention(),
        }.items()
    }
    for candidates in ("all", "others")
}
own = replace(study, records=Records(study.records.folder / "own"))
measured = own.run_protocols(ours)


def chances(runs):
    """For each run, under a name of its own, its chance level."""
    return {f"chance of {name}": chance_of(run) for name, run in runs.items()}


for candidates, runs in ours.items():
    measured[candidates] |= study.run(chances(runs))

# %% tags=["hide-input"]
import pandas as pd

from fcilib.present.tables import labelled
from fcilib.study.notation import texts

rows = {}
for candidates, runs in ours.items():
    first, among = (
        texts(measured[candidates].summary(metric))
        for metric in ("precision", "precision_at_k")
    )
    for name in runs:
        rows[f"{name}, “{candidates}”"] = {
            "precision": first[name],
            "chance": first[f"chance of {name}"],
            "among k": among[name],
            "chance among k": among[f"chance of {name}"],
        }
table = pd.DataFrame.from_dict(rows, orient="index")
labelled(table, "router")

# %% tags=["remove-cell"]
from myst_nb import glue

for name, row in rows.items():
    for column in ("precision", "among k"):
        text = f"{column} {name}".translate({ord(c): None for c in "“”"})
        glue(text, row[column], display=False)
glue("k", Metric().k, display=False)

# %% [markdown]
# **Without the query among the candidates it routes.** The evidence is the nearest token in
# {glue:text}`precision metric, embeddings, others` of the sequences on embeddings, and in
# {glue:text}`precision metric, attention, others` on attention.
#
# **With the query among them it can't.** Nothing is nearer to the query than the query itself, at distance zero, whatever
# $W$ is. Precision drops to {glue:text}`precision metric, embeddings, all` on embeddings, although the evidence is still among
# the k nearest in {glue:text}`among k metric, embeddings, all`. A product can avoid this, since with two maps, $W_q$ and $W_k$,
# the query need not score highest with itself. For that the vectors must hold positions. Without positions the query and the
# evidence are the same vector, and no score tells them apart.

# %% [markdown]
# ## In the landscape
#
# The [ledger](claims.md) names the experiments that decide each claim of the paper. Here is a selection of those in
# chapter 3's figure. They were trained for that chapter, which [explains them](03_landscape.ipynb), and are only read. Four
# names do not say what they are. LinUCB picks one of a few given tokens, and learns from rewards alone. DOL
# scores each token by itself, and corrects the scores by feedback. MF-OFUL names a part of the positions, and only those are
# compared. A Bloom filter lists the tokens of a segment, and learns nothing. Two numbers agree if they lie within [the margin](tables-margin): two points, less near chance, and more where one
# of the two has a larger error.

# %%
import matplotlib.pyplot as plt

from fcilib.ledger.catalogue import by_protocol, conditions
from fcilib.ledger.comparison import compare
from fcilib.present import closing, figures
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
    "fourier",
    "bidirectional-mamba-rank-one",
    "budget-50",
    "budget-25",
    "segment-flow",
    "memory-bank",
    "linucb",
    "closed-loop-2",
    "bloom",
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

# %% mystnb={"figure": {"caption": "Our router, on two representations (rows that begin with \u201cmetric\u201d: black, since the paper has no number for them), among approaches of the paper (\u00a74.1, \u00a74.3 and \u00a74.6): paper (hollow), measured (filled, with its spread over seeds) and the chance level of its own kind of pick (tick): a token, a segment, or a token of a given segment. The line between paper and measured is blue where the two agree within the margin, orange where they differ, and grey where both are near chance. The query is no candidate. Rows are sorted by what was measured.", "name": "fig-own"}, "image": {"alt": "Eighteen rows with the paper's precision, where it has one, the measured one and chance, sorted by the measured precision."}} tags=["remove-input", "nbval-ignore-output"]
figures.claims_figure(comparison)
plt.show()

# %% tags=["remove-cell"]
ranked = comparison.sort_values("mean", ascending=False, kind="stable")
places = {n: i for i, n in enumerate(ranked.condition, start=1)}
for name in ours["others"]:
    glue(f"place {name}", places[name], display=False)
glue("rows", len(ranked), display=False)
rank_one = texts(results.summary("precision"))["bidirectional Mamba, rank-1"]
glue("rank one", rank_one, display=False)

own = [
    Results({run: r for run, r in measured[c].records.items() if run[0] in of})
    for c, of in ours.items()
]
spent = closing.trained(
    study,
    own,
    "trains {models} models of its own, which take {minutes} core-minutes for one seed at profile {profile}, "
    "and in a new folder those of chapter 3 that its figure shows.",
)
glue("cost", spent, display=False)
nearest = texts(measured["others"].summary("precision"))
blind = texts(measured["all"].summary("precision"))
glue(
    "answer",
    f"One run tells: our example, which picks the nearest vector, finds it on embeddings alone in "
    f"{nearest['metric, embeddings']} of the sequences, and in {blind['metric, embeddings']} if the query, the position "
    f"that asks, may be picked itself (chance {nearest['chance of metric, embeddings']}).",
    display=False,
)
glue("sure", closing.measured(study), display=False)

# %% [markdown]
# **Ours is among the best here.** Of {glue:text}`rows` rows it is number {glue:text}`place metric, attention` on attention, and
# number {glue:text}`place metric, embeddings` on embeddings. The exact place means little, since neighbouring rows often lie
# within each other's spread.
#
# The row farthest below the paper's number is a rank-1 router, which gives each token one number: {glue:text}`rank one` here. In
# the paper it shares the highest precision on this task, 99.7%, with sparse attention. [Chapter 6](06_escape_routes.ipynb) shows
# what makes it learn.
#
# A router that is good here has shown that it finds an equal token, and no more. [Chapter 9](09_context_ladder.ipynb) has
# harder tasks. For its task `left` give `study.experiment` also
# `task=study.sizes.ladder.model_copy(update={"rung": "left"})` and `training=study.sizes.climbing`.

# %% [markdown]
# ## Keep it, and share it
#
# * **A class in a cell** needs nothing more: the processes that train get a copy of it.
# * **A class in a file of yours** is imported by these processes. The file's folder has to be on `PYTHONPATH`.
# * **Records.** A record's name is a hash of the experiment's description: `kind` and fields, not code. If you change
#   what `forward` computes, make the change a field, choose another `kind`, or delete the records. Otherwise the
#   results of the old code are shown for the new. To read a record, its class must be defined or imported first.
# * **Names.** A `kind` belongs to one class. A cell that is run again defines its class anew, and the cells after it,
#   which made experiments of the old one, have to be run again too.
# * **Sharing.** Put both classes into `fcilib/routers/metric.py`, import the first in that folder's
#   `__init__.py`, and turn the two assertions above into tests. `CONTRIBUTING.md` has the recipe.
#
# A representation is brought in the same way, from `RepresentationSpec`; a router of segments, from `SegmentSpec`.

# %% [markdown]
# ## Exercises
#
# **To run it again.** `.venv/bin/fci run 11 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# 1. Give `Metric` a field, `rank: int = 64`, and let the map go from `size.width` to `self.rank` numbers. How few
#    dimensions are enough on embeddings?
# 2. Give queries a map of their own, `self.asks`, besides that of the candidates. What becomes of the precision under
#    `"all"`?
# 3. Replace the square by `.abs()`. Name a new `kind`: why?
