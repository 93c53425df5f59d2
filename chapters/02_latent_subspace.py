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
# the same token. Where in the vectors of these two positions is the signal that it uses?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **The claim.** The signal is not in the similarity of the vectors: behind one Transformer layer the cosine of query and
# evidence, less that of random pairs, is negative, -0.154. The signal lies in a subspace: 34 of 128 directions hold 90% of
# the energy (the sum of the squared singular values) of $W_q^\top W_k$, the product of the router's two matrices. Only the
# learned matrices reach it: with random ones in their place precision drops from 98.4% to 2.6%
# {cite:p}`basu2026routing` (§4.2, Fig. 3).
#
# **What we found.** {glue:text}`verdict`
#
# **To run it again.** `.venv/bin/fci run 02 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# We look inside trained models and ask three things. How alike are the vectors of query and evidence? What is left of
# routing when the router's matrices are replaced or cut? Does a single direction carry the scores? Most numbers stand beside
# a control: an untrained model, a model trained on shuffled targets, or a router that picks at random. Flow, bidirectional
# Mamba and causal attention have no untrained model beside them.

# %% tags=["parameters"]
profile = "quick"  # smoke, quick or paper
seeds = 3
executor = "process"  # inline, process or ray
device = "cpu"  # cpu, cuda or auto
records = ""  # a folder; empty for the repository's own

# %%
from fcilib.present.banner import banner
from fcilib.study import Study

study = Study.from_parameters(globals())
banner(study)

# %% tags=["hide-input"]
import inspect

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import Code
from matplotlib.lines import Line2D
from myst_nb import glue

from fcilib.ledger.catalogue import (
    CHANCE,
    by_protocol,
    conditions,
)
from fcilib.ledger.chance import level
from fcilib.ledger.claims import claims
from fcilib.ledger.comparison import compare
from fcilib.model import probes
from fcilib.present import closing, figures
from fcilib.present.tables import labelled, linked
from fcilib.routers.investigator import PairwiseScores
from fcilib.study.notation import NONE, number, percent, spread, texts

# %% [markdown]
# ## Are matching tokens alike?
#
# The *cosine gap* is the mean cosine of $x_q$ and $x_a$, the vectors of query and evidence, minus that of $x_q$ and a
# random position. It is positive if matching tokens are more alike than others.
#
# The models are those of chapters [1](01_phase_transition.ipynb) and [6](06_escape_routes.ipynb). Their router may pick any
# position (`"all"`), or any but the query (`"others"`). *Raw embeddings* are a vector for each token plus one for its
# position, *content-only* ones lack the position, and *Flow* is the paper's left-to-right recurrence. The control is raw
# embeddings that were trained beside a router that picks at random, without any routing loss.


# %%
CONDITIONS = conditions(
    study.sizes,
    "raw",
    "content-only",
    "positions-only",
    "flow-2",
    "bidirectional-mamba",
    "bidirectional-mamba-rank-one",
    "attention-1",
    "causal-1",
    "perceiver-16",
    "perceiver-1",
    "random",
)
experiments = by_protocol(CONDITIONS)
results = study.run_protocols(experiments)

# %% mystnb={"figure": {"caption": "Cosine of query and evidence, less that of the query and a random position: mean and one standard deviation over seeds. Circle: the query may not be picked; square: it may. The paper gives the number of one row (hollow). Tick: raw embeddings trained beside a random router, a control for all rows but content-only and positions only. To the right of zero, matching tokens are more alike than others.", "name": "fig-cosine"}, "image": {"alt": "A row per representation with its cosine gap, for the two candidate sets; the paper's value for one layer of attention lies left of zero."}} tags=["remove-input", "nbval-ignore-output"]
claimed = {"attention, 1 layer": "cosine-gap"}
shown = [name for name in CONDITIONS if name != CHANCE]
gaps = compare(
    {name: claimed.get(name) for name in shown}, results, metric="cosine_gap"
)
figures.claims_figure(
    gaps, scale=1, label="cosine gap", rule="0.05", tick="random router"
)
plt.show()

# %% tags=["remove-cell"]
gap = {c: r.summary("cosine_gap") for c, r in results.items()}
for c, summary in gap.items():
    for name, mean in summary["mean"].items():
        glue(f"gap {name}, {c}", f"{mean:.2f}", display=False)

# %% [markdown]
# **Matching tokens are more alike than others, in every model that routes.** Behind one layer of attention the gap is
# {glue:text}`gap attention, 1 layer, others`, where the paper has a negative one. Raw embeddings have
# {glue:text}`gap raw embeddings, others`.
#
# **They are alike before any routing is learned.** Attention has {glue:text}`gap untrained` before training, and so have
# the control's embeddings ({glue:text}`gap random router, others`). With the query excluded, training raises the gap behind
# attention and on raw embeddings. Under `"all"`, where the router also has to tell the two copies of the token apart, it
# raises it less ({glue:text}`gap attention, 1 layer, all` behind attention); behind causal attention the spread over seeds
# then reaches down to the control. On content-only vectors nothing is left to raise: those of query and evidence are equal
# before any training. The rank-1 router's gap ({glue:text}`gap bidirectional Mamba, rank-1, others`) is no larger than the
# control's.
#
# The paper compares the query with the "answer", which may mean the value at $a + 1$. The text around it speaks of
# matching tokens, and so do we.

# %% [markdown]
# ## What is left when the matrices are replaced or cut?
#
# The router scores a pair of vectors, with $d$ entries each, by $x_q^\top W_q^\top W_k\, x_j$. We call $W_q^\top W_k$ the
# *form*. Its *directions* are its $d$ singular vectors, the strongest first. After training we change the form, or what it
# is given, in one of three ways:
#
# * *Random matrices*, as in the paper: Gaussian ones replace $W_q$ and $W_k$, with the same Frobenius norm (the root of the
#   sum of squared entries), in {glue:text}`draws` draws.
# * *A random projection:* the form is kept, and both vectors are first projected onto the same $r$ random directions.
# * *Its own directions:* the $r$ strongest are kept alone, or taken away.

# %%
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
    """A condition, the query excluded, with every probe of the form."""
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
chance = results["others"].summary("precision").loc[CHANCE, "mean"]


# %% mystnb={"figure": {"caption": "Routing precision of trained models against the number r of directions, held-out sequences, query excluded: mean over seeds, with one standard deviation. Above: the form with its r strongest directions alone (solid), and without them (dotted). Below: both vectors projected onto the same r random directions. Where lines meet at 100% they lie on each other. The dashed line is chance, measured with a random router.", "name": "fig-projections"}, "image": {"alt": "Precision against r for raw embeddings, content-only and one layer of attention: rising within a few singular directions above, slowly and only near full dimension below."}} tags=["remove-input", "nbval-ignore-output"]
def by_rank(name, probe):
    part = inside.probe(probe).query("condition == @name")
    return part.groupby("index")[probe].agg(["mean", "std"])


SHOWN = ("raw embeddings", "content-only", "attention, 1 layer")
with figures.look():
    fig, axes = figures.panels(("singular", "random"), stacked=True)
    left, right = axes[0]
    for name in SHOWN:
        for ax, probe, line in (
            (left, "precision_top", "-"),
            (left, "precision_rest", ":"),
            (right, "precision_projected", "-"),
        ):
            curve = by_rank(f"{name}, trained", probe)
            if probe == "precision_rest":
                curve = curve.iloc[:-1]  # with none left all positions tie
            figures.band(
                ax,
                curve.index,
                curve["mean"],
                curve["std"],
                name,
                ls=line,
                marker="",
                **({} if line == "-" else {"label": None}),
            )
    for ax in (left, right):
        figures.chance_line(ax, chance)
    left.set_xlabel("strongest directions r, kept or cut")
    right.set_xlabel("random directions r, projected onto")
    for ax in (left, right):
        ax.set_ylabel("routing precision (%)")
        ax.set_ylim(-4, 104)
        ax.tick_params(labelbottom=True)
    fig.legend(
        *right.get_legend_handles_labels(),
        loc="outside upper center",
        ncols=2,
    )
plt.show()

# %% tags=["remove-cell"]
glue("draws", probes.RANDOM_DRAWS, display=False)
width = sizes.width
half = width // 2
frame = inside.frame
kept, cut, seen, drawn = [], [], [], []
curves = {
    probe: inside.probe(probe).set_index(["condition", "seed", "index"])[probe]
    for probe in ("precision_top", "precision_rest", "precision_projected")
}
for row in frame.itertuples():
    at = (row.condition, row.seed, row.rank_90)
    kept.append(curves["precision_top"][at])
    cut.append(curves["precision_rest"][at])
    drawn.append(curves["precision_projected"][at])
    seen.append(curves["precision_projected"][(row.condition, row.seed, half)])
frame = frame.assign(kept=kept, cut=cut, seen=seen, drawn=drawn)


def over_seeds(column, write=spread):
    by_condition = frame.groupby("condition", sort=False)[column]
    return texts(by_condition.agg(mean="mean", sd="std"), write)


def whole(mean, sd):
    return f"{mean:.0f}" if pd.isna(sd) else f"{mean:.1f} ± {sd:.1f}"


means = frame.groupby("condition").mean(numeric_only=True)
for name, row in means.iterrows():
    for column in (
        "precision",
        "random_form_precision",
        "kept",
        "cut",
        "seen",
        "drawn",
        "rank_share",
    ):
        glue(f"{column} {name}", percent(row[column]), display=False)
    glue(f"rank_90 {name}", f"{row.rank_90:.1f}", display=False)
untouched = means.cosine_gap["attention, 1 layer, untrained"]
glue("gap untrained", f"{untouched:.2f}", display=False)
glue("half", half, display=False)
glue("d", width, display=False)
glue("chance", percent(chance), display=False)

# %% [markdown]
# **Random matrices destroy routing, with and without attention.** They take one layer of attention from
# {glue:text}`precision attention, 1 layer, trained` to {glue:text}`random_form_precision attention, 1 layer, trained`, and raw embeddings from
# {glue:text}`precision raw embeddings, trained` to {glue:text}`random_form_precision raw embeddings, trained`. Chance is
# {glue:text}`chance`. The paper's drop is there, then, and takes no attention. (The paper's 2.6% is a little above its chance,
# one in 512. The table below has a verdict for this: both are *near* chance.)
#
# **A few of the form's own directions are enough** (upper panel), **but many random ones are needed** (lower panel). A
# projection onto {glue:text}`half` of {glue:text}`d` random directions leaves {glue:text}`seen attention, 1 layer, trained`
# behind attention and {glue:text}`seen raw embeddings, trained` on raw embeddings.

# %% [markdown]
# ## Is "34 of 128" few?
#
# The paper counts the strongest directions that hold 90% of the energy. To say whether 34 is few, we need the count of a form
# that has learned no match. We have two of these. One is a form as it was initialised. The other was trained on *shuffled
# targets*: each sequence gets the evidence position and the label of another one. It can learn where evidence tends to
# stand, but not that equal tokens match.

# %% mystnb={"figure": {"caption": "Share of the form's energy in its strongest directions, against their share of all: mean over seeds, whose spread is hardly wider than the lines. Trained forms are more concentrated than untrained ones, and so are those with shuffled targets, which learned no match. The horizontal line is 90%.", "name": "fig-spectrum"}, "image": {"alt": "Cumulative energy curves for attention and raw embeddings in two panels, each trained, untrained and with shuffled targets."}} tags=["remove-input", "nbval-ignore-output"]
LINES = {"trained": "-", "shuffled targets": "--", "untrained": ":"}
values = inside.probe("singular_values")
values["energy"] = values.singular_values**2
total = values.groupby(["condition", "seed"]).energy
values["share"] = total.cumsum() / total.transform("sum")
energy = values.groupby(["condition", "index"]).share.agg(["mean", "std"])
with figures.look():
    fig, axes = figures.panels(representations, stacked=True)
    for ax, name in zip(axes[0], representations, strict=True):
        for how, line in LINES.items():
            curve = energy.loc[f"{name}, {how}"]
            figures.band(
                ax,
                curve.index / width,
                curve["mean"],
                curve["std"],
                name,
                ls=line,
                marker="",
                label=how,
            )
        ax.axhline(90, color="#777777", lw=1)
        ax.tick_params(labelbottom=True)
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("share of the directions")
    paper = claims()["rank-90"].value
    mark = {"mfc": "white", "mec": "#333333", "ms": 9}
    axes[0][0].plot(paper, 90, "o", **mark)
    said = {"ls": "", "marker": "o", "label": "paper’s 34 of 128"}
    fig.legend(
        handles=[
            *(
                Line2D([], [], color="#333333", ls=line, label=how)
                for how, line in LINES.items()
            ),
            Line2D([], [], **said, **mark),
        ],
        loc="outside upper center",
        ncols=2,
    )
    for ax in axes[0]:
        ax.set_ylabel("share of the energy (%)")
plt.show()

# %% [markdown]
# The table says how many directions hold 90% of the energy. Then it gives the precision with those alone, without them, and
# with a random projection onto as many. Chance is {glue:text}`chance` in every column of precision.

# %% tags=["remove-input"]
spectrum = pd.DataFrame(
    {
        "precision": over_seeds("precision"),
        f"directions, of {width}": over_seeds("rank_90", whole),
        "only those": over_seeds("kept"),
        "without": over_seeds("cut"),
        "as many at random": over_seeds("drawn"),
    }
)
labelled(spectrum, "model")

# %% [markdown]
# **A few directions suffice.** Behind one layer of attention {glue:text}`rank_90 attention, 1 layer, trained` of
# {glue:text}`d` hold 90% of the energy, {glue:text}`rank_share attention, 1 layer, trained`; the paper's 34 of 128 are
# {glue:text}`paper share`. With those alone precision is {glue:text}`kept attention, 1 layer, trained`, with as many random
# directions {glue:text}`drawn attention, 1 layer, trained`. On raw embeddings it is {glue:text}`kept raw embeddings, trained`
# against {glue:text}`drawn raw embeddings, trained`. The paper's small subspace exists, and does not need attention.
#
# **They are not alone in holding the match.** Without them {glue:text}`cut attention, 1 layer, trained` is left behind
# attention, {glue:text}`cut raw embeddings, trained` on raw embeddings, and nearly everything on vectors that hold the token
# alone, {glue:text}`cut content-only, trained`.
#
# **A small count alone shows nothing.** Behind attention, a form trained on shuffled targets has 90% of the energy in
# {glue:text}`rank_share attention, 1 layer, shuffled targets` of the directions. The paper's {glue:text}`paper share` is
# therefore no more concentrated than a form that learned no match. On raw embeddings the count of such a form is the
# smallest of all, {glue:text}`rank_90 raw embeddings, shuffled targets`. What shows a match is that the few directions route.

# %% tags=["remove-cell"]
glue("paper share", percent(claims()["rank-90"].value), display=False)

# %% [markdown]
# The count of an untrained form needs no model at all: two matrices as they are initialised, multiplied. At the paper's width
# it is as follows, so that the paper's form, with 34, is more concentrated than an untrained one:

# %%
torch.manual_seed(0)
form = PairwiseScores(width=128, heads=4).form()
values = torch.linalg.svdvals(form)
energy = (values**2).cumsum(0) / (values**2).sum()
count = int((energy < 0.9).sum()) + 1
print(f"{count} of {len(values)} directions hold 90% of the energy, untrained")

# %% [markdown]
# ## Does a single direction carry the scores?
#
# The paper's Table 2 has a column "rank", 1.6 behind attention and 240 for raw embeddings, and does not define it. It cannot be
# the rank of the scores $X W_q^\top W_k X^\top$, which is at most $d$: 240 is more than the paper's $d$ of 128.
# [Chapter 7](07_scale.ipynb) takes it for the mean *place* of the evidence: 1 if the router scores it highest, 2 if one
# other position scores higher, and so on.
#
# We measured the *effective rank* of all scores of a sequence, the exponential of the entropy of their normalised singular
# values {cite:p}`roy2007effective`. It is 1 where a single direction carries them all.

# %%
TABLE_2 = {
    "attention, 1 layer": "rank-attention",
    "causal attention, 1 layer": "rank-causal",
    "Flow, 2 layers": "rank-flow",
    "raw embeddings": "rank-raw",
}
ranked = [*TABLE_2, "bidirectional Mamba", "bidirectional Mamba, rank-1"]
for r in results.values():
    found = r.frame.effective_rank.dropna()
    assert (found <= study.sizes.width + 1e-3).all()  # the bound

# %% tags=["remove-input"]
ranks = pd.DataFrame(
    {
        "paper’s “rank”": {
            name: str(claims()[claim]) for name, claim in TABLE_2.items()
        },
        **{
            f"“{c}”": texts(r.summary("effective_rank"), number)
            for c, r in results.items()
        },
    }
).loc[ranked]
bare = over_seeds("effective_rank", number)
for name in representations:
    ranks.loc[f"{name}, untrained", "“others”"] = bare[f"{name}, untrained"]
labelled(ranks.fillna(NONE), "effective rank")

# %% tags=["remove-cell"]
for name in representations:
    mean = results["others"].summary("effective_rank")["mean"][name]
    glue(f"scores {name}, others", f"{mean:.1f}", display=False)
    mean = means.effective_rank[f"{name}, untrained"]
    glue(f"bare {name}", f"{mean:.1f}", display=False)
found = results["others"].summary("precision")["mean"]
one = "bidirectional Mamba, rank-1"
glue("rank-1 precision", percent(found[one]), display=False)

# %% [markdown]
# **No: several directions carry the scores, in every model that routes.** With the query excluded, training brings the
# effective rank from {glue:text}`bare attention, 1 layer` to {glue:text}`scores attention, 1 layer, others` behind attention, and
# from {glue:text}`bare raw embeddings` to {glue:text}`scores raw embeddings, others` on raw embeddings. Only the rank-1 router
# has a single one, by construction, and it does not route: it finds {glue:text}`rank-1 precision`.

# %% [markdown]
# ## What the paper says, what we measured, chance
#
# The control of the first two rows is a model with a random router: its cosine gap and its precision. That of the third is an
# untrained form. A cosine gap counts as reproduced if it is within 0.05 of the paper's, the other two rows if they are within
# [the margin](tables-margin).

# %%
STATEMENTS = {
    "cosine-gap": "attention, 1 layer",
    "random-projections": "attention, 1 layer",
    "rank-90": "attention, 1 layer",
}
TITLES = {
    "cosine_gap": "cosine gap",
    "random_form_precision": "random matrices",
    "rank_share": "directions, of d",
}

# %% tags=["remove-input"]
rows, verdicts, labels = {}, {}, {}
for name, condition in STATEMENTS.items():
    claim = claims()[name]
    found = {
        c: r.summary(claim.metric).loc[condition] for c, r in results.items()
    }
    if claim.metric == "cosine_gap":
        control = gap["others"].loc[CHANCE]
    elif claim.metric == "random_form_precision":
        control = results["others"].summary("precision").loc[CHANCE]
    else:
        control = inside.summary(claim.metric).loc[f"{condition}, untrained"]
    verdicts[name] = claim.verdict(
        {
            c: (f["mean"], f["sd"], level(claim, experiments[c][condition]))
            for c, f in found.items()
        }
    )
    label = f"{TITLES[claim.metric]}: {condition}"
    labels[label] = name
    rows[label] = {
        "paper": str(claim),
        **{
            f"“{c}”": claim.write(f["mean"], f["sd"]) for c, f in found.items()
        },
        "control": claim.write(control["mean"], control["sd"]),
        "verdict": verdicts[name],
    }
linked(pd.DataFrame.from_dict(rows, orient="index"), labels, "statement")

# %% tags=["remove-cell"]
behind = means.loc["attention, 1 layer, trained"]
bare = means.loc["raw embeddings, trained"]
answer = (
    "The vectors of query and evidence are alike, and a few directions of the router's matrix are enough to find the match, "
    "with attention in front of the router or without; but they are not the only ones that hold it."
)
sure = (
    f"{closing.measured(study)} We would change our mind if a model routed although its query and evidence are less "
    f"alike than random pairs, or if a router lost the match when cut to its few strongest directions."
)
verdict = (
    f"Behind one layer of attention the cosine of query and evidence, less that of random pairs, is "
    f"{gap['others']['mean']['attention, 1 layer']:.2f} (paper: {claims()['cosine-gap']}). Random matrices in place of the "
    f"router's own bring it to chance, with attention or without: {percent(behind.random_form_precision)} and "
    f"{percent(bare.random_form_precision)}, and chance is {percent(chance)}. Behind attention {percent(behind.rank_share)} "
    f"of the directions hold 90% of the energy (paper: {percent(claims()['rank-90'].value)}). With these alone the router "
    f"finds {percent(behind.kept)}, without them {percent(behind.cut)}."
)
earlier = sum(len(r.frame) for r in results.values()) // study.seeds
closing.close(
    "02_latent_subspace",
    "The latent subspace",
    answer=answer,
    sure=sure,
    verdict=verdict,
    cost=closing.trained(
        study,
        [inside],
        "trains {models} models of its own, in {minutes} core-minutes a seed at profile {profile}, "
        f"and uses {earlier} that chapters 1 and 6 train, too.",
    ),
)

# %% [markdown]
# ## What differs, and why
#
# * **The cosine.** Two positions with the same token share its vector, so their cosine starts far above that of a random
#   pair. A model with the paper's negative gap would have to undo that. Here the signal is not "invisible to cosine
#   similarity": on content-only embeddings query and evidence have the same vector, a cosine of one, before any training.
# * **The drop under random matrices, and a subspace,** belong to a trained router, and not to attention. Both are there on
#   raw embeddings, where there is no layer. The directions are fewer than the paper reports.
# * **Notation.** The paper writes $W_q W_k^\top$ for the form. With vectors as columns, as in its Eq. 1, it is
#   $W_q^\top W_k$, and the singular values are those of the latter.
# * **What is not comparable.** $d$ is {glue:text}`d` here and 128 in the paper, training is shorter, and the effective
#   rank depends on the length of the sequence.
#
# The code that cuts and projects the form:

# %% tags=["remove-input"]
Code(inspect.getsource(probes._subspace), language="python")

# %% [markdown]
# ## Exercises
#
# 1. Put `"Perceiver, 1 hub"` into `representations`. How many of its directions does the router need?
# 2. Train twice as long: `sizes.training.model_copy(update={"epochs": 10})` under a name of its own in
#    `trainings`. Does the spectrum of the trained form go on concentrating?
# 3. Take weight decay away, `{"weight_decay": 0.0}`. Is the small tail of the spectrum its work?
