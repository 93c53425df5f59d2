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
# # 2. The latent subspace
#
# **The question.** A *router* is given one position of a sequence, the *query*, and has to pick the *evidence*, which holds
# the same token. It compares one vector per position. What in these vectors tells it that two positions match?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **The claim.** Attention does not make matching vectors alike: behind one layer, query and evidence are less alike than
# random pairs. The router reads the match from a small part of the vectors, a *subspace*. Its comparison of two vectors is a
# sum over 128 *directions*. Each direction multiplies a number read from one vector by one read from the other, and has a *strength*.
# The 34 strongest hold 90% of the *energy*, the sum of the squared strengths. Only learned matrices find this part. *Precision* is the share of
# sequences in which the evidence is picked. If random matrices replace the learned ones, it drops from 98.4% to 2.6%
# {cite:p}`basu2026routing` (§4.2, Fig. 3).

# %% tags=["parameters"]
profile = "quick"  # smoke, quick or paper
seeds = 3
executor = "process"  # inline, process or ray
device = "cpu"  # cpu, cuda or auto
records = ""  # a folder; empty for the repository's own

# %% tags=["hide-cell"]
from fcilib.present.banner import banner
from fcilib.study import Study

study = Study.from_parameters(globals())
banner(study)

# %% tags=["hide-input"]
import inspect
import math

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import Code
from myst_nb import glue

from fcilib.ledger.catalogue import (
    CHANCE,
    by_protocol,
    conditions,
)
from fcilib.ledger.chance import level
from fcilib.ledger.claims import claims
from fcilib.model import probes
from fcilib.present import closing, figures
from fcilib.present.paper_size import paper_records
from fcilib.present.tables import labelled, linked
from fcilib.routers.investigator import PairwiseScores
from fcilib.study.notation import NONE, percent, spread, texts
from fcilib.study.results import numbers

# %% [markdown]
# Tables show means over the seeds, with standard deviations. The query itself may not be picked, except where a column says
# so. Chance, the precision of a random router, is {glue:text}`chance` throughout.
#
# ## Are matching vectors alike?
#
# The *cosine* of two vectors is 1 if they point the same way, and 0 if they have nothing in common. The *cosine gap* is the
# cosine of query and evidence, minus the cosine of the query and a random position. The gap is 0 if matching vectors are no
# more alike than others. It is 1 if matching vectors are equal and others have nothing in common. The paper reports
# {glue:text}`paper gap` behind one layer of attention.


# %%
CONDITIONS = conditions(
    study.sizes,
    "raw",
    "content-only",
    "flow-2",
    "bidirectional-mamba",
    "bidirectional-mamba-rank-one",
    "attention-1",
    "causal-1",
    "perceiver-1",
    "random",
)
experiments = by_protocol(CONDITIONS)
results = study.run_protocols(experiments)

sizes = study.sizes
trainings = {
    "trained": sizes.training,
    "untrained": sizes.training.model_copy(update={"epochs": 0}),
    "shuffled targets": sizes.training.model_copy(
        update={"targets": "shuffled"}
    ),
}
representations = ("attention, 1 layer", "raw embeddings")


def thorough(name, how="trained"):
    """A condition, the query excluded, with every probe of the matrix."""
    changes = {"training": trainings[how], "probing": "thorough"}
    return experiments["others"][name].model_copy(update=changes)


inside = study.run(
    {"content-only, trained": thorough("content-only")}
    | {
        f"{name}, {how}": thorough(name, how)
        for name in representations
        for how in trainings
    }
)

# %% tags=["remove-input"]
SEES = {
    "content-only": "a vector for the token",
    "raw embeddings": "a vector for the token plus one for the position",
    "attention, 1 layer": "raw embeddings after one layer of attention",
    "causal attention, 1 layer": "raw embeddings after a layer of attention to the left only",
    "Perceiver, 1 hub": "raw embeddings after an exchange through one shared vector",
    "Flow, 2 layers": "raw embeddings after two left-to-right recurrences",
    "bidirectional Mamba": "raw embeddings after a recurrence in each direction",
    "bidirectional Mamba, rank-1": "a recurrence in each direction, but the router compares one number per position",
    "attention, 1 layer, untrained": "raw embeddings after an untrained layer of attention",
}
both = pd.concat([results["others"].frame, inside.frame])
alike = both.groupby("condition")[["precision", "cosine_gap"]].agg(
    ["mean", "std"]
)


def two_digits(mean, sd):
    return f"{mean:.2f}" if math.isnan(sd) else f"{mean:.2f} ± {sd:.2f}"


labelled(
    pd.DataFrame(
        {
            "precision": {
                name: spread(*alike.loc[name, "precision"]) for name in SEES
            },
            "cosine gap": {
                name: two_digits(*alike.loc[name, "cosine_gap"])
                for name in SEES
            },
            "what the router sees": SEES,
        }
    ),
    "model",
)

# %% tags=["remove-cell"]
chance = results["others"].summary("precision").loc[CHANCE, "mean"]
glue("chance", percent(chance), display=False)
glue("paper gap", str(claims()["cosine-gap"]), display=False)
gap = {c: r.summary("cosine_gap") for c, r in results.items()}
for c, summary in gap.items():
    for name, mean in summary["mean"].items():
        glue(f"gap {name}, {c}", f"{mean:.2f}", display=False)
means = inside.frame.groupby("condition").mean(numeric_only=True)
untouched = means.cosine_gap["attention, 1 layer, untrained"]
glue("gap untrained", f"{untouched:.2f}", display=False)

# %% [markdown]
# **Matching vectors are alike in every model that routes.** Behind one layer of attention the gap is
# {glue:text}`gap attention, 1 layer, others`, where the paper's is negative.
#
# **Being alike is not enough.** Before training the gap behind attention is {glue:text}`gap untrained` already, because equal
# tokens start from the same vector. Yet precision is at chance: the router has to learn to compare these vectors.

# %% [markdown]
# ## Are the learned matrices needed?
#
# The router has two learned matrices, $W_q$ and $W_k$. It gives position $j$ the score $x_q^\top W_q^\top W_k\, x_j$, where
# $x_q$ is the query's vector and $x_j$ that of the position. As in the paper, we put random matrices of the same size in
# their place, after training.

# %% tags=["remove-input"]
says = claims()
replaced = inside.summary("random_form_precision")
learned = inside.summary("precision")
rows = {}
for name in representations:
    ours = f"{name}, trained"
    attention = name == "attention, 1 layer"
    rows[name] = {
        "paper, learned": str(says["one-layer"]) if attention else NONE,
        "paper, random": str(says["random-projections"])
        if attention
        else NONE,
        "ours, learned": spread(*learned.loc[ours, ["mean", "sd"]]),
        "ours, random": spread(*replaced.loc[ours, ["mean", "sd"]]),
    }
labelled(pd.DataFrame.from_dict(rows, orient="index"), "precision")

# %% [markdown]
# **Yes, with attention and without.** Random matrices bring both models to chance. The drop that the paper reports is real,
# but attention is not its cause. On vectors of tokens alone, two identity matrices find the evidence without any
# training ([chapter 1](01_phase_transition.ipynb)). Two random matrices do not, since they no longer compare a vector with itself.

# %% [markdown]
# ## Do a few directions hold the match?
#
# The product $W_q^\top W_k$ is one matrix of {glue:text}`d` by {glue:text}`d` numbers. It can be taken apart into
# {glue:text}`d` *directions*. Each direction reads one number from the query's vector and one from the candidate's, and
# adds their product to the score, times a *strength* of its own. Directions and strengths are the singular vectors and
# values.
#
# To see how many directions hold the match, we cut the trained matrix: we keep only its strongest directions, or only the
# others.


# %% mystnb={"figure": {"caption": "Precision of trained routers whose matrix is cut. The vertical line is a quarter of the directions. Above, only the r strongest are kept, and all three curves are at the top before the line. Below, the r strongest are removed. At the line little precision is left behind attention, more on raw embeddings, and nearly all on content-only ones. Bands: one standard deviation over seeds.", "name": "fig-projections"}, "image": {"alt": "Two panels of precision against the number of directions r, for raw embeddings, content-only and one layer of attention. Kept alone, a quarter of the directions gives full precision; with that quarter removed, attention falls lowest and content-only hardly falls."}} tags=["remove-input", "nbval-ignore-output"]
def by_rank(name, probe):
    part = inside.probe(probe).query("condition == @name")
    return part.groupby("index")[probe].agg(["mean", "std"])


SHOWN = ("attention, 1 layer", "raw embeddings", "content-only")
CUTS = {
    "precision_top": "only the r strongest directions",
    "precision_rest": "without the r strongest directions",
}
width = sizes.width
quarter = max(width // 4, 1)
with figures.look():
    fig, axes = figures.panels(list(CUTS), stacked=True)
    for ax, (probe, title) in zip(axes[0], CUTS.items(), strict=True):
        for name in SHOWN:
            curve = by_rank(f"{name}, trained", probe)
            if probe == "precision_rest":
                curve = curve.iloc[:-1]  # with none left all positions tie
            figures.band(
                ax, curve.index, curve["mean"], curve["std"], name, marker=""
            )
        figures.chance_line(ax, chance)
        ax.axvline(quarter, color="#777777", lw=1)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel(f"r, of {width}")
        ax.set_ylabel("precision (%)")
        ax.set_ylim(-4, 104)
        ax.tick_params(labelbottom=True)
    fig.legend(
        *ax.get_legend_handles_labels(), loc="outside upper center", ncols=2
    )
plt.show()

# %% tags=["remove-cell"]
cut = {
    name: {
        probe: by_rank(f"{name}, trained", probe)["mean"]
        for probe in (*CUTS, "precision_projected")
    }
    for name in SHOWN
}
for name in SHOWN:
    one = cut[name]["precision_top"].iloc[0]
    glue(f"one {name}", percent(one), display=False)
    for probe, curve in cut[name].items():
        glue(f"{probe} {name}", percent(curve[quarter]), display=False)
glue("d", width, display=False)
glue("quarter", quarter, display=False)

# %% [markdown]
# **A quarter of the directions is enough, with attention and without.** The strongest {glue:text}`quarter` alone find
# {glue:text}`precision_top attention, 1 layer` behind attention and {glue:text}`precision_top raw embeddings` on raw
# embeddings. If both vectors are projected onto {glue:text}`quarter` random dimensions instead, the same router finds
# {glue:text}`precision_projected attention, 1 layer` behind attention and {glue:text}`precision_projected raw embeddings` on raw
# embeddings.
#
# **One direction is not enough.** The strongest alone finds {glue:text}`one attention, 1 layer` behind attention.
#
# **Without attention the other directions hold the match, too.** Without the strongest {glue:text}`quarter` the router still finds
# {glue:text}`precision_rest raw embeddings` on raw embeddings and {glue:text}`precision_rest content-only` on content-only ones.
# Behind attention {glue:text}`precision_rest attention, 1 layer` is left. Most of this needs no match: routers that know only
# where evidence tends to stand find {glue:text}`precision attention, 1 layer, shuffled targets` to
# {glue:text}`precision raw embeddings, shuffled targets` (the rows *shuffled targets* of the next table).

# %% [markdown]
# ## Is "34 of 128" few?
#
# The paper squares the strengths, calls the squares *energy*, and counts the strongest directions that together hold 90% of
# it. If one direction had all the strength, the count would be 1. If all {glue:text}`d` were equally strong, it would be
# {glue:text}`even`. We compare with two kinds of routers that have learned no match. *Untrained* routers have the matrices
# with which training begins. Routers with *shuffled targets* were trained to pick the position where the evidence of another
# sequence stands. They can learn where evidence tends to be, but no match.

# %% tags=["remove-cell"]
glue("even", math.ceil(0.9 * width), display=False)
frame = inside.frame
alone = inside.probe("precision_top").set_index(["condition", "seed", "index"])
frame = frame.assign(
    kept=[
        alone.precision_top[(row.condition, row.seed, row.rank_90)]
        for row in frame.itertuples()
    ]
)


def over_seeds(column, write=spread):
    by_condition = frame.groupby("condition", sort=False)[column]
    return texts(by_condition.agg(mean="mean", sd="std"), write)


def whole(mean, sd):
    return f"{mean:.0f}" if pd.isna(sd) else f"{mean:.1f} ± {sd:.1f}"


# %% tags=["remove-input"]
torch.manual_seed(0)
matrix = PairwiseScores(width=128, heads=4).form()
energy = torch.linalg.svdvals(matrix) ** 2
held = energy.cumsum(0) / energy.sum()
untrained = int((held < 0.9).sum()) + 1
columns = {
    "directions with 90%": over_seeds("rank_90", whole),
    "share of all": over_seeds("rank_share"),
    "precision": over_seeds("precision"),
    "precision with only these": over_seeds("kept"),
}
order = [
    *(f"{name}, trained" for name in SHOWN),
    *(f"{name}, shuffled targets" for name in representations),
    *(f"{name}, untrained" for name in representations),
]
spectrum = pd.DataFrame(columns).loc[order]
share = says["rank-90"].value
paper = {
    "paper: attention, 1 layer, trained": (
        f"{128 * share:.0f}",
        percent(share),
        str(says["one-layer"]),
        NONE,
    ),
    "untrained, of the paper’s width": (
        f"{untrained}",
        percent(untrained / 128),
        NONE,
        NONE,
    ),
}
paper = pd.DataFrame.from_dict(paper, orient="index", columns=spectrum.columns)
labelled(pd.concat([paper, spectrum]), "model")

# %% tags=["remove-cell"]
for name, row in means.iterrows():
    for column in ("precision", "rank_share"):
        glue(f"{column} {name}", percent(row[column]), display=False)
    glue(f"rank_90 {name}", f"{row.rank_90:.1f}", display=False)
glue("paper share", percent(share), display=False)

# %% [markdown]
# **The count does not tell whether a router matches.** Behind attention, 90% of the energy is spread over more directions if
# the targets were shuffled than if they were right: {glue:text}`rank_share attention, 1 layer, shuffled targets` against
# {glue:text}`rank_share attention, 1 layer, trained`. On raw embeddings it is spread over fewer:
# {glue:text}`rank_share raw embeddings, shuffled targets` against {glue:text}`rank_share raw embeddings, trained`. What shows a
# match is that the few directions find the evidence alone, and ours do.
#
# **The paper's 34 is few beside an untrained matrix of its width,** in the row below it. But in our models every
# training lowers the share, even one on shuffled targets.

# %% [markdown]
# ## What the paper says, what we measured, chance
#
# {glue:text}`verdict`
#
# All rows are about one layer of attention. In the column "all" the query itself may be picked, in "others" it may not. The
# *control* of the second row is a random router; that of the others is the model before training.
#
# A number is *reproduced* if it is close to the paper's: a cosine gap within 0.05, the others within
# [the margin](tables-margin), two points or a little more. *Both near chance* means that the paper's number is less than four
# points from chance at its size, and ours within two points at this one.

# %%
STATEMENTS = {
    "cosine-gap": "cosine gap",
    "random-projections": "precision, random matrices",
    "rank-90": "directions with 90%, share of all",
}
CONDITION = "attention, 1 layer"

# %% tags=["remove-input"]
rows, labels = {}, {}
for name, label in STATEMENTS.items():
    claim = says[name]
    found = {
        c: r.summary(claim.metric).loc[CONDITION] for c, r in results.items()
    }
    if claim.metric == "random_form_precision":
        control = results["others"].summary("precision").loc[CHANCE]
    else:
        control = inside.summary(claim.metric).loc[f"{CONDITION}, untrained"]
    labels[label] = name
    rows[label] = {
        "paper": str(claim),
        **{
            f"“{c}”": claim.write(f["mean"], f["sd"]) for c, f in found.items()
        },
        "control": claim.write(control["mean"], control["sd"]),
        "verdict": claim.verdict(
            {
                c: (
                    f["mean"],
                    f["sd"],
                    level(claim, experiments[c][CONDITION]),
                )
                for c, f in found.items()
            }
        ),
    }
linked(pd.DataFrame.from_dict(rows, orient="index"), labels, "statement")

# %% tags=["remove-cell"]
behind, bare = f"{CONDITION}, trained", "raw embeddings, trained"
top = cut["attention, 1 layer"]["precision_top"][quarter]
top_bare = cut["raw embeddings"]["precision_top"][quarter]
answer = (
    f"Equal tokens have similar vectors even before training, and a trained router needs only {quarter} of its {width} "
    f"directions of comparison: with these it finds the evidence in {percent(top)} of the sequences behind one layer of attention, and "
    f"in {percent(top_bare)} without attention (chance: {percent(chance)})."
)
large = paper_records(study, "attention-1", "others")
of_large = pd.DataFrame([numbers(record) for record in large])
at_large = (
    f"At the paper's sizes the cosine gap behind attention is {of_large.cosine_gap.mean():.2f}, with {len(large)} seeds. "
    if large
    else ""
)
sure = (
    f"{closing.measured(study)} {at_large}We would change our mind if a model found the evidence while its matching vectors were less "
    f"alike than random pairs. We would also do so if a router that is cut to a quarter of its directions no longer found the evidence."
)
share_of = {
    (name, how): percent(means.rank_share[f"{name}, {how}"])
    for name in representations
    for how in ("trained", "shuffled targets")
}
verdict = (
    f"Matching vectors are more alike than random pairs, where the paper has them less alike. Random matrices do bring the "
    f"router to chance, and a small part of the vectors does hold the match, but both hold without attention too. There "
    f"the other directions hold a part of it as well. How few directions hold 90% of the energy says little about a match, as routers "
    f"show that learned none because their targets were wrong. Behind attention their 90% is spread over "
    f"{share_of['attention, 1 layer', 'shuffled targets']} of the directions, against {share_of['attention, 1 layer', 'trained']} "
    f"with right targets. On raw embeddings it is spread over {share_of['raw embeddings', 'shuffled targets']}, against "
    f"{share_of['raw embeddings', 'trained']}."
)
own = len(inside.frame) // study.seeds
closing.close(
    "02_latent_subspace",
    "The latent subspace",
    answer=answer,
    sure=sure,
    verdict=verdict,
    cost=closing.trained(
        study,
        [inside, *results.values()],
        "trains {models} models; a seed takes {minutes} core-minutes at profile {profile}. "
        f"All but {own} of the models are also trained by chapters 1 and 6.",
    ),
)
ranks = results["others"].summary("effective_rank")["mean"]
for name in representations:
    glue(f"scores {name}", f"{ranks[name]:.1f}", display=False)
glue(
    "scores untrained",
    f"{means.effective_rank[f'{CONDITION}, untrained']:.1f}",
    display=False,
)
glue("draws", probes.RANDOM_DRAWS, display=False)
glue("large seeds", len(large), display=False)
glue(
    "large share",
    percent(of_large.rank_share.mean()) if large else NONE,
    display=False,
)
glue(
    "large gap",
    f"{of_large.cosine_gap.mean():.2f}" if large else NONE,
    display=False,
)

# %% [markdown]
# ## What differs, and why
#
# * **The cosine gap.** The paper's is negative, and ours is positive in every model that routes. Equal tokens start from the
#   same vector, so a negative gap needs training that undoes this. We do not know what did so in the paper.
# * **The drop and the subspace.** We find the drop, and that a part of the directions is enough. We find both on raw embeddings
#   too, so they belong to a trained router and not to attention. With random matrices the paper's 2.6% is above its chance of
#   one in 512, and our number is at chance. We do not know why.
# * **The share of the directions.** Ours is about half of the paper's. <a href="claims.html#rank-90">The ledger</a> counts the
#   statement as held, since fewer than half of the directions are needed, and says that the number differs. Size does not seem to explain it: at the paper's sizes
#   ({glue:text}`large seeds` seeds) our share is {glue:text}`large share`, and our cosine gap is {glue:text}`large gap`. The
#   share of an untrained matrix is about the same at both widths.
#
# ## In detail
#
# * **The query as a candidate.** If the query itself may be picked, the router also has to tell the two copies of the token
#   apart. The gap behind attention is then {glue:text}`gap attention, 1 layer, all` instead of
#   {glue:text}`gap attention, 1 layer, others`.
# * **The paper's "answer".** The paper compares the query with the "answer", which may mean the token after the evidence. Its
#   text speaks of matching tokens, and so do we.
# * **What is random.** Random matrices have Gaussian entries and the same sum of squares as the learned ones. Random dimensions
#   are one random subspace for both vectors; the learned matrix is kept. Precision is the mean of {glue:text}`draws` draws.
# * **Notation.** The paper writes $W_q W_k^\top$ for the matrix. With vectors as columns, as in its Eq. 1, it is
#   $W_q^\top W_k$.
# * **The column "rank" of the paper's Table 2** is not defined. For raw embeddings it says 240. The rank of the matrix of all
#   scores is at most the width, 128, so the column means something else. [Chapter 7](07_scale.ipynb) has another reading.
# * **The effective rank** of that matrix {cite:p}`roy2007effective` is no candidate either. It is 1 if one direction makes up all
#   scores, and {glue:text}`d` if all directions contribute alike. We find {glue:text}`scores attention, 1 layer` behind attention
#   ({glue:text}`scores untrained` before training) and {glue:text}`scores raw embeddings` on raw embeddings.
#
# The code that cuts the matrix and projects the vectors:

# %% tags=["remove-input", "hide-output"]
Code(inspect.getsource(probes._subspace), language="python")

# %% [markdown]
# ## Exercises
#
# **To run it again.** `.venv/bin/fci run 02 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# 1. Put `"Perceiver, 1 hub"` into `representations`. How many of its directions does the router need?
# 2. Train twice as long: `sizes.training.model_copy(update={"epochs": 10})` under a name of its own in
#    `trainings`. Does the count of directions fall further?
# 3. Take weight decay away, `{"weight_decay": 0.0}`. Is it what makes most directions weak?
