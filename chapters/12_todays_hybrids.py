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
# The paper tests none of the layers and routers that are new on this page, but its principle predicts how most should do. We
# wrote the predictions down before any of these models was trained (`fcilib/ledger/hybrids.py`), each with the words of the
# paper that it rests on. That these words apply to a method is our reading. The repository's test suite checks our layers and routers against implementations that others
# wrote, where there are any.

# %% tags=["parameters"]
profile = "quick"  # smoke, quick or paper
seeds = 1
executor = "process"  # inline, process or ray
device = "cpu"  # cpu, cuda or auto
records = ""  # a folder; empty for the repository's own

# %%
from fcilib.study import Study

study = Study.from_parameters(globals())
print(study)

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
from fcilib.present.closing import close, trained
from fcilib.present.tables import labelled
from fcilib.representations import Attention, Embedding, Flow
from fcilib.routers import Investigator, RandomRouter, RankOne
from fcilib.study.notation import NONE, percent, spread
from fcilib.study.profiles import PROFILES
from fcilib.tasks import MQAR, ladder

# %% [markdown]
# ## Which layers let the paper's router succeed?
#
# Eight kinds of layer stand in front of the paper's pairwise router, which may not pick the query itself. Each reads from
# left to right or, called *bidirectional*, in both directions. They are tried on three tasks. *Distant Evidence* is the
# paper's own: the *evidence*, the position to be picked, is the only other token equal to the query. The two others are
# rungs of the [context ladder](09_context_ladder.ipynb). There three look-alikes hold the same token as the evidence, and
# only the token before it (`left`) or the token after it (`right`) distinguishes it.

# %%
pairwise = Investigator(candidates="others")
LAYERS = {m.label: m for m in hybrids.representations(study.sizes)}
KNOWN = {
    "raw embeddings": Embedding(),
    "attention": Attention(),
    "Mamba": Flow(layers=1),
    "bidirectional Mamba": Flow(layers=1, bidirectional=True),
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

# %% mystnb={"figure": {"caption": "Precision of the pairwise router behind each layer, in percent: on Distant Evidence among all positions but the query, on left and right among the evidence and its three look-alikes. The last four rows are layers of earlier chapters, where Mamba is called Flow; each is one of their seeds. The darkest colour is one in four, chance among look-alikes.", "name": "fig-layers-12"}, "image": {"alt": "A heat map of layers against three tasks. Distant Evidence is bright in every row. On left nearly all layers that recur or convolve are bright. On right only bidirectional layers are."}} tags=["remove-input", "nbval-ignore-output"]
METRICS = {
    task: "precision" if task == "Distant Evidence" else "precision_lookalike"
    for task in TASKS
}
summaries = {
    task: result.summary(METRICS[task]) for task, result in results.items()
}
means = pd.DataFrame({task: s["mean"] for task, s in summaries.items()})
spreads = pd.DataFrame({task: s["sd"] for task, s in summaries.items()})
shown = [*LAYERS, *KNOWN]
figures.heat_map(
    means.loc[shown],
    spreads.loc[shown],
    low=1 / ladder.LOOKALIKES,
)
plt.show()

# %% tags=["remove-cell"]
for name, row in means.iterrows():
    for task, value in row.items():
        glue(f"{name} {task}", percent(value), display=False)

# %% [markdown]
# **On the paper's own task the direction does not matter.** Behind a left-to-right layer of Mamba-2 the router finds the
# evidence in {glue:text}`Mamba-2 Distant Evidence` of the sequences, behind RWKV-7 in {glue:text}`RWKV-7 Distant Evidence`,
# and on raw embeddings, which have no context at all, in {glue:text}`raw embeddings Distant Evidence`. A random router finds
# it in {glue:text}`random router Distant Evidence`. The task asks for an equal token, and every layer that keeps the token's
# own vector passes it on.
#
# **On `right` the direction decides, as the paper says.** No layer that reads left to right is above
# {glue:text}`best one way`, where chance is {glue:text}`one in four`. Of the {glue:text}`families` bidirectional layers
# {glue:text}`routing both ways` reach {glue:text}`success` or more. On `left` the distinguishing token stands before the
# evidence, and reading left to right is enough for {glue:text}`routing left` of {glue:text}`families` layers, Based among them.
#
# Gated linear attention is the exception. It stays at chance on `left` ({glue:text}`gated linear attention left`), and on
# `right` even in both directions ({glue:text}`bidirectional gated linear attention right`). We do not know why. It has no
# short convolution, which [chapter 9](09_context_ladder.ipynb) shows to be enough; but HGRN2 has none, and routes. The
# training loss of gated linear attention was still falling at the end, and we did not train it for longer.

# %% [markdown]
# ## Which routers can stand in for the pairwise one?
#
# Now the router varies. The paper's pairwise router compares the query's vector with every token's. Here fewer tokens are
# compared, or none, or shorter vectors:
#
# * **LSH** (Reformer): the query is compared with the tokens that random projections put into its bucket.
# * **k-means** (Routing Transformer): the query is compared with the tokens of its cluster. A cluster has a learned centre,
#   and room for an eighth of the tokens.
# * **blocks** (MoBA, NSA): a few blocks are picked by a summary of their keys, a mean or a learned one, and the query is
#   compared with the tokens inside them.
# * **expert choice** (MoSA): each head takes a quarter of the tokens before it knows the query, and compares the query with
#   those.
# * **product keys**: no two tokens are compared; query and token meet where they address the same slots of a learned table.
# * **hubs** (HubRouter): M learned vectors, the hubs, read the sequence. A token is reduced to M numbers, its products with the
#   hubs, and the query's numbers are compared with every token's. With one hub this is nearly the *rank-1* router, which the paper
#   reports as its best: one number per token.
#
# They run on Distant Evidence, on raw embeddings and on bidirectional Mamba.

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
    means.loc["bidirectional Mamba", "Distant Evidence"],
]

# %% mystnb={"figure": {"caption": "Precision of each router on Distant Evidence, in percent, on raw embeddings and on bidirectional Mamba. The number behind hubs is how many there are. The last row is the paper's own router. The darkest colour is chance.", "name": "fig-routers-12"}, "image": {"alt": "A heat map of routers against two representations; bright for LSH, product keys and from about eight hubs on, dark for one and two hubs on raw embeddings."}} tags=["remove-input", "nbval-ignore-output"]
chance = means.loc[CHANCE, "Distant Evidence"]
figures.heat_map(by_input, by_input * float("nan"), low=chance)
plt.show()

# %% tags=["remove-cell"]
for name, row in by_input.iterrows():
    for representation, value in row.items():
        glue(f"{name}, {representation}", percent(value), display=False)

# %% [markdown]
# **A router need not compare tokens at all.** Product keys compare no two tokens, and find the evidence in
# {glue:text}`product keys, raw embeddings` of the sequences on raw embeddings and in
# {glue:text}`product keys, bidirectional Mamba` on bidirectional Mamba. The paper leaves open whether learned hashing can
# do this.
#
# **Comparing fewer pairs can be enough.** On raw embeddings LSH finds the evidence in
# {glue:text}`LSH, raw embeddings`. Expert choice must take its tokens before it knows the query, and is at
# {glue:text}`expert choice, raw embeddings`. On bidirectional Mamba it is at
# {glue:text}`expert choice, bidirectional Mamba`; there the recurrence has read the query, and can mark the tokens that
# match it.
#
# **Two kinds lose much.** K-means is at {glue:text}`k-means, raw embeddings`. Query and evidence are the same token, but their
# vectors hold their positions as well, and clusters have little room: they may be in different ones. Blocks are at {glue:text}`blocks, mean, raw embeddings` with the mean and at
# {glue:text}`blocks, learned, raw embeddings` with the learned summary: evidence in a block that was not picked can't be
# found either.
#
# **A few hubs carry it.** With one hub on raw embeddings the router finds {glue:text}`hubs, 1, raw embeddings`, with four
# {glue:text}`hubs, 4, raw embeddings` and with eight {glue:text}`hubs, 8, raw embeddings`. HubRouter's authors report 8
# to 14 hubs as reliable ([arXiv:2604.22442](https://arxiv.org/abs/2604.22442)); here 16 and 32 do as well.

# %% [markdown]
# ## The predictions, counted
#
# A method *routes* at a precision of {glue:text}`success` or more and *fails* at {glue:text}`failure` or less. In the paper
# failures are below 35% and successes above 98%; the upper line here is ours, and lower. What lies between
# the two lines counts as predicted wrongly. Two methods are left out, since the paper's words leave both outcomes open. Based reads left to right, which should fail, but has a window of
# attention, which should route. Product keys on Mamba are a learned hashing, and of that the paper says that it "remains
# open"; on raw embeddings, which should fail behind any router, product keys are counted. The others are counted by the reason for their prediction, with the paper's section:


# %% tags=["hide-input"]
def outcomes(methods, values):
    """Predicted and measured outcome of each method of which something is predicted."""
    return pd.DataFrame(
        {
            name: {
                "predicted": m.predicted,
                "measured": hybrids.outcome(values[name]),
                "precision": values[name],
                "because": m.why,
            }
            for name, m in methods.items()
            if m.predicted != hybrids.OPEN
        }
    ).T


on_rung = {rung: outcomes(LAYERS, means[rung]) for rung in ("left", "right")}
on_right = on_rung["right"]
on_its_task = pd.concat(
    [
        outcomes(LAYERS, means["Distant Evidence"]),
        outcomes(ROUTERS, precision),
    ]
)
OUTCOMES = (hybrids.ROUTES, "in between", hybrids.FAILS)
labelled(
    pd.DataFrame(
        [
            {
                "reason": f"§{why}",
                "task": task,
                "should": predicted.removesuffix("s"),
                "methods": len(part),
                **{o: int((part.measured == o).sum()) for o in OUTCOMES},
            }
            for task, found in {
                "Distant Evidence": on_its_task,
                **on_rung,
            }.items()
            for (predicted, why), part in found.groupby(
                ["predicted", "because"]
            )
        ]
    )
    .sort_values("reason", kind="stable")
    .set_index("reason"),
    "reason",
)

# %% [markdown]
# **On the paper's own task {glue:text}`right on its task` of {glue:text}`asked on its task` predictions are right.** Most of
# the failures do not come: of the {glue:text}`said to fail` methods that should fail on
# Distant Evidence {glue:text}`wrongly failed` route. These are not as many independent tests: {glue:text}`raw said to fail`
# share one reason, raw embeddings, and {glue:text}`hub counts` of those are one router with more or fewer hubs. Each has one
# seed, and two lie on a line: expert choice on raw embeddings at {glue:text}`expert choice, raw embeddings`, and learned
# blocks on Mamba at {glue:text}`blocks, learned, bidirectional Mamba`. With the line at the paper's 98%,
# {glue:text}`wrongly failed at 98` would route.
#
# The paper names no expert choice. We had read it as avoiding the comparison, since its heads take their tokens before they
# know the query, and a prediction that was written beforehand stays in the count. Read as a sparse comparison it should
# route on Mamba; then {glue:text}`wrong otherwise` of {glue:text}`said otherwise` predicted failures route.
#
# **On `left` {glue:text}`right on left` of {glue:text}`asked on left` predictions are right.** Of the
# {glue:text}`asked one way` left-to-right layers that should fail {glue:text}`wrong on left` route: the token before the
# evidence is all that they need. (Based is the eighth such layer. It routes, and is not counted.)
#
# **On `right` {glue:text}`right on right` of {glue:text}`asked on right` predictions are right.** Method by method:

# %% tags=["hide-input"]
every = {**LAYERS, **ROUTERS}
values = {
    "Distant Evidence": {
        **means.loc[list(LAYERS), "Distant Evidence"],
        **precision,
    },
    **{rung: dict(means.loc[list(LAYERS), rung]) for rung in on_rung},
}
labelled(
    pd.DataFrame(
        {
            name: {
                "predicted": m.predicted,
                **{
                    task: f"{hybrids.outcome(value[name])},\u00a0{percent(value[name])}"
                    if name in value
                    else NONE
                    for task, value in values.items()
                },
            }
            for name, m in every.items()
        }
    ).T,
    "method",
)

# %% [markdown]
# ## Several questions in one sequence
#
# The rank-1 router gives each token one number, and scores a pair by the product of the two numbers. Such a router orders all tokens of a sequence in the same way for every query, or in the opposite way, by the sign of the
# query's number. All queries of one sign therefore want the same token, and at most one of them can be right. If a
# sequence holds $N$ questions, the precision is at most $2/N$, and at most 1. The paper's task has $N = 1$.
#
# We count on associative recall with several queries (MQAR, in Zoology's form {cite:p}`arora2024zoology`): $N$ pairs of
# a key and a value, then each key once more. That second copy is a query, and the evidence is the first. In every sequence
# one of the $N$ queries is drawn at random and asked, so that shares of questions and of sequences are the same. A router
# that knows positions and nothing else picks one of the $N$ keys, and is right in $1/N$: always, if there is one question.


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
    "rank-1, bidirectional Mamba": (
        KNOWN["bidirectional Mamba"],
        RankOne(candidates="others"),
    ),
    "pairwise, bidirectional Mamba": (KNOWN["bidirectional Mamba"], pairwise),
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
most = max(NUMBERS)
rank_one = "rank-1, bidirectional Mamba"
answered = several[most].summary("accuracy")["mean"]
for name, text in {
    "most questions": most,
    "rank-1 at most": percent(precisions[most].loc[rank_one, "mean"]),
    "rank-1 at two": percent(precisions[2].loc[rank_one, "mean"]),
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
# **One number per token is not enough for many questions.** The row with one question shows nothing about rank one, since
# positions alone are right there. That one number can be enough for one question is shown in
# [chapter 6](06_escape_routes.ipynb), on Distant Evidence and with longer training. (One hub is nearly the same router. It had
# {glue:text}`hubs, 1, bidirectional Mamba` above, on Distant Evidence without the longer training.) With two questions one
# order of the tokens could serve both, if the queries' numbers have opposite signs; training found
# {glue:text}`rank-1 at two`. With {glue:text}`most questions` questions it has {glue:text}`rank-1 at most`, between the {glue:text}`floor at most` of positions alone and the
# {glue:text}`bound at most` that counting allows. The pairwise router loses nothing: {glue:text}`raw at most` on raw
# embeddings. What rank one saves is measured in [chapter 10](10_cost.ipynb).
#
# Routing is not answering. With {glue:text}`most questions` questions the model behind the rank-1 router still answers
# {glue:text}`rank-1 answers` of those asked: its recurrence has learned to recall by itself, and needs no router. The pairwise
# router on raw embeddings finds every evidence, and its model answers {glue:text}`raw answers`. The evidence is a key, and
# without a layer its vector does not hold the value that stands behind it.

# %% [markdown]
# ## What does a query cost?
#
# Precision is one axis, cost is the other. The time below is that of one query in a sequence of {glue:text}`n` tokens: a
# forward pass of the representation, and the router's pick, on one thread. [Chapter 10](10_cost.ipynb) describes the meter; its own times were measured on another occasion, and differ
# from these.

# %%
n = min(4096, max(study.sizes.cost.lengths))
width = study.sizes.width


def in_record(name):
    """What the record of costs calls a layer."""
    one_way = name.removeprefix("bidirectional ")
    return name if name == one_way else f"{one_way}, both ways"


costs = study.measure(
    Bench(
        workloads={
            **{
                in_record(name): Represent(
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
milliseconds = milliseconds.rename({in_record(name): name for name in shown})

# %% mystnb={"figure": {"caption": "The time of one query, logarithmic, and what it buys. Above: layers in front of the pairwise router, by their outcome on right. Below: routers on raw embeddings, by their outcome on Distant Evidence. Each time is that of representation and router together. The number is the precision in percent.", "name": "fig-map-12"}, "image": {"alt": "Two panels of rows with a mark each, sorted by time. Among layers, those that route are bidirectional and take about twice the time. Among routers, the pairwise one is fastest and routes."}} tags=["remove-input", "nbval-ignore-output"]
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
        sharex=True,
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
        ax.set(xscale="log", title=title)
        ax.margins(x=0.12)
        ax.xaxis.set_minor_formatter("")
        ax.tick_params(labelbottom=True)
    axes[1].set_xlabel("ms for one query")
    for outcome, (color, marker) in MARKS.items():
        axes[0].plot([], [], marker, color=color, label=outcome)
    fig.legend(loc="outside upper center", ncols=3)
plt.show()

# %% [markdown]
# **For one query the pairwise router is the cheapest.** On raw embeddings it takes {glue:text}`ms pairwise` ms, where LSH
# takes {glue:text}`ms LSH` and eight hubs {glue:text}`ms hubs`. Comparing one query with n tokens is a single product of a
# matrix and a vector, and the others must first hash or summarise all tokens. They could pay where every position asks; our
# versions share no work among queries, so that was not measured. The layers cost more than any router:
# {glue:text}`ms Mamba` ms for Mamba, whose scan is compiled, {glue:text}`ms Mamba-2` for Mamba-2 in plain PyTorch and
# {glue:text}`ms attention` for attention.

# %% tags=["remove-cell"]
glue("n", f"{n:,}", display=False)
for name, (layer, router) in {
    "pairwise": ("raw embeddings", "pairwise (Investigator)"),
    "LSH": ("raw embeddings", "LSH"),
    "hubs": ("raw embeddings", "hubs, 8"),
    "Mamba": ("Mamba", "pairwise (Investigator)"),
    "Mamba-2": ("Mamba-2", "pairwise (Investigator)"),
    "attention": ("attention", "pairwise (Investigator)"),
}.items():
    together = milliseconds.reindex([layer, router]).sum(skipna=False)
    glue(f"ms {name}", f"{together:.2f}", display=False)
glue("success", percent(SUCCESS), display=False)
glue("failure", percent(FAILURE), display=False)
both = [n for n, m in LAYERS.items() if m.representation.bidirectional]
one_way = [n for n in LAYERS if n not in both]
glue("families", len(one_way), display=False)
glue("best one way", percent(means.loc[one_way, "right"].max()), display=False)
passed = means >= SUCCESS
glue("routing both ways", int(passed.loc[both, "right"].sum()), display=False)
glue("routing left", int(passed.loc[one_way, "left"].sum()), display=False)
failing = on_its_task[on_its_task.predicted == hybrids.FAILS]
wrong = int((failing.measured == hybrids.ROUTES).sum())
glue("wrongly failed", wrong, display=False)
glue("said to fail", len(failing), display=False)
raw = failing.because == ROUTERS["LSH"].why
glue("raw said to fail", int(raw.sum()), display=False)
glue("hub counts", len(hybrids.HUBS), display=False)
strictly = int((failing.precision >= 0.98).sum())
glue("wrongly failed at 98", strictly, display=False)
other = failing.drop(f"expert choice{SUFFIX}")
other_wrong = int((other.measured == hybrids.ROUTES).sum())
glue("wrong otherwise", other_wrong, display=False)
glue("said otherwise", len(other), display=False)
glue("one in four", percent(1 / ladder.LOOKALIKES), display=False)
right = {}
for where, table in {**on_rung, "its task": on_its_task}.items():
    agreeing = int((table.predicted == table.measured).sum())
    right[where] = f"{agreeing} of {len(table)}"
    glue(f"right on {where}", agreeing, display=False)
    glue(f"asked on {where}", len(table), display=False)
on_left = on_rung["left"]
on_left = on_left[on_left.predicted == hybrids.FAILS]
left_wrong = int((on_left.measured == hybrids.ROUTES).sum())
glue("wrong on left", left_wrong, display=False)
glue("asked one way", len(on_left), display=False)
answer = (
    f"The paper's principle predicts well which layers route where the token after the evidence must be known "
    f"({right['right']} predictions are right), and badly where the token before it is enough ({right['left']}) or no context "
    f"is needed, as on the paper's own task ({right['its task']})."
)
verdict = (
    f"Of the methods that should fail {wrong} of {len(failing)} route on the paper's task, and {left_wrong} of {len(on_left)} "
    f"where the token before the evidence is enough. These are not independent tests: {int(raw.sum())} of the {len(failing)} "
    f"share one reason. On the paper's task the router need not compare tokens at all: without any layer product keys, which "
    f"compare none, find the evidence in {percent(by_input.loc['product keys', 'raw embeddings'])} of the sequences. LSH, which "
    f"compares few, finds it in {percent(by_input.loc['LSH', 'raw embeddings'])}; k-means and blocks lose much. Eight numbers "
    f"per token are enough ({percent(by_input.loc['hubs, 8', 'raw embeddings'])}). If a sequence asks several questions, the "
    f"paper's rank-1 router can find the evidence of two at most."
)
of_evidence, of_rungs = study.sizes.evidence, study.sizes.ladder
seeds_here = f"{study.seeds} seed{'s' if study.seeds > 1 else ''}"
sure = (
    f"Measured with {seeds_here}, on {of_evidence.length} tokens, where the paper has {PROFILES['paper'].evidence.length}, "
    f"and on {of_rungs.length} where a neighbour or several questions matter. What fails here may succeed at another size or "
    f"with longer training, and a method near {percent(FAILURE)} or {percent(SUCCESS)}, our lines for "
    f"failing and routing, may cross it with another seed. We would change our mind if on the "
    f"paper's task at its own size left-to-right layers failed and bidirectional ones did not."
)
close(
    "12_todays_hybrids",
    "Today's hybrids",
    answer=answer,
    sure=sure,
    verdict=verdict,
    cost=trained(study, [*results.values(), routed, *several.values()]),
)

# %% [markdown]
# ## What differs, and why
#
# * **The paper's task.** Its evidence is the only other token equal to the query, and can be found without any context. This
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
