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
# # 1. The phase transition
#
# **The claim.** With raw embeddings, a recurrent state or content-only embeddings in front of it, the
# pairwise router stays at 2.5% routing precision or below, however long it trains; one Transformer
# layer lifts it to 98.4%, and further layers add nothing. The change comes in a single epoch, and no
# other condition shows one {cite:p}`basu2026routing` (§4.1, Fig. 2).
#
# **Our verdict.** {glue:text}`verdict`
#
# **To run it again.** `.venv/bin/fci run 01 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# In this notebook we train the same router on top of nothing, of Mamba blocks and of Transformer
# layers, none to four of each, and watch its precision by epoch. Every condition runs under two
# protocols: with all positions as candidates, as the paper's equations read (`"all"`), and with all
# but the query itself (`"others"`). Numbers follow whatever profile and seeds are run; the sentences
# around them were written for the profile `quick`, which is far smaller than the paper's.

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

# %% tags=["hide-input"]
import inspect

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import Code
from myst_nb import glue

from fcilib.ledger.catalogue import (
    CHANCE,
    ONLY,
    by_protocol,
    catalogue,
    chance_of,
)
from fcilib.ledger.claims import claims
from fcilib.ledger.comparison import compare
from fcilib.ledger.ledger import ledger
from fcilib.present import closing, figures, interactive
from fcilib.present.tables import comparison_table, further, labelled, linked
from fcilib.representations import Embedding
from fcilib.routers import Investigator
from fcilib.study.notation import percent, spread, texts

# %% [markdown]
# ## Does the task ask for far-away content?
#
# The paper's control comes first: a plain four-layer Transformer, without any router, that predicts
# the value at the query. It reports 100% when the evidence is near and 1.9% when it is far (§3.1), and
# concludes that the task isolates long-range matching. How near, it does not say; here, within 20
# tokens. Chance is what a model reaches whose router picks at random.

# %%
known = catalogue(study.sizes)
plain = {
    where: known[f"plain-{where}"].under[ONLY] for where in ("near", "far")
}
control = study.run(
    {
        **{f"{where} evidence": run for where, run in plain.items()},
        **{f"chance, {where}": chance_of(run) for where, run in plain.items()},
    }
)

# %% tags=["remove-input"]
accuracy = control.summary("accuracy")
measured = texts(accuracy)
halves = {
    f"{where} evidence": f"{where}-accuracy" for where in ("near", "far")
}
lines = {}
for condition, name in halves.items():
    claim = claims()[name]
    found = tuple(accuracy.loc[condition, ["mean", "sd"]])
    lines[condition] = {
        "paper": str(claim),
        "task accuracy": measured[condition],
        "chance": measured[f"chance, {condition.split()[0]}"],
        "verdict": claim.verdict({"": found}),
    }
linked(pd.DataFrame.from_dict(lines, orient="index"), halves, "control")

# %% tags=["remove-cell"]
for name, text in measured.items():
    glue(name, text, display=False)

# %% [markdown]
# The plain Transformer answers {glue:text}`near evidence` of the near questions and
# {glue:text}`far evidence` of the far ones, against chance levels of {glue:text}`chance, near` and
# {glue:text}`chance, far`. At this size the control cannot say what it is for: the plain model has learned
# neither half, and where the near half fails nothing follows from the far half's failure, though its
# number agrees with the paper's. The models below, which get a router and a routing loss, are trained
# for exactly as long.

# %% [markdown]
# ## How many layers does the router need?
#
# Zero layers means that the router sees the embeddings themselves: token plus position ("raw"), or
# the token alone ("content-only"). Flow and attention are stacked on the raw embeddings, one, two and
# four layers of them, the depths of the paper's own comparison in §4.7. A control of
# ours sees positions and no token at all: where the evidence can stand is not uniform, and a router
# can profit from that without any content. Its precision is the floor to compare with; chance, the
# random router's, lies below it. The
# router, the Council, the head and the training are the same throughout; `candidates` is the only
# thing that differs between the two protocols.

# %%
DEPTHS = (1, 2, 4)


SHOWN_AS = {
    "raw embeddings": "raw",
    "content-only": "content-only",
    "positions only": "positions-only",
    **{f"Flow, depth {n}": f"flow-{n}" for n in DEPTHS},
    **{f"attention, depth {n}": f"attention-{n}" for n in DEPTHS},
    CHANCE: "random",
}
conditions = by_protocol(
    {label: known[name] for label, name in SHOWN_AS.items()}
)
results = study.run_protocols(conditions)


# %% mystnb={"figure": {"caption": "Final routing precision against depth: mean and one standard deviation over seeds, held-out sequences. Both lines start at the raw embeddings. Hollow marks are the paper's: circles for raw embeddings (depth 0) and attention, which it says gains nothing beyond one layer; triangles for the bound of 2.5% on recurrent states. Left, the query itself may be picked; right, it may not.", "name": "fig-depth"}, "image": {"alt": "Routing precision against depth 0 to 4 for raw, content-only, Flow and attention, in two panels, one per candidate set, with the paper's numbers as hollow circles and chance as a dashed line."}} tags=["remove-input", "nbval-ignore-output"]
def by_depth(summary, family):
    names = ["raw embeddings", *(f"{family}, depth {n}" for n in DEPTHS)]
    return summary.loc[names]


with figures.look():
    fig, axes = figures.panels(results)
    for ax, (candidates, result) in zip(axes[0], results.items(), strict=True):
        summary = result.summary("precision")
        for family in ("Flow", "attention"):
            line = by_depth(summary, family)
            figures.band(ax, [0, *DEPTHS], line["mean"], line["sd"], family)
        for name in ("raw embeddings", "content-only", "positions only"):
            point = summary.loc[[name]]
            figures.band(
                ax, [0], point["mean"], point["sd"], name, ls="", ms=8
            )
        says = {name: 100 * c.value for name, c in claims().items()}
        hollow = {
            "mfc": "white",
            "mec": "#333333",
            "ms": 11,
            "ls": "",
            "zorder": 1,
        }
        circles = [says["raw"], *[says["one-layer"]] * len(DEPTHS)]
        ax.plot([0, *DEPTHS], circles, "o", label="paper", **hollow)
        ax.plot(DEPTHS, [says["flow"]] * len(DEPTHS), "^", **hollow)
        figures.chance_line(ax, summary.loc[CHANCE, "mean"])
        ax.set_xlabel(f"depth, {figures.CANDIDATES[candidates]}")
        ax.set_xticks([0, *DEPTHS])
    axes[0][0].set_ylabel("routing precision (%)")
    axes[0][0].set_ylim(-4, 104)
    fig.legend(
        *axes[0][0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=4,
    )
plt.show()

# %% tags=["remove-cell"]
precision = {c: r.summary("precision") for c, r in results.items()}
for candidates, summary in precision.items():
    for name, text in texts(summary).items():
        glue(f"{name}, {candidates}", text, display=False)

# %% [markdown]
# Without any layer the raw embeddings reach {glue:text}`raw embeddings, others` when the query is not
# among the candidates and {glue:text}`raw embeddings, all` when it is; one layer of attention reaches
# {glue:text}`attention, depth 1, others` and {glue:text}`attention, depth 1, all`, and two layers of
# unidirectional Flow {glue:text}`Flow, depth 2, others` and {glue:text}`Flow, depth 2, all`. Positions
# alone give {glue:text}`positions only, others` and {glue:text}`positions only, all`, and picking at random
# {glue:text}`random router, others` and {glue:text}`random router, all`.

# %% [markdown]
# ## Why zero layers can suffice
#
# The router computes $s_{qj} \propto x_q^\top W_q^\top W_k\, x_j$. The evidence is defined by carrying
# the query's token, which in this task stands nowhere else. With token-only vectors, $x_a = x_q$ exactly;
# before training, all vectors are also normalised to the same length, so the identity,
# $W_q = W_k = I$, scores the evidence above every other token. No training is needed to see it:

# %%
model = study.experiment(
    representation=Embedding(positions="none"),
    router=Investigator(candidates="others"),
).build()
held_out = study.sizes.evidence.draw(1000, seed=0, split="test")

with torch.no_grad():
    x = model.represent(held_out.tokens)  # (B, L, d), an untrained embedding
    rows = torch.arange(len(held_out))
    scores = torch.einsum(
        "bd,bld->bl", x[rows, held_out.query], x
    )  # W_q = W_k = I
    to_itself = scores[rows, held_out.query]
    to_evidence = scores[rows, held_out.evidence]
    others = scores.scatter(1, held_out.query[:, None], float("-inf"))

assert torch.allclose(to_itself, to_evidence)  # the tie
untrained = (others.argmax(dim=1) == held_out.evidence).float().mean().item()
glue("untrained", percent(untrained), display=False)
print(
    f"an untrained embedding, W_q = W_k = I, candidates 'others': {percent(untrained)}"
)

# %% [markdown]
# That is {glue:text}`untrained` precision from an embedding that was never trained, with nothing in
# front of the router. Under `"all"` the same two vectors make a tie: $s_{qq} = s_{qa}$, whatever
# $W_q$ and $W_k$ are. Only something that differs between the two positions can break it. How a tie is
# counted then decides the number that is reported:

# %% tags=["remove-input"]
router = Investigator()
ties = {
    "precision_tie_lost": "tie lost",
    "precision": "tie shared (our precision)",
    "precision_tie_won": "tie won",
    "picked_query": "picks the query itself",
    "precision_at_k": f"evidence among the {router.k} best",
}
zero_layers = ["content-only", "raw embeddings", "attention, depth 1", CHANCE]
means = (
    results["all"].frame.groupby("condition", sort=False)[list(ties)].mean()
)
labelled(means.loc[zero_layers].map(percent).rename(columns=ties), "condition")

# %% tags=["remove-cell"]
glue("k", router.k, display=False)
content = means.loc["content-only"]
for name in ties:
    glue(f"content-only {name}", percent(content[name]), display=False)

# %% [markdown]
# Under `"all"` the content-only router ranks the evidence first, tied with the query: counted as lost,
# its ties give {glue:text}`content-only precision_tie_lost`; shared,
# {glue:text}`content-only precision`; won, {glue:text}`content-only precision_tie_won`. Its verdict under
# `"all"` is therefore a verdict on the way of counting; under `"others"` there is no tie. An `argmax`
# that returns the first of equal entries loses each of them here, since the query stands before the
# evidence. The same router has the evidence among its {glue:text}`k` picks in
# {glue:text}`content-only precision_at_k` of the sequences.

# %% [markdown]
# ## Does one epoch carry the jump?
#
# The paper sees precision rise from 2.8% to 99.4% within the tenth epoch, after nine near chance, for
# one Transformer layer and for nothing else; accuracy follows, from 4.7% to 74.5%. An epoch here has
# {glue:text}`steps` steps, in the paper 250; the learning rate's cycle is shorter here, as there are fewer
# epochs. We take each run's largest gain between two consecutive epochs, the state before the first
# counting as chance.

# %% mystnb={"figure": {"caption": "Routing precision and task accuracy by epoch, on held-out sequences: mean and one standard deviation over seeds. Upper row, precision; lower row, accuracy. The dashed line is chance, measured with a random router.", "name": "fig-epochs"}, "image": {"alt": "Learning curves of raw, content-only, two layers of Flow and one layer of attention: precision in the upper row and accuracy in the lower, one column per candidate set."}} tags=["remove-input", "nbval-ignore-output"]
SHOWN = (
    "raw embeddings",
    "content-only",
    "Flow, depth 2",
    "attention, depth 1",
)

with figures.look():
    fig, axes = figures.panels(results, rows=2)
    for column, (candidates, result) in enumerate(results.items()):
        for row, metric in enumerate(("precision", "accuracy")):
            ax = axes[row][column]
            grouped = result.curves.groupby(["condition", "epoch"])[metric]
            for name in SHOWN:
                curve = grouped.agg(["mean", "std"]).loc[name]
                figures.band(
                    ax, curve.index, curve["mean"], curve["std"], name
                )
            figures.chance_line(ax, result.summary(metric).loc[CHANCE, "mean"])
        axes[1][column].set_xlabel(f"epoch, {figures.CANDIDATES[candidates]}")
        axes[1][column].set_xticks(range(1, study.sizes.training.epochs + 1))
    axes[0][0].set_ylabel("routing precision (%)")
    axes[1][0].set_ylabel("task accuracy (%)")
    fig.legend(
        *axes[0][0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=5,
    )
plt.show()


# %% tags=["remove-input"]
def largest_gain(result, name):
    """Mean over seeds of the largest one-epoch gain, its spread, and the epochs it fell in."""
    start = result.summary("precision").loc[CHANCE, "mean"]
    curves = result.curves.query("condition == @name")
    gains, epochs = [], []
    for _, run in curves.groupby("seed"):
        gain = run.precision.diff().fillna(run.precision.iloc[0] - start)
        gains.append(gain.max())
        epochs.append(int(run.epoch.loc[gain.idxmax()]))
    gains = pd.Series(gains)
    points = spread(gains.mean(), gains.std()).rstrip("%")
    return points, ", ".join(map(str, sorted(set(epochs))))


names = [name for name in precision["all"].index if name != CHANCE]
jumps = pd.DataFrame(
    [
        [
            cell
            for candidates in results
            for cell in largest_gain(results[candidates], name)
        ]
        for name in [*names, CHANCE]
    ],
    index=[*names, CHANCE],
    columns=["gain, all", "epoch, all", "gain, others", "epoch, others"],
)
labelled(jumps, "condition")

# %% tags=["remove-cell"]
training = study.sizes.training
glue("steps", training.sequences // training.batch, display=False)
for name in names:
    for candidates in results:
        glue(
            f"gain {name}, {candidates}",
            jumps.loc[name, f"gain, {candidates}"],
            display=False,
        )

# %% [markdown]
# Largest gain in precision within one epoch, in points, with the epoch it fell in (several, where
# seeds differ). Under `"all"` the gains are {glue:text}`gain attention, depth 1, all` for one layer of
# attention, {glue:text}`gain raw embeddings, all` for raw embeddings and
# {glue:text}`gain Flow, depth 2, all` for two layers of Flow; under `"others"`,
# {glue:text}`gain attention, depth 1, others`, {glue:text}`gain raw embeddings, others` and
# {glue:text}`gain Flow, depth 2, others`. One epoch carries most of the rise, but where everything is learned
# within two or three epochs a jump cannot be told from a fast rise. What can be told: raw
# embeddings and Flow rise as attention does, where the paper has them flat.

# %% [markdown]
# ### What the router looks at meanwhile
#
# A precision says how often the router is right, not what it looks at when it is wrong. Four of the conditions were
# trained once more, the first seed only, and kept the router's softmax over two held-out sequences before training
# and after each epoch. Move the slider: with raw embeddings under `"all"`, the query's own position rises together
# with the evidence, and only later gives way to it; of content-only vectors neither ever does, since they are one
# vector. With the query excluded there is nobody to give way.

# %%
filmed = {
    candidates: study.run(
        {
            name: experiment.model_copy(update={"probing": "by-epoch"})
            for name, experiment in conditions[candidates].items()
            if name in SHOWN
        },
        seeds=1,
    )
    for candidates in results
}

# %% tags=["remove-input"]
interactive.film(
    "film-scores",
    filmed,
    {
        c: r.summary("precision").loc[CHANCE, "mean"]
        for c, r in results.items()
    },
)

# %% [markdown]
# ## What the paper says, what we measured, chance
#
# Every statement of §4.1 on final precision (its Fig. 2), a row per depth, under both protocols. For
# two to four layers the paper gives no number but "no improvement" over one. A mean agrees with the
# paper's number if it lies within two points of it, or within two standard deviations over seeds,
# whichever is more.

# %%
CLAIMS = {
    label: known[name].claim
    for label, name in SHOWN_AS.items()
    if known[name].claim
}
comparison = compare({**CLAIMS, "Flow, depth 2": "flow"}, results)

# %% mystnb={"figure": {"caption": "Paper (hollow), measured (filled, with its spread over seeds) and chance (tick) for every statement of the paper's \u00a74.1. Where the paper gives a bound (\u2264), its mark stands at the bound. The line between paper and measured is blue where the two agree, within two points or two standard deviations over seeds, and orange where they do not. Rows are sorted by what was measured with the query excluded.", "name": "fig-ladder-01"}, "image": {"alt": "A row per condition with the paper's value, the measured value and chance, for the two candidate sets."}} tags=["remove-input", "nbval-ignore-output"]
figures.claims_figure(comparison)
plt.show()

# %% tags=["remove-input"]
comparison_table(comparison)

# %% tags=["remove-cell"]
glue("vocabulary", study.sizes.evidence.vocabulary, display=False)

# %% [markdown]
# ### Further statements of this section
#
# What §3 says of chance and of seeds, what §4.1 says of the way to the final precision, and what the paper
# says of these models elsewhere. A statement about several experiments reproduces if each of them agrees;
# the lowest and the highest of their numbers are shown. How much seeds differ is held against the standard
# deviation. A rise is counted from zero here, above from chance. The paper's chance of an answer, 1.6%, is
# one in 64; it has 256 tokens, and there are {glue:text}`vocabulary` here.

# %% tags=["remove-input"]
further(
    ledger(study.records, study.sizes),
    [
        "chance-accuracy",
        "seed-spread",
        "seed-spread-contrastive",
        "one-layer-spread",
        "core-parameters",
        "jump-ratio",
        "transition-rise",
        "transition-epoch",
        "transition-peak",
        "transition-accuracy",
        "no-other-transition",
        "unidirectional-fails",
    ],
)

# %% tags=["remove-cell"]
agreeing = comparison.groupby("name").agrees.all()
zero = precision["others"]["mean"]
verdict = (
    f"Of the section's {len(agreeing)} statements on final precision, {agreeing.sum()} reproduce under "
    f"both protocols: one Transformer layer routes, and more add nothing. Those on zero layers do not: "
    f"with the query excluded, the router reaches {percent(zero['content-only'])} on content-only and "
    f"{percent(zero['raw embeddings'])} on raw embeddings, and {percent(zero['Flow, depth 2'])} on two "
    f"layers of unidirectional Flow (positions alone: {percent(zero['positions only'])}; chance: "
    f"{percent(zero[CHANCE])}). Measured at profile {study.profile}, seeds: {study.seeds}."
)
closing.close(
    "01_phase_transition",
    "The phase transition",
    verdict,
    closing.trained(study, (control, *results.values())),
)

# %% [markdown]
# ## What differs, and why
#
# * **The task is exact token matching, and the embedding already holds the token.** A pairwise router
#   on token vectors needs no context to find an equal token; one bilinear form does it. The paper's
#   worked example says that without a Transformer "$x_{51}$ contains no information about position 350,
#   so $s_{51,350}$ is indistinguishable from noise" (§3.2). The first half is true; the second does not
#   follow, since $s_{51,350}$ compares two vectors that hold the same token.
# * **The query as its own candidate.** Under the paper's text the query is among its own candidates. For
#   token-only vectors that makes a tie, which an `argmax` can read as 0% or as 100%. It does not
#   explain the paper's 1.2% for raw embeddings, or its bound for recurrent states: those route here
#   under either protocol. Why they fail there we do not know.
# * **Positions.** With position vectors the router learns to prefer the other copy of the token, whether
#   because it is far or because it stands late, with no layer in between; it then takes an epoch
#   more than without the tie (Fig. {numref}`{number} <fig-epochs>`).
# * **The key stands twice and no more.** We draw filler so that it does (`collisions=False`). Were the
#   filler free to repeat the key, nothing in the sequence would mark one copy as the evidence, and no
#   router could come near the paper's 98%: its own numbers imply the same choice.
# * **What is not comparable.** These are the sizes of the profile printed above, not the paper's;
#   task accuracy in particular depends on them.
#
# The router that all of this rests on, in full:

# %% tags=["remove-input"]
from fcilib.routers.investigator import PairwiseScores

Code(inspect.getsource(PairwiseScores), language="python")

# %% [markdown]
# ## Exercises
#
# 1. Depth without mixing: `study.experiment(representation=Embedding(layers=4), router=Investigator())`. Do
#    parameters alone change anything?
# 2. Let the evidence come first: give `study.experiment` the task `other`, with
#    `other = study.sizes.evidence.model_copy(update={"order": "evidence-first"})`. Which ties are now
#    won by an `argmax` that returns the first of equals?
# 3. Let filler repeat the key: the same with `{"collisions": True}`. How far does the untrained
#    identity fall?
# 4. Take the routing loss away: `training=study.sizes.training.model_copy(update={"routing_weight":
#    (0.0, 0.0)})`. Who still routes?
