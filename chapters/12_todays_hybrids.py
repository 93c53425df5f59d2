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
# # 12. Today's hybrids
#
# **The question.** The paper states a principle from tests of Mamba, of attention and of a few routers. Does that principle
# also tell which of today's layers and routers work?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **The claim.** A router finds the right token if its vectors have *context from both sides* and if it *compares pairs* of
# vectors. With only one of the two it fails, whatever the architecture {cite:p}`basu2026routing` (§5, §6).
#
# **What we found.** {glue:text}`verdict`
#
# **To run it again.** `.venv/bin/fci run 12 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# The paper tests none of the methods below; sparse and hashed comparisons it calls untested. Its principle still predicts
# how each should do. We wrote the predictions down before any of these models was trained (`fcilib/ledger/hybrids.py`),
# each with the words of the paper that it follows from. The tests compare layers and routers with implementations that
# others wrote, where there are any.

# %% tags=["parameters"]
profile = "quick"  # smoke, quick or paper
seeds = 1
executor = "process"  # inline, process or ray
device = "cpu"  # cpu, cuda or auto
records = ""  # a folder; empty for the repository's own

# %%
from fcilib.present.banner import banner
from fcilib.study import Study

study = Study.from_parameters(globals())
banner(study)

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd
from myst_nb import glue

from fcilib.cost import Bench, Represent, Route, report
from fcilib.ledger import hybrids
from fcilib.ledger.catalogue import CHANCE
from fcilib.ledger.claims import FAILURE, SUCCESS
from fcilib.ledger.hybrids import Method, on_evidence, on_ladder
from fcilib.present import figures
from fcilib.present.closing import close, measured, trained
from fcilib.present.tables import labelled
from fcilib.representations import Attention, Embedding, Flow
from fcilib.routers import Investigator, RandomRouter, RankOne
from fcilib.study.notation import percent, spread
from fcilib.tasks import MQAR, ladder

# %% [markdown]
# ## Which layers let the paper's router succeed?
#
# Eight kinds of layer stand in front of the paper's pairwise router, which may not pick the query itself. Each reads from
# left to right, or in both directions. They are tried on three tasks. *Distant Evidence* is the paper's own: the
# *evidence*, the position to be picked, is the only other token equal to the query. The two others are rungs of the
# [context ladder](09_context_ladder.ipynb). There three look-alikes hold the same token as the evidence, and what tells them
# apart is the token before (`left`) or the token after (`right`).

# %%
pairwise = Investigator(candidates="others")
LAYERS = {m.label: m for m in hybrids.representations(study.sizes)}
KNOWN = {
    "raw embeddings": Embedding(),
    "attention": Attention(),
    "Mamba": Flow(layers=1),
    "Mamba, both ways": Flow(layers=1, bidirectional=True),
}


def known(label, representation, router=pairwise):
    """A method of the earlier chapters, of which nothing is predicted here."""
    return Method(label, representation, router, hybrids.OPEN, "")


methods = {
    **LAYERS,
    **{name: known(name, spec) for name, spec in KNOWN.items()},
    CHANCE: known(CHANCE, Embedding(), RandomRouter(candidates="others")),
}
TASKS = {
    "Distant Evidence": lambda m: on_evidence(study.sizes, m),
    "left": lambda m: on_ladder(study.sizes, m, "left"),
    "right": lambda m: on_ladder(study.sizes, m, "right"),
}
results = {
    task: study.run({name: describe(m) for name, m in methods.items()})
    for task, describe in TASKS.items()
}

# %% mystnb={"figure": {"caption": "Precision of the pairwise router behind each layer, in percent: on Distant Evidence among all positions but the query, on left and right among the evidence and its three look-alikes. The last four rows are layers of earlier chapters. The columns begin with the task that separates the layers. The darkest colour is one in four, chance among look-alikes.", "name": "fig-layers-12"}, "image": {"alt": "A heat map of layers against three tasks. Distant Evidence is bright in every row. On left nearly all layers that recur or convolve are bright. On right only layers that read both ways are."}} tags=["remove-input", "nbval-ignore-output"]
METRICS = {
    task: "precision" if task == "Distant Evidence" else "precision_lookalike"
    for task in TASKS
}
summaries = {
    task: result.summary(METRICS[task]) for task, result in results.items()
}
means = pd.DataFrame({task: s["mean"] for task, s in summaries.items()})
spreads = pd.DataFrame({task: s["sd"] for task, s in summaries.items()})
shown, columns = [*LAYERS, *KNOWN], ["right", "left", "Distant Evidence"]
figures.heat_map(
    means.loc[shown, columns],
    spreads.loc[shown, columns],
    low=1 / ladder.LOOKALIKES,
)
plt.show()

# %% tags=["remove-cell"]
for name, row in means.iterrows():
    for task, value in row.items():
        glue(f"{name} {task}", percent(value), display=False)

# %% [markdown]
# **On the paper's own task the direction does not matter.** Left to right, a Mamba-2 layer routes
# {glue:text}`Mamba-2 Distant Evidence` and an RWKV-7 layer {glue:text}`RWKV-7 Distant Evidence`; raw embeddings, which
# have no context at all, route {glue:text}`raw embeddings Distant Evidence`. A random router picks right in
# {glue:text}`random router Distant Evidence`. The task asks for an equal token, and every layer that keeps the token's own
# vector passes it on.
#
# **On `right` the direction decides, as the paper says.** No layer that reads left to right is above
# {glue:text}`best one way`. Read both ways, {glue:text}`routing both ways` of the {glue:text}`families` kinds reach
# {glue:text}`success` or more; a random router has {glue:text}`random router right`. On `left` the token that tells stands
# before the evidence, and reading left to right is enough for {glue:text}`routing left` of {glue:text}`families`.
#
# Gated linear attention is the exception on both rungs: {glue:text}`gated linear attention left` on `left`, and
# {glue:text}`gated linear attention, both ways right` on `right` in both directions. We do not know why. Most of the
# others hand each token its neighbours by a short convolution, which [chapter 9](09_context_ladder.ipynb) shows to be
# enough. HGRN2 has no convolution either, and yet it climbs. The training loss of gated linear attention still falls at
# the end, and we did not train it for longer.

# %% [markdown]
# ## Which routers can stand in for the pairwise one?
#
# Now the router varies. The paper's compares the query with every token. These save comparisons, each in its own way:
#
# * **LSH** (Reformer): the query is compared with the tokens that random projections put into its bucket.
# * **k-means** (Routing Transformer): it is compared with the tokens of its cluster, whose centres are learned.
# * **blocks** (MoBA, NSA): a few blocks are picked by a summary of their keys, a mean or a learned one, and the query is
#   compared with the tokens inside them.
# * **expert choice** (MoSA): each head takes a quarter of the tokens before it knows the query, and compares it with those.
# * **product keys**: no two tokens are compared; query and token meet where they address the same slots of a learned table.
# * **hubs** (HubRouter): M learned vectors read the sequence. A token is reduced to M numbers, its products with them, and
#   the query's numbers are compared with every token's. The rank-1 router has one number.
#
# They run on Distant Evidence, with raw embeddings and with a Mamba block in each direction in front.

# %%
ROUTERS = {m.label: m for m in hybrids.routers()}
SUFFIX = ", on bidirectional Mamba"
routed = study.run(
    {name: on_evidence(study.sizes, m) for name, m in ROUTERS.items()}
)
precision = routed.summary("precision")["mean"]
names = [name for name in ROUTERS if not name.endswith(SUFFIX)]
by_input = pd.DataFrame(
    {
        "raw embeddings": [precision[name] for name in names],
        "bidirectional Mamba": [precision[name + SUFFIX] for name in names],
    },
    index=names,
)
by_input.loc["pairwise (Investigator)"] = [
    means.loc["raw embeddings", "Distant Evidence"],
    means.loc["Mamba, both ways", "Distant Evidence"],
]

# %% mystnb={"figure": {"caption": "Precision of each router on Distant Evidence, in percent, on raw embeddings and on one Mamba block in each direction. The number behind hubs is how many there are. The last row is the paper's own router. The darkest colour is chance.", "name": "fig-routers-12"}, "image": {"alt": "A heat map of routers against two representations; bright for LSH, product keys and from about eight hubs on, dark for one and two hubs on raw embeddings."}} tags=["remove-input", "nbval-ignore-output"]
chance = means.loc[CHANCE, "Distant Evidence"]
figures.heat_map(by_input, by_input * float("nan"), low=chance)
plt.show()

# %% tags=["remove-cell"]
for name, row in by_input.iterrows():
    for representation, value in row.items():
        glue(f"{name}, {representation}", percent(value), display=False)

# %% [markdown]
# **Comparing fewer pairs can be enough.** On raw embeddings LSH finds the evidence in
# {glue:text}`LSH, raw embeddings`. Product keys, which compare no two tokens, find it in
# {glue:text}`product keys, raw embeddings`. Expert choice must take its tokens before it knows the query, and is at
# {glue:text}`expert choice, raw embeddings`. Behind Mamba it is at {glue:text}`expert choice, bidirectional Mamba`; a
# token's vector can tell there that the token was asked for.
#
# Two kinds lose much. K-means is at {glue:text}`k-means, raw embeddings`: evidence in another cluster than the query's can't
# be found. Blocks are at {glue:text}`blocks, mean, raw embeddings`, probably because one right key hardly shows in the mean
# of its block.
#
# **A few hubs carry it.** One hub on raw embeddings leaves {glue:text}`hubs, 1, raw embeddings`, four
# reach {glue:text}`hubs, 4, raw embeddings` and eight {glue:text}`hubs, 8, raw embeddings`. HubRouter's authors report 8
# to 14 hubs as reliable ([arXiv:2604.22442](https://arxiv.org/abs/2604.22442)); here 16 and 32 do as well.

# %% [markdown]
# ## The predictions, counted
#
# A method *routes* at a precision of {glue:text}`success` or more and *fails* at {glue:text}`failure` or less; the paper
# has no number between the two. It leaves open what a left-to-right Based layer and product keys on Mamba do, so
# these are not counted.


# %% tags=["hide-input"]
def outcomes(methods, values):
    """Predicted and measured outcome of each method of which something is predicted."""
    return pd.DataFrame(
        {
            name: {
                "predicted": m.predicted,
                "measured": hybrids.outcome(values[name]),
                "precision": percent(values[name]),
                "because": m.why,
            }
            for name, m in methods.items()
            if m.predicted != hybrids.OPEN
        }
    ).T


counted = {
    "layers, Distant Evidence": outcomes(LAYERS, means["Distant Evidence"]),
    "layers, right": outcomes(LAYERS, means["right"]),
    "routers, Distant Evidence": outcomes(ROUTERS, precision),
}
tally = pd.DataFrame(
    {
        what: {
            f"predicted: {predicted}": " · ".join(
                f"{n} {outcome}"
                for outcome, n in part.measured[part.predicted == predicted]
                .value_counts()
                .items()
            )
            for predicted in (hybrids.ROUTES, hybrids.FAILS)
        }
        for what, part in counted.items()
    }
)
labelled(tally, "measured")

# %% tags=["hide-input"]
labelled(counted["routers, Distant Evidence"], "router")

# %% [markdown]
# **On the paper's own task most of the failures do not come.** Of the methods that it says fail on Distant Evidence,
# {glue:text}`wrongly failed` of {glue:text}`said to fail` route. On `right`, where a token's own vector is not enough, it is
# right about {glue:text}`right on right` of {glue:text}`asked on right` layers.

# %% [markdown]
# ## Several questions in one sequence
#
# The paper's best router is *rank-1*: it gives each token one number, and scores a pair by the product of the two numbers.
# Such a router orders all tokens of a sequence in the same way for every query, or in the opposite way, by the sign of the
# query's number. All queries of one sign therefore want the same token, and at most one of them can be right. If a
# sequence holds $N$ questions, the precision is at most $2/N$. The paper's task has $N = 1$.
#
# We count on associative recall with several queries (MQAR, in Zoology's form {cite:p}`arora2024zoology`): $N$ pairs of
# a key and a value, then each key once more. A router that knows positions and nothing else picks one of the $N$ keys,
# and is right in $1/N$.


# %%
def recall(pairs):
    """As long as a rung of the ladder, with `pairs` questions."""
    sizes = {"length": study.sizes.ladder.length}
    sizes["vocabulary"] = study.sizes.mqar.vocabulary
    return MQAR(form="multi", pairs=pairs, **sizes)


NUMBERS = [n for n in (1, 2, 4, 8) if n < study.sizes.mqar.vocabulary // 2]
budget = study.sizes.climbing
longer = budget.model_copy(
    update={"data": "fresh", "epochs": 4 * budget.epochs}
)
ASKED = {
    "rank-1, Mamba both ways": (
        KNOWN["Mamba, both ways"],
        RankOne(candidates="others"),
    ),
    "pairwise, Mamba both ways": (KNOWN["Mamba, both ways"], pairwise),
    "pairwise, raw embeddings": (Embedding(), pairwise),
    CHANCE: (Embedding(), RandomRouter(candidates="others")),
}
several = {
    n: study.run(
        {
            name: study.experiment(
                task=recall(n),
                representation=representation,
                router=router,
                training=longer,
            )
            for name, (representation, router) in ASKED.items()
        }
    )
    for n in NUMBERS
}
precisions = {n: result.summary("precision") for n, result in several.items()}

# %% tags=["remove-input"]
labelled(
    pd.DataFrame(
        {
            **{
                name: [
                    spread(*precisions[n].loc[name, ["mean", "sd"]])
                    for n in NUMBERS
                ]
                for name in ASKED
            },
            "most that rank-1 can reach": [
                percent(min(1, 2 / n)) for n in NUMBERS
            ],
        },
        index=NUMBERS,
    ),
    "questions",
)

# %% tags=["remove-cell"]
most, fewest = max(NUMBERS), min(NUMBERS)
rank_one = "rank-1, Mamba both ways"
answered = several[most].summary("accuracy")["mean"]
for name, text in {
    "most questions": most,
    "rank-1 at most": percent(precisions[most].loc[rank_one, "mean"]),
    "rank-1 at one": percent(precisions[fewest].loc[rank_one, "mean"]),
    "bound at most": percent(min(1, 2 / most)),
    "floor at most": percent(1 / most),
    "raw at most": percent(
        precisions[most].loc["pairwise, raw embeddings", "mean"]
    ),
    "rank-1 answers": percent(answered[rank_one]),
    "raw answers": percent(answered["pairwise, raw embeddings"]),
}.items():
    glue(name, text, display=False)

# %% [markdown]
# **One number per token is enough for one question and not for many.** With one question the rank-1 router has
# {glue:text}`rank-1 at one`. With {glue:text}`most questions` it has {glue:text}`rank-1 at most`, between the
# {glue:text}`floor at most` of positions alone and the {glue:text}`bound at most` that counting allows. The pairwise router
# loses nothing: {glue:text}`raw at most` on raw embeddings. What rank one saves is measured in
# [chapter 10](10_cost.ipynb).
#
# Routing is not answering. With all those questions the model behind the rank-1 router still answers
# {glue:text}`rank-1 answers` of them: its recurrence has learned to recall by itself, and needs no router. The pairwise
# router on raw embeddings finds every evidence, and its model answers {glue:text}`raw answers`.

# %% [markdown]
# ## What does a query cost?
#
# Precision is one axis, cost is the other. The time below is that of one query in a sequence of {glue:text}`n` tokens: a
# forward pass of the representation, and the router's pick, on one thread ([chapter 10](10_cost.ipynb) has the meter).

# %%
n = min(4096, max(study.sizes.cost.lengths))
width = study.sizes.width
costs = study.measure(
    Bench(
        workloads={
            **{
                name: Represent(
                    representation=methods[name].representation, width=width
                )
                for name in shown
            },
            "pairwise (Investigator)": Route(router=pairwise, width=width),
            **{
                name: Route(router=ROUTERS[name].router, width=width)
                for name in names
            },
        },
        lengths=(n,),
        **study.sizes.cost.limits,
    )
)
milliseconds = 1000 * report.frame(*costs).groupby("workload").seconds.mean()

# %% mystnb={"figure": {"caption": "The time of one query, logarithmic, and what it buys. Above: layers in front of the pairwise router, by their outcome on right. Below: routers on raw embeddings, by their outcome on Distant Evidence. The number is the precision in percent.", "name": "fig-map-12"}, "image": {"alt": "Two panels of rows with a mark each, sorted by time. Among layers, those that route read both ways and take about twice the time. Among routers, the pairwise one is fastest and routes."}} tags=["remove-input", "nbval-ignore-output"]
MARKS = {"routes": ("#0072B2", "o"), "in between": ("#999999", "s")}
MARKS["fails"] = ("#D55E00", "X")
panels = {
    "layers, on right": {
        name: (
            milliseconds[name] + milliseconds["pairwise (Investigator)"],
            means.loc[name, "right"],
        )
        for name in shown
        if name in milliseconds
    },
    "routers, on Distant Evidence": {
        name: (
            milliseconds[name] + milliseconds["raw embeddings"],
            by_input.loc[name, "raw embeddings"],
        )
        for name in by_input.index
        if name in milliseconds
    },
}
with figures.look():
    fig, axes = plt.subplots(
        2,
        1,
        figsize=(6.5, 8),
        layout="constrained",
        height_ratios=[max(1, len(points)) for points in panels.values()],
    )
    for ax, (title, points) in zip(axes, panels.items(), strict=True):
        rows = sorted(points, key=lambda name: points[name], reverse=True)
        for row, name in enumerate(rows):
            x, y = points[name]
            color, marker = MARKS[hybrids.outcome(y)]
            ax.plot(x, row, marker, color=color, ms=7)
            ax.annotate(
                f"{100 * y:.0f}",
                (x, row),
                xytext=(7, -3),
                textcoords="offset points",
            )
        ax.set_yticks(range(len(rows)), rows)
        ax.set(xscale="log", title=title, xlabel="ms for one query")
        ax.margins(x=0.12)
        ax.xaxis.set_minor_formatter("")
    for outcome, (color, marker) in MARKS.items():
        axes[0].plot([], [], marker, color=color, label=outcome)
    axes[0].legend(fontsize=8)
plt.show()

# %% [markdown]
# **For one query the pairwise router is the cheapest.** It takes {glue:text}`ms pairwise` ms, where LSH takes
# {glue:text}`ms LSH` and eight hubs {glue:text}`ms hubs`. (The figure adds {glue:text}`ms lookup` ms for the embeddings.) Comparing one query with n tokens is a single product of a matrix
# and a vector, and the others must first hash or summarise all tokens. They could pay where every position asks; our
# versions share no work among queries, so that was not measured. The layers cost more than any router:
# {glue:text}`ms Mamba` ms for Mamba, whose scan is compiled, {glue:text}`ms Mamba-2` for Mamba-2 in plain PyTorch and
# {glue:text}`ms attention` for attention.

# %% tags=["remove-cell"]
glue("n", f"{n:,}", display=False)
for name, workload in {
    "pairwise": "pairwise (Investigator)",
    "LSH": "LSH",
    "hubs": "hubs, 8",
    "lookup": "raw embeddings",
    "Mamba": "Mamba",
    "Mamba-2": "Mamba-2",
    "attention": "attention",
}.items():
    known_cost = milliseconds.get(workload, float("nan"))
    glue(f"ms {name}", f"{known_cost:.2f}", display=False)
glue("success", percent(SUCCESS), display=False)
glue("failure", percent(FAILURE), display=False)
both = [n for n, m in LAYERS.items() if m.representation.bidirectional]
one_way = [n for n in LAYERS if n not in both]
glue("families", len(one_way), display=False)
glue("best one way", percent(means.loc[one_way, "right"].max()), display=False)
passed = means >= SUCCESS
glue("routing both ways", int(passed.loc[both, "right"].sum()), display=False)
glue("routing left", int(passed.loc[one_way, "left"].sum()), display=False)
everything = pd.concat(
    [
        counted["layers, Distant Evidence"],
        counted["routers, Distant Evidence"],
    ]
)
failing = everything[everything.predicted == hybrids.FAILS]
wrong = int((failing.measured == hybrids.ROUTES).sum())
glue("wrongly failed", wrong, display=False)
glue("said to fail", len(failing), display=False)
on_right = counted["layers, right"]
right = int((on_right.predicted == on_right.measured).sum())
glue("right on right", right, display=False)
glue("asked on right", len(on_right), display=False)
answer = (
    f"On the paper's own task the paper's principle does not tell which of today's layers and routers work, since {wrong} of "
    f"the {len(failing)} that it says fail find the right token, but on a task where the token after the right one must be "
    f"known it is right about {right} of {len(on_right)} layers."
)
verdict = (
    f"Of {len(failing)} layers and routers that should fail on the paper's task, {wrong} route. Where only the token after "
    f"the evidence tells it from look-alikes, the principle is right about {right} of {len(on_right)} layers. Comparing "
    f"fewer pairs can be enough: on raw embeddings LSH routes at {percent(by_input.loc['LSH', 'raw embeddings'])}, "
    f"and eight hubs at {percent(by_input.loc['hubs, 8', 'raw embeddings'])}; k-means and blocks lose much. The paper's "
    f"rank-1 router can serve one question in a sequence, and at most two of many."
)
sure = (
    f"{measured(study)} The two rungs have {study.sizes.ladder.length} tokens of {study.sizes.ladder.vocabulary} kinds. "
    f"What fails here may succeed at another size or with longer training, and what lies near a line may change sides with another "
    f"seed. We would change our mind if the paper's task at its own size separated these layers."
)
close(
    "12_todays_hybrids",
    "Today's hybrids",
    answer=answer,
    sure=sure,
    verdict=verdict,
    cost=trained(study, [*results.values(), routed]),
)

# %% [markdown]
# ## What differs, and why
#
# * **The paper's task.** Its evidence is the only token equal to the query, so that it can be found without any context. This
#   is why the predicted failures do not come.
# * **Small layers.** Each layer has the width of the other chapters, and its own defaults for heads and states. They were
#   not tuned.
# * **What was not run.** The paper's size, these layers on MQAR, and these routers on the ladder.

# %% [markdown]
# ## Exercises
#
# 1. Give gated linear attention the neighbours that it lacks: put `Flow(layers=1, scan=False)` before it in a
#    `Hybrid`, or write a layer of your own ([chapter 11](11_your_own_router.ipynb)). Does it climb `left`?
# 2. Put the routers on the rung `right`: `on_ladder(study.sizes, method, "right")` for each of `ROUTERS`. Which of those
#    that route here still do?
# 3. How many hubs does a longer sequence need? Double `length` in `study.sizes.evidence`.
