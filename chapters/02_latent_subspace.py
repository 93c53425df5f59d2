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
# **The question.** A *router* is given one token of a sequence, the *query*, and has to pick the *evidence*, the other place where
# the same token stands. It scores each position by comparing its vector with the query's along many *directions*.
# (For each direction it takes one number from each of the two vectors and multiplies the two; the score is the sum.) What in the vectors
# tells the router that two positions match?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **The claim.** The paper says that attention does not make matching vectors alike: after one layer, query and evidence are less
# alike than random pairs. The router is said to read the match from a small *subspace*, that is, from few directions. A direction's
# *strength* says how much it counts in the score. The 34 strongest of 128 directions hold 90% of the *energy*, the sum of all
# squared strengths. The directions come from two learned matrices. With random matrices instead, *precision*, the share of sequences
# in which the evidence is picked, drops from 98.4% to 2.6% {cite:p}`basu2026routing` (§4.2, the paper's Fig. 3).

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

# %% tags=["remove-input"]
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
from fcilib.study.notation import NONE, READINGS, percent, spread, texts
from fcilib.study.results import numbers

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

# %% [markdown]
# ## Are matching vectors alike?
#
# In `[Q] 42 7 31 … 42 17` the first 42 is the query and the second the evidence. Both have the same token vector; only the part
# for the position differs. So they should be alike before any training. Does this last?
#
# We measure it by the *cosine* of two vectors: 1 if they point the same way, 0 if they have nothing in common. The *cosine gap* is
# the cosine of query and evidence, minus the cosine of the query and a random position. A gap above 0 means that matching vectors
# are more alike than others. *Raw embeddings* are a vector for the token plus one for the position; *attention* is a layer on top
# in which each position reads all others.

# %%
experiments = by_protocol(CONDITIONS)
# "others": query excluded; "all": query included
results = study.run_protocols(experiments)

representations = ("attention, 1 layer", "raw embeddings")
sizes = study.sizes
trainings = {
    "trained": sizes.training,
    "untrained": sizes.training.model_copy(update={"epochs": 0}),
    "shuffled targets": sizes.training.model_copy(
        update={"targets": "shuffled"}
    ),
}


def thorough(name, how="trained"):
    """A condition, the query excluded, with every probe of the matrix."""
    changes = {"training": trainings[how], "probing": "thorough"}
    return experiments["others"][name].model_copy(update=changes)


# %% tags=["remove-cell"]
inside = study.run(
    {"content-only, trained": thorough("content-only")}
    | {
        f"{name}, {how}": thorough(name, how)
        for name in representations
        for how in trainings
    }
)
says = claims()
both = pd.concat([results["others"].frame, inside.frame])
alike = both.groupby("condition")[["precision", "cosine_gap"]].agg(
    ["mean", "std"]
)
chance = results["others"].summary("precision").loc[CHANCE, "mean"]
glue("chance", percent(chance), display=False)
gap = {c: r.summary("cosine_gap") for c, r in results.items()}
for c, summary in gap.items():
    for name, mean in summary["mean"].items():
        glue(f"gap {name}, {c}", f"{mean:.2f}", display=False)
means = inside.frame.groupby("condition").mean(numeric_only=True)
asked = {
    c: study.run(
        {
            "attention, 1 layer": runs["attention, 1 layer"].model_copy(
                update={"probing": "answer"}
            )
        }
    )
    for c, runs in experiments.items()
}
after = {c: r.summary("cosine_gap_answer") for c, r in asked.items()}
# "Matching vectors are alike": in every model of the tables
assert (
    not study.as_published or alike.cosine_gap["mean"].drop(CHANCE).min() > 0
)


def two_digits(mean, sd):
    return f"{mean:.2f}" if math.isnan(sd) else f"{mean:.2f} ± {sd:.2f}"


for c, summary in after.items():
    text = two_digits(*summary.loc["attention, 1 layer", ["mean", "sd"]])
    glue(f"answer gap {c}", text, display=False)


def gaps(names):
    return {
        label: {
            "cosine gap": two_digits(*alike.loc[name, "cosine_gap"]),
            "precision": spread(*alike.loc[name, "precision"]),
        }
        for label, name in names.items()
    }


# %% tags=["remove-input"]
first = {
    "paper: one layer of attention, trained": {
        "cosine gap": str(says["cosine-gap"]),
        "precision": str(says["one-layer"]),
    },
    **gaps(
        {
            "one layer of attention, trained": "attention, 1 layer",
            "one layer of attention, untrained": "attention, 1 layer, untrained",
            "raw embeddings, trained": "raw embeddings",
            "raw embeddings, untrained": "raw embeddings, untrained",
        }
    ),
}
labelled(pd.DataFrame.from_dict(first, orient="index"), "model")

# %% [markdown]
# ± is the standard deviation over three seeds. The query itself may not be picked (*query excluded*). *Chance*, picking at random,
# is {glue:text}`chance`, measured on the same test sequences.
#
# **Matching vectors are alike, before and after training.** The gap is above 0 in every model that we measured
# ([six more](subspace-models)). In the paper it is below 0. But the paper calls it the gap of query and *answer*. If the answer is
# the token after the evidence, ours is below 0, too: {glue:text}`answer gap others` behind attention.
#
# **Being alike is not enough.** Before training the router finds no more evidence than by chance. It has to learn to compare these
# vectors.

# %% [markdown]
# ## Are the learned matrices needed?
#
# The router multiplies the query's vector by one learned matrix and the vector of each position by another, and scores how well the
# results agree. As the paper did, we replaced both matrices by random ones after training.

# %% tags=["remove-input"]
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
# **Yes, with attention and without.** The paper's drop is real, but attention is not its cause. Two different random matrices turn
# equal vectors into different ones, so that the match is lost.

# %% [markdown]
# ## Do a few directions hold the match?
#
# The two matrices together give {glue:text}`d` directions in our models, 128 in the paper. (Directions and strengths are the singular
# vectors and singular values of the matrices' product.) We kept only the strongest directions of a trained router. *Content-only*
# embeddings are vectors for tokens without positions.


# %% mystnb={"figure": {"caption": "A quarter of the directions is enough, with attention and without. Only the r strongest directions of a trained router are kept. The vertical line is a quarter of all directions. Lines are means over seeds, bands one standard deviation.", "name": "fig-projections"}, "image": {"alt": "Precision against the number of directions r that are kept, for raw embeddings, content-only and one layer of attention. All three curves reach the top before the line at a quarter of the directions."}} tags=["remove-input", "nbval-ignore-output"]
def by_rank(name, probe):
    part = inside.probe(probe).query("condition == @name")
    return part.groupby("index")[probe].agg(["mean", "std"])


SHOWN = ("attention, 1 layer", "raw embeddings", "content-only")
CUTS = {
    "precision_top": "directions kept, the strongest first: r",
    "precision_rest": "directions removed, the strongest first: r",
}
width = sizes.width
quarter = max(width // 4, 1)


def draw(probe):
    with figures.look():
        fig, (ax,) = figures.panels(1)
        for name in SHOWN:
            curve = by_rank(f"{name}, trained", probe)
            if probe == "precision_rest":
                curve = curve.iloc[:-1]  # with none left all positions tie
            figures.band(
                ax, curve.index, curve["mean"], curve["std"], name, marker=""
            )
        figures.chance_line(ax, chance)
        ax.axvline(quarter, color="#777777", lw=1)
        ax.set_xlabel(f"{CUTS[probe]}, of {width}")
        ax.set_ylabel("precision (%)")
        ax.set_ylim(-4, 104)
        fig.legend(
            *ax.get_legend_handles_labels(),
            loc="outside upper center",
            ncols=2,
        )


draw("precision_top")
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
for name, row in means.iterrows():
    for column in ("precision", "rank_share"):
        glue(f"{column} {name}", percent(row[column]), display=False)
    glue(f"rank_90 {name}", f"{row.rank_90:.1f}", display=False)

# %% [markdown]
# **A quarter of the directions is enough.** The strongest {glue:text}`quarter` find {glue:text}`precision_top attention, 1 layer`
# behind attention and {glue:text}`precision_top raw embeddings` on raw embeddings. All {glue:text}`d` find about as much.
#
# **Not just any quarter will do.** In {glue:text}`quarter` random directions the router behind attention finds only
# {glue:text}`precision_projected attention, 1 layer`.
#
# **On raw embeddings weaker directions hold part of the match, too.** Without the strongest {glue:text}`quarter`, the router still
# finds {glue:text}`precision_rest raw embeddings` there, and {glue:text}`precision_rest attention, 1 layer` behind attention, where
# routers that learned no match find about half of that ([figure](subspace-rest)).
#
# ## Does "34 of 128" show a match?
#
# The paper counts the strongest directions that together hold 90% of the energy: 34 of 128, or {glue:text}`paper share`. We call this
# the *90% share*. We compare with two kinds of routers that have learned no match. *Untrained* routers
# have random matrices. Routers with *shuffled targets* were trained to pick the place where the evidence of another sequence
# stands. They can only learn where evidence tends to be.

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


share = says["rank-90"].value
glue("paper share", percent(share), display=False)

# %% tags=["remove-input"]
by_share, by_precision = over_seeds("rank_share"), over_seeds("precision")
heads = {
    "attention, 1 layer": "behind attention",
    "raw embeddings": "raw embeddings",
}
small = {
    "paper, trained": [percent(share), str(says["one-layer"]), NONE, NONE],
    **{
        how: [
            text
            for name in heads
            for text in (
                by_share[f"{name}, {how}"],
                by_precision[f"{name}, {how}"],
            )
        ]
        for how in ("trained", "shuffled targets", "untrained")
    },
}
labelled(
    pd.DataFrame.from_dict(
        small,
        orient="index",
        columns=[
            f"{head}: {what}"
            for head in heads.values()
            for what in ("90% share", "precision")
        ],
    ),
    "router",
)

# %% [markdown]
# **No.** In our models training lowers the share, and so does training on shuffled targets, which teaches no match. On raw embeddings
# shuffled targets lower it most. To show a match, one has to remove directions and measure precision, as in the section before.
#
# ## What the paper says, what we measured, chance
#
# {glue:text}`verdict`
#
# All rows are about one layer of attention. With the *query included* the router may also pick the query. *Not reproduced*:
# the cosine gaps differ by more than 0.05, or the shares by more than [the margin](tables-margin), about two points. *Both near
# chance*: the numbers differ, but both lie a few points above chance at most.

# %% tags=["remove-input"]
STATEMENTS = {
    "cosine-gap": "cosine gap",
    "random-projections": "precision, random matrices",
    "rank-90": "90% share",
}
CONDITION = "attention, 1 layer"
rows, labels = {}, {}
for name, label in STATEMENTS.items():
    claim = says[name]
    found = {
        c: results[c].summary(claim.metric).loc[CONDITION] for c in READINGS
    }
    if claim.metric == "random_form_precision":
        control = results["others"].summary("precision").loc[CHANCE]
        of = "random router"
    else:
        control = inside.summary(claim.metric).loc[f"{CONDITION}, untrained"]
        of = "before training"
    labels[label] = name
    rows[label] = {
        "paper": str(claim),
        **{
            READINGS[c]: claim.write(f["mean"], f["sd"])
            for c, f in found.items()
        },
        "for comparison": f"{claim.write(control['mean'], control['sd'])} ({of})",
        "verdict": claim.verdict(
            {
                READINGS[c]: (
                    f["mean"],
                    f["sd"],
                    level(claim, experiments[c][CONDITION]),
                )
                for c, f in found.items()
            }
        ),
    }
rows["cosine gap, token after the evidence"] = {
    "paper": str(says["cosine-gap"]),
    **{
        READINGS[c]: two_digits(
            *after[c].loc["attention, 1 layer", ["mean", "sd"]]
        )
        for c in READINGS
    },
    "for comparison": NONE,
    "verdict": NONE,
}
at_quarter = {
    probe: spread(*by_rank(f"{CONDITION}, trained", probe).loc[quarter])
    for probe in ("precision_top", "precision_projected")
}
rows["precision, strongest quarter"] = {
    "paper": NONE,
    "query excluded": at_quarter["precision_top"],
    "query included": NONE,
    "for comparison": f"{at_quarter['precision_projected']} (random quarter)",
    "verdict": NONE,
}
linked(pd.DataFrame.from_dict(rows, orient="index"), labels, "statement")

# %% tags=["remove-cell"]
top = cut["attention, 1 layer"]["precision_top"][quarter]
top_bare = cut["raw embeddings"]["precision_top"][quarter]
answer = (
    f"Equal tokens have similar vectors even before training; comparing them along the strongest quarter of the router's directions finds the "
    f"evidence, with attention ({percent(top)}) and without ({percent(top_bare)})."
)
large = paper_records(study, "attention-1", "others")
of_large = pd.DataFrame([numbers(record) for record in large])
at_large = (
    f"At the paper's size, with {len(large)} seeds, matching vectors are alike as well; we removed no directions there. "
    if large and of_large.cosine_gap.mean() > 0
    else ""
)
sure = (
    f"Each number is a mean over {study.seeds} trainings (seeds), on sequences of {sizes.evidence.length} tokens; a random pick is "
    f"right in {percent(chance)}. {at_large}We would change our mind if a model found the evidence although its matching vectors were less alike than "
    f"random pairs, or if a router with only the strongest quarter of its directions missed the evidence."
)
verdict = (
    "We agree with the paper that random matrices destroy routing, and that few directions are enough. Both hold without attention as "
    "well. Query and evidence are more alike than random pairs, not less. Query and the token after the evidence are less alike, so it is "
    "open which of the two the paper means. The number 34 of 128 does not show a match."
)
own = len(inside.frame) // study.seeds + len(asked)
closing.close(
    "02_latent_subspace",
    "The latent subspace",
    answer=answer,
    sure=sure,
    verdict=verdict,
    cost=closing.trained(
        study,
        [inside, *asked.values(), *results.values()],
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
for name, c, column, write in (
    ("attention-1", "others", "rank_share", percent),
    ("attention-1", "all", "rank_share", percent),
    ("attention-1", "others", "random_form_precision", percent),
    ("attention-1", "others", "cosine_gap", "{:.2f}".format),
    ("raw", "others", "cosine_gap", "{:.2f}".format),
):
    found = [numbers(r)[column] for r in paper_records(study, name, c)]
    text = write(sum(found) / len(found)) if found else NONE
    glue(f"large {column} {name} {c}", text, display=False)
at_random = level(
    says["random-projections"], experiments["others"][CONDITION]
).there
glue("paper chance", percent(at_random), display=False)

# %% [markdown]
# ## What differs, and why
#
# * **The cosine gap.** Equal tokens share a token vector, so a negative gap of query and evidence needs a training that makes
#   equal tokens unlike. Perhaps the paper's "answer" is the token after the evidence; there we find a negative gap, too. Its text
#   speaks of matching tokens, and so we take the evidence. At the paper's size the sign is the same
#   ({glue:text}`large seeds` seeds): the gap of the evidence is {glue:text}`large cosine_gap attention-1 others`, and
#   {glue:text}`large cosine_gap raw others` on raw embeddings. The ledger leaves the claim open.
# * **Random matrices.** The paper's 2.6% is above chance, {glue:text}`paper chance` at the paper's size. Ours is
#   {glue:text}`large random_form_precision attention-1 others` there. We do not know why.
# * **The 90% share.** At the paper's size ours is {glue:text}`large rank_share attention-1 others` (query included:
#   {glue:text}`large rank_share attention-1 all`). <a href="claims.html#rank-90">The ledger</a> says that "few directions" stands,
#   because an untrained router needs more: {glue:text}`rank_share attention, 1 layer, untrained` at our width.
#
# ## In detail
#
# (subspace-models)=
# ### Six more models
#
# The gap is above 0 even with the rank-1 router, which finds little. So a gap alone does not show that a router matches.

# %% tags=["remove-input"]
SEES = {
    "content-only": "a vector for the token",
    "causal attention, 1 layer": "raw embeddings after a layer of attention to the left only",
    "Perceiver, 1 hub": "raw embeddings after an exchange through one shared vector, the hub",
    "Flow, 2 layers": "raw embeddings after the paper's left-to-right recurrence (Mamba layers)",
    "bidirectional Mamba": "raw embeddings after a recurrence in each direction",
    "bidirectional Mamba, rank-1": "the same; but the router compares one number per position",
}
more = pd.DataFrame.from_dict(
    gaps({name: name for name in SEES}), orient="index"
)
labelled(more.assign(**{"what the vectors are": SEES}), "model")

# %% [markdown]
# If the query is included, the router also has to tell the two copies of the token apart. The gap behind attention is then
# {glue:text}`gap attention, 1 layer, all` instead of {glue:text}`gap attention, 1 layer, others`.
#
# (subspace-rest)=
# ### What the weaker directions hold

# %% mystnb={"figure": {"caption": "With the strongest quarter removed, little is left behind attention, more on raw embeddings, and nearly all on content-only ones. The r strongest directions of a trained router are removed. The vertical line is a quarter. Lines are means over seeds, bands one standard deviation.", "name": "fig-rest"}, "image": {"alt": "Precision against the number of directions r that are removed, for raw embeddings, content-only and one layer of attention. At a quarter attention is lowest, raw embeddings are higher, and content-only has hardly fallen."}} tags=["remove-input", "nbval-ignore-output"]
draw("precision_rest")
plt.show()

# %% [markdown]
# Without the strongest {glue:text}`quarter` directions the router still finds {glue:text}`precision_rest raw embeddings` on raw
# embeddings, and {glue:text}`precision_rest content-only` on content-only ones. Behind attention it finds
# {glue:text}`precision_rest attention, 1 layer`. About half of that last number may need no match, since routers with shuffled
# targets find {glue:text}`precision attention, 1 layer, shuffled targets` behind attention.
#
# In {glue:text}`quarter` random directions the router finds {glue:text}`precision_projected raw embeddings` on raw embeddings. Behind
# attention the strongest direction alone finds {glue:text}`one attention, 1 layer`.
#
# ### The count of directions, in full
#
# If one direction had all the strength, the count would be 1. If all {glue:text}`d` were equally strong, 90% of the energy would
# take 90% of the directions, {glue:text}`even`. The last column is the precision of a router that keeps only the counted directions.

# %% tags=["remove-input"]
torch.manual_seed(0)
matrix = PairwiseScores(width=128, heads=4).form()
energy = torch.linalg.svdvals(matrix) ** 2
held = energy.cumsum(0) / energy.sum()
untrained = int((held < 0.9).sum()) + 1
columns = {
    "directions with 90%": over_seeds("rank_90", whole),
    "90% share": by_share,
    "precision": by_precision,
    "precision, only these": over_seeds("kept"),
}
order = [
    *(f"{name}, trained" for name in SHOWN),
    *(f"{name}, shuffled targets" for name in representations),
    *(f"{name}, untrained" for name in representations),
]
spectrum = pd.DataFrame(columns).loc[order]
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

# %% [markdown]
# The paper's 34 is fewer than the count of an untrained matrix of the paper's width. The share of an untrained matrix is about the
# same at both widths.
#
# ### How we measured
#
# * **What is random.** Random matrices have Gaussian entries and the same sum of squares as the learned ones. Random directions
#   are one random subspace for both vectors, and the learned matrix is kept. Precision is the mean of {glue:text}`draws` draws.
# * **Notation.** The router gives position $j$ the score $x_q^\top W_q^\top W_k\, x_j$, where $x_q$ is the query's vector and $x_j$
#   that of the position. The paper writes $W_q W_k^\top$ for the matrix. With vectors as columns, as in its Eq. 1, it is
#   $W_q^\top W_k$.
#
# ### The paper's "rank"
#
# The column "rank" of the paper's Table 2 is not defined. For raw embeddings it says 240. The rank of the matrix of all scores is at
# most the width, 128, so the column means something else. [Chapter 7](07_scale.ipynb) has another reading.
#
# The effective rank of the matrix of scores {cite:p}`roy2007effective` does not fit either. It is 1 if one direction makes up all
# scores, and {glue:text}`d` if all directions contribute alike. We find {glue:text}`scores attention, 1 layer` behind attention
# ({glue:text}`scores untrained` before training) and {glue:text}`scores raw embeddings` on raw embeddings.
#
# ### The code that cuts the matrix

# %% tags=["remove-input"]
Code(inspect.getsource(probes._subspace), language="python")

# %% [markdown]
# ## Exercises
#
# **To run it again.** `.venv/bin/fci run 02 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# 1. Put `"Perceiver, 1 hub"` (see *Six more models*) into `representations`. How many directions does the router then need?
# 2. Train twice as long: `sizes.training.model_copy(update={"epochs": 10})` under a name of its own in
#    `trainings`. Does the count of directions fall further?
# 3. Take weight decay away, `{"weight_decay": 0.0}`. Is it what makes most directions weak?
