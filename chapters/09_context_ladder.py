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
# # 9. The context ladder
#
# **The question.** A *router* has to pick one token, the *evidence*, for another, the *query*. If several tokens look like
# the evidence, what must the router know about their context?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **The claim.** Routing needs vectors with context from both sides *and* a pairwise comparison. Bidirectional Mamba,
# Perceiver hubs, and full, causal or sparse attention provide that context equally well; a recurrence in one direction
# fails {cite:p}`basu2026routing` (§4.6, §5).
#
# The paper's task cannot decide its claim. There the evidence is the only other token equal to the query, and *raw
# embeddings*, a vector for each token plus one for its position, suffice ([chapter 1](01_phase_transition.ipynb)). Here the
# evidence has *look-alikes*. What distinguishes it from them moves away from the token, rung by rung. The router is the
# paper's pairwise one, and may not pick the query itself.

# %% tags=["parameters"]
profile = "quick"  # smoke, quick or paper
seeds = 3
executor = "process"  # inline, process or ray
device = "cpu"  # cpu, cuda or auto
records = ""  # a folder; empty for the repository's own

# %% tags=["hide-cell"]
from fcilib.study import Study

study = Study.from_parameters(globals())
base, budget = study.sizes.ladder, study.sizes.climbing
print(
    f"profile {study.profile}, seeds: {study.seeds}\n"
    f"{base.length} tokens of {base.vocabulary} kinds, "
    f"vectors of width {study.sizes.width}",
)

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import HTML
from matplotlib.patches import Patch, Rectangle
from myst_nb import glue

from fcilib.ledger.agreement import STANDARD
from fcilib.ledger.catalogue import CHANCE
from fcilib.ledger.claims import claims
from fcilib.ledger.trial import drift
from fcilib.model import by_hand
from fcilib.present import figures
from fcilib.present.closing import TRAINED, close
from fcilib.present.paper_size import paper_records, paper_text
from fcilib.present.tables import labelled
from fcilib.representations import (
    Attention,
    Contrastive,
    Embedding,
    Flow,
    Hybrid,
    Perceiver,
)
from fcilib.routers import Investigator, RandomRouter
from fcilib.study.notation import NONE, percent, texts
from fcilib.tasks import ladder
from fcilib.training.experiment import Lesson
from fcilib.training.loop import evaluate

# %% [markdown]
# ## Four rungs
#
# Each sequence holds a query and four candidates at random places: the evidence and three look-alikes. Behind each of the
# four stands a value. The model is also trained to answer with the evidence's value; this page measures only what is
# picked. What distinguishes the evidence from its look-alikes is
#
# * **`token`:** the token itself. Only the evidence equals the query; the three others are other tokens.
# * **`left`:** the token before it. All four equal the query, and only the evidence has the same token before it as the query.
# * **`right`:** the token after it. All four equal the query, and only the evidence has the same token after it as the query.
# * **`hop`:** a definition elsewhere in the sequence. A definition is three tokens, "1, *k*, *m*", and says that *k* means *m*.
#   Each of the four candidates is the *m* of one definition. The evidence is the candidate whose definition has the query as its
#   *k*. None of the four equals the query.
#
# A router that cannot distinguish the four is right in a quarter of the cases.

# %% mystnb={"figure": {"caption": "One drawn sequence of each rung. A sequence is a row, a token a cell. Token 0 announces the query, and token 1 begins a definition. On left the query's neighbour stands between token 0 and the query. The frames show what distinguishes the evidence from its look-alikes: nothing but the token itself (token), the token before it (left), the token after it (right), or a definition that maps the query's token to the evidence's (hop). The value is what the model has to answer with.", "name": "fig-rungs"}, "image": {"alt": "Four rows of numbered cells. In each, the query, the evidence, its value and three look-alikes are coloured, and frames mark the cells that distinguish the evidence."}} tags=["hide-input", "nbval-ignore-output"]
RUNGS = ("token", "left", "right", "hop")
tasks = {rung: base.model_copy(update={"rung": rung}) for rung in RUNGS}
TELLS = {
    "token": "token: only the evidence holds the query's token",
    "left": "left: all four hold the query's token; the evidence has the same token before it",
    "right": "right: all four hold the query's token; the evidence has the same token after it",
    "hop": "hop: 1, k, m defines that a query k means the evidence m",
}
COLORS = {
    "query": "#56B4E9",
    "evidence": "#E69F00",
    "value": "#8FD6B8",
    "look-alike": "#F5DFA8",
    "other": "#f2f2f2",
}


def telling(rung, tokens, q, a):
    """The positions whose tokens distinguish the evidence from its look-alikes."""
    if rung == "hop":
        defines = (tokens == ladder.ALIAS).nonzero().flatten().tolist()
        (at,) = [i for i in defines if tokens[i + 1] == tokens[q]]
        return [q, at, at + 1, at + 2, a]
    step = {"token": 0, "left": -1, "right": 1}[rung]
    return [q + step, a + step]


def show_rung(ax, rung):
    example = tasks[rung].draw(1, seed=7)
    tokens, alike = example.tokens[0], example.lookalikes[0].tolist()
    q, a = example.query.item(), example.evidence.item()
    roles = dict.fromkeys(alike, "look-alike") | {q: "query", a: "evidence"}
    roles[a + (2 if rung == "right" else 1)] = "value"
    frames = telling(rung, tokens, q, a)
    for i, token in enumerate(tokens.tolist()):
        color = COLORS[roles.get(i, "other")]
        ax.add_patch(Rectangle((i, 0), 1, 1, fc=color, ec="white"))
        ax.text(i + 0.5, 0.46, token, ha="center", va="center", fontsize=8)
    for i in frames:
        ax.add_patch(Rectangle((i, 0), 1, 1, fill=False, ec="black", lw=1.6))
    ax.set(xlim=(0, len(tokens)), ylim=(0, 1.02))
    ax.axis("off")
    ax.set_title(TELLS[rung], loc="left", fontsize=9, pad=2)


fig, axes = plt.subplots(4, 1, figsize=(9, 3), layout="constrained")
for ax, rung in zip(axes, RUNGS, strict=True):
    show_rung(ax, rung)
fig.legend(
    handles=[Patch(color=c, label=n) for n, c in COLORS.items()],
    loc="outside lower center",
    ncols=5,
    fontsize=9,
    frameon=False,
)
plt.show()

# %% [markdown]
# ## Which vectors climb how far?
#
# Twelve representations stand in front of the same router. Each trains for {glue:text}`steps` steps, in {glue:text}`passes` passes
# over the same {glue:text}`sequences` sequences. *Flow* is the paper's name for its recurrence, here one Mamba block that reads from
# left to right; *bidirectional Mamba* has a block in each direction. In *sparse attention* a token sees those at most
# {glue:text}`reach` away, and a few positions that every token sees. *Contrastive* embeddings are first trained to be alike
# for a query and its evidence. In a *Perceiver* a few hubs read all tokens and hand back what they read.

# %%
# The paper's sparse pattern, and as large a share of a sequence as there:
sparse = {"window": base.length // 8, "global_tokens": base.length // 16}
STACK = "bidirectional Mamba, then attention"
REPRESENTATIONS = {
    "raw embeddings, no positions": Embedding(positions="none"),
    "raw embeddings": Embedding(),
    "contrastive": Contrastive(frozen=False, epochs=budget.epochs),
    "Perceiver, 16 hubs": Perceiver(hubs=16),
    "sparse attention": Attention(mask="sparse", **sparse),
    "causal attention, 1 layer": Attention(mask="causal"),
    "causal attention, 2 layers": Attention(layers=2, mask="causal"),
    "attention, 1 layer": Attention(),
    "attention, 2 layers": Attention(layers=2),
    "Flow": Flow(layers=1),
    "bidirectional Mamba": Flow(layers=1, bidirectional=True),
    STACK: Hybrid(layers=("bidirectional-flow", "attention")),
}
pairwise = Investigator(candidates="others")


def climb(rung, representation, router=pairwise, training=budget, **more):
    return study.experiment(
        task=tasks[rung],
        representation=representation,
        router=router,
        training=training,
        **more,
    )


results = {}
for rung in RUNGS:
    runs = {
        name: climb(rung, representation)
        for name, representation in REPRESENTATIONS.items()
    }
    stack = {STACK: runs.pop(STACK)}  # the dearest: one seed
    chance = RandomRouter(candidates="others")
    runs[CHANCE] = climb(rung, Embedding(), chance)
    results[rung] = study.run(runs) | study.run(stack, seeds=1)

# %% mystnb={"figure": {"caption": "Precision among the evidence and its three look-alikes after the last epoch, in percent, mean and standard deviation over seeds: is the evidence scored above the other three? A row is a representation, a column a rung. The darkest colour is one in four, chance. The last row has one seed.", "name": "fig-ladder"}, "image": {"alt": "A heat map of representations against rungs. All rows are bright on the first rung; on left those with a recurrence or a window, on right those with a recurrence in both directions or a window; on hop hardly any."}} tags=["remove-input", "nbval-ignore-output"]
among = {
    rung: result.summary("precision_lookalike")
    for rung, result in results.items()
}
means = pd.DataFrame({rung: s["mean"] for rung, s in among.items()})
spreads = pd.DataFrame({rung: s["sd"] for rung, s in among.items()})
shown = list(REPRESENTATIONS)
figures.heat_map(
    means.loc[shown], spreads.loc[shown], low=1 / ladder.LOOKALIKES
)
plt.show()

# %% tags=["remove-cell"]
for rung in RUNGS:
    for name, text in texts(among[rung]).items():
        glue(f"{name} {rung}", text, display=False)
steps = budget.epochs * -(-budget.sequences // budget.batch)
glue("steps", f"{steps:,}", display=False)
glue("sequences", f"{budget.sequences:,}", display=False)
glue("passes", budget.epochs, display=False)
glue("reach", sparse["window"] // 2, display=False)
hop = tasks["hop"].draw(budget.held_out, seed=0, split="test")
key = hop.tokens.gather(1, hop.query[:, None])
defined = (hop.tokens[:, :-1] == ladder.ALIAS) & (hop.tokens[:, 1:] == key)
assert (defined.sum(dim=1) == 1).all()
before = defined.int().argmax(dim=1) < torch.maximum(hop.query, hop.evidence)
seen = before.float().mean().item()
glue("seen", percent(seen), display=False)
guessed = seen + (1 - seen) / ladder.LOOKALIKES
glue("seen or guessed", percent(guessed), display=False)

# %% [markdown]
# **Context helps only if it contains what distinguishes the evidence from its look-alikes.**
#
# * On `token` nothing else is needed. Every representation finds the evidence, the raw embeddings included.
# * On `left` the distinguishing token comes *before* the evidence, and left-to-right Flow finds it: {glue:text}`Flow left`.
#   Raw embeddings stay at {glue:text}`raw embeddings left`. (The next section shows that Flow's convolution does this.)
# * On `right` it comes *after*. Here one direction fails, as the paper says: Flow has {glue:text}`Flow right`, and
#   bidirectional Mamba {glue:text}`bidirectional Mamba right`.
# * One layer of attention over all positions learned neither `left` nor `right`: {glue:text}`attention, 1 layer left` and
#   {glue:text}`attention, 1 layer right`. Sparse attention learned both.
# * On `hop` two causal layers get farthest, {glue:text}`causal attention, 2 layers hop`. That is not all that they could do.
#   In {glue:text}`seen` of the sequences the definition stands before the query or before the evidence, where a causal
#   model sees it. A model that used the definition there, and guessed elsewhere, would be right in {glue:text}`seen or guessed`.

# %% [markdown]
# ## Which part of the Mamba block does it?
#
# A Mamba block is two things: a convolution that hands each token the three before it, and a scan that carries a state
# along the sequence. Either can be left out: `scan=False` keeps only the convolution, and `conv=1`, a convolution of one
# tap, keeps only the scan.

# %%
PARTS = {
    "convolution and scan": {},
    "convolution alone": {"scan": False},
    "scan alone": {"conv": 1},
}
one_way = study.run(
    {n: climb("left", Flow(layers=1, **p)) for n, p in PARTS.items()},
    seeds=1,
)
both_ways = {"layers": 1, "bidirectional": True}
two_ways = study.run(
    {n: climb("right", Flow(**both_ways, **p)) for n, p in PARTS.items()},
    seeds=1,
)


# %% tags=["remove-input"]
def best_and_last(result):
    """The best epoch and the last, by condition: means over seeds."""
    curves = result.curves.set_index(["condition", "seed", "epoch"])
    curves = curves.precision_lookalike.groupby(["condition", "seed"])
    best, last = curves.max(), curves.last()
    return {
        kind: values.groupby("condition", sort=False).mean().map(percent)
        for kind, values in {"best": best, "last": last}.items()
    }


ways = {"left, one direction": one_way, "right, both": two_ways}
by_part = pd.DataFrame(
    {
        f"{way}: {kind}": values
        for way, result in ways.items()
        for kind, values in best_and_last(result).items()
    }
).loc[list(PARTS)]
labelled(by_part, "among look-alikes, by epoch")

# %% tags=["remove-cell"]
for way, result in {"left": one_way, "right": two_ways}.items():
    for name, text in texts(result.summary("precision_lookalike")).items():
        glue(f"{name} {way}", text, display=False)

# %% [markdown]
# **The convolution alone is enough:** {glue:text}`convolution alone left` on `left` and {glue:text}`convolution alone right`
# on `right`, after the last epoch. The scan alone learns more slowly, and was not trained for longer:
# {glue:text}`scan alone left` and {glue:text}`scan alone right`. This table has one seed. For the block with both parts, on `left`,
# that seed is a low one: over three seeds the block had {glue:text}`Flow left`.

# %% [markdown]
# ## Was the training too short?
#
# A representation that stays at chance may only be slow. We therefore trained three models for longer, with one seed each.
# They saw new sequences in every epoch, so that nothing could be learned by heart.
#
# * On `left` one layer of attention got {glue:text}`four times` steps.
# * On `left` one layer of attention with sines and cosines for positions got {glue:text}`twice` steps. With them "one to the
#   left" is the same rotation everywhere.
# * On `hop` a stack, bidirectional Mamba below attention, got {glue:text}`twice` steps. The first {glue:text}`lesson steps` are a
#   *lesson*: a sequence has only the query and the definitions, and the router has to pick the *m* that the query means. Then
#   the evidence and its look-alikes join.
#
# In the table a run is *at rest* if its precision has stopped moving: between the last two tenths of its epochs it changed by one
# point at most.

# %%
lesson_task = base.model_copy(update={"rung": "alias"})


def longer(times):
    changes = {"data": "fresh", "epochs": times * budget.epochs}
    return budget.model_copy(update=changes)


lesson = Lesson(task=lesson_task, epochs=max(1, 2 * longer(2).epochs // 5))
TAUGHT = f"{STACK}, after a lesson"
WAVES = "attention, sines and cosines"
LONGER = {
    "left": {
        "attention, 1 layer": climb("left", Attention(), training=longer(4)),
        WAVES: climb(
            "left", Attention(positions="sinusoidal"), training=longer(2)
        ),
    },
    "hop": {
        TAUGHT: climb(
            "hop",
            REPRESENTATIONS[STACK],
            training=longer(2),
            lesson=lesson,
        ),
    },
}
long_runs = {
    rung: study.run(conditions, seeds=1) for rung, conditions in LONGER.items()
}
# %% mystnb={"figure": {"caption": "Precision among look-alikes by training steps, on held-out sequences. Solid: five of the twelve representations of the heat map, named above, mean and one standard deviation over seeds. Dotted: the longer runs, named below, on new sequences in every epoch, one seed; on hop the lesson comes first. The steps are on a logarithmic axis. The dashed grey line is chance, one in four.", "name": "fig-ladder-epochs"}, "image": {"alt": "Three panels of learning curves for left, right and hop, with solid lines for the shorter runs and dotted lines for the longer ones."}} tags=["remove-input", "nbval-ignore-output"]
CURVES = {
    "Flow": "Flow",
    "bidirectional Mamba": "bidirectional Mamba",
    "attention, 1 layer": "attention",
    "sparse attention": "sparse attention",
    "causal attention, 2 layers": "causal attention, 2 layers",
}
DOTTED = {
    "attention, 1 layer": ("attention", figures.style("attention")),
    WAVES: (WAVES, {"color": "#882255"}),
    TAUGHT: (TAUGHT, {"color": "#009E73"}),
}
each = steps // budget.epochs
with figures.look():
    fig, axes = plt.subplots(
        1, 3, sharex=True, sharey=True, figsize=(9, 4.6), layout="constrained"
    )
    of_longer = []
    for ax, rung in zip(axes, RUNGS[1:], strict=True):
        curves = results[rung].curves.groupby(["condition", "epoch"])
        curves = curves.precision_lookalike.agg(["mean", "std"])
        for name, label in CURVES.items():
            line = curves.loc[name]
            figures.band(
                ax, each * line.index, line["mean"], line["std"], label, ms=4
            )
        longest = long_runs.get(rung)
        parts = () if longest is None else longest.curves.groupby("condition")
        for name, part in parts:
            label, kind = DOTTED[name]
            of_longer += ax.plot(
                each * part.epoch,
                100 * part.precision_lookalike,
                ls=":",
                lw=2,
                color=kind["color"],
                label=label,
            )
        ax.axhline(100 / ladder.LOOKALIKES, color="#777777", ls="--", lw=1.2)
        ax.set_title(rung)
        ax.set_xlabel("steps")
        ax.set_xscale("log")
        ax.set_xticks(ticks := (300, 1000, 3000), ticks)
        ax.minorticks_off()
    axes[0].set_ylabel("among look-alikes (%)")
    axes[0].set_ylim(-4, 104)
    fig.legend(
        *axes[1].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=3,
        fontsize=10,
    )
    fig.legend(
        handles=of_longer,
        loc="outside lower center",
        ncols=3,
        fontsize=9,
        title="for longer",
        title_fontsize=9,
    )
plt.show()

# %% tags=["remove-input"]
rows = []
for rung, runs in long_runs.items():
    for (name, _), record in runs.records.items():
        first = record.experiment.lesson
        curve = record.curve["precision_lookalike"][
            first.epochs if first else 0 :
        ]
        rows.append(
            {
                "rung": rung,
                "representation": name,
                "steps on the rung": f"{each * len(curve):,}",
                "best epoch": percent(max(curve)),
                "last epoch": percent(curve[-1]),
                "at rest": "yes" if drift(curve) <= STANDARD.at_rest else "no",
            }
        )
labelled(pd.DataFrame(rows).set_index("rung"), "longer runs")

# %% tags=["remove-cell"]
for row in rows:
    key = f"longer {row['representation']} {row['rung']}"
    glue(key, row["last epoch"], display=False)
for times, word in ((2, "twice"), (4, "four times")):
    glue(word, f"{times * steps:,}", display=False)
glue("lesson steps", f"{each * lesson.epochs:,}", display=False)
on_hop = longer(2).epochs - lesson.epochs
glue("task steps", f"{each * on_hop:,}", display=False)
((_, taught),) = long_runs["hop"].records.items()
glue("lesson first", f"{taught.curve['loss'][0]:.1f}", display=False)
glue(
    "lesson last",
    f"{taught.curve['loss'][lesson.epochs - 1]:.1f}",
    display=False,
)
falls = [
    (best_epoch - end, name, rung)
    for rung, result in results.items()
    for (name, _), record in result.records.items()
    for c in [record.curve["precision_lookalike"]]
    for best_epoch, end in [(max(c), c[-1])]
    if name != CHANCE and best_epoch - end > 0.02
]
glue("falls", len(falls), display=False)
glue("trained", sum(len(r.records) for r in results.values()), display=False)
glue(
    "largest fall",
    f"{100 * max(falls)[0]:.1f}" if falls else "0",
    display=False,
)

# %% [markdown]
# **On `left`, one layer of attention over all positions stays at chance:** {glue:text}`longer attention, 1 layer left`
# after {glue:text}`four times` steps, and {glue:text}`longer attention, sines and cosines left` with sines and cosines
# after {glue:text}`twice`.
#
# **Two causal layers were still rising on `left`** when training ended ({glue:text}`causal attention, 2 layers left`, one
# seed far above the others). We did not train them for longer, so that it is open how far they get.
#
# **On `hop` a lesson was not enough.** The model ends at
# {glue:text}`longer bidirectional Mamba, then attention, after a lesson hop`. This says little about longer training: on `hop`
# itself the model had {glue:text}`task steps` steps, about as many as the others. Nor does it say much about lessons, for this one was
# learned only in part. Its training loss fell from {glue:text}`lesson first` to {glue:text}`lesson last`; learned in full, it would
# be near zero.

# %% [markdown]
# ## Is there anything to be learned?
#
# Yes. For every rung we set weights by hand that find the evidence. Nothing is trained here; `fcilib/model/by_hand.py` has every
# weight.

# %%
BY_HAND = {
    ("token", "one-hot tokens, no layer"): by_hand.token_by_hand,
    ("left", "convolution alone"): lambda t: by_hand.convolution_by_hand(
        t, -1
    ),
    ("left", "attention, 1 layer"): lambda t: by_hand.neighbour_by_hand(t, -1),
    ("right", "convolution alone"): lambda t: by_hand.convolution_by_hand(
        t, 1
    ),
    ("right", "attention, 1 layer"): lambda t: by_hand.neighbour_by_hand(t, 1),
    ("hop", "attention, 1 layer"): by_hand.meaning_by_hand,
}
controls = {}
for (rung, name), build in BY_HAND.items():
    held_out = tasks[rung].draw(1000, seed=0, split="test")
    model = build(tasks[rung])
    controls[rung, name] = evaluate(model, held_out, budget)["precision"]

# %% tags=["remove-cell"]
# On `right`, read from left to right, with 0 to 4 of the four before the query, all equally likely. Evidence behind the
# query may be found: the last candidate whose vector has not seen the match. Evidence before it is one of those, unseen.
four = ladder.LOOKALIKES
one_way_right = sum(
    (four - ahead) / four + (ahead > 0) / four for ahead in range(four + 1)
) / (four + 1)
glue("one way right", percent(one_way_right), display=False)
glue("width beside", 2 * base.vocabulary + base.length, display=False)
glue("width hop", base.vocabulary + 2 * base.length, display=False)
glue("width trained", study.sizes.width, display=False)

# %% tags=["remove-input"]
labelled(
    pd.DataFrame(
        [
            {
                "rung": rung,
                "weights by hand": name,
                "precision, all positions": percent(value),
                "chance": percent(
                    results[rung].summary("precision").loc[CHANCE, "mean"]
                ),
            }
            for (rung, name), value in controls.items()
        ]
    ).set_index("rung"),
    "by hand",
)

# %% [markdown]
# **One layer of attention is enough for `left` and `right`.** Each position attends to its neighbour and copies the
# neighbour's token.
#
# **It is enough for `hop` as well**, although `hop` seems to chain two facts. Each token attends to *the other occurrence of
# itself* and copies its place. Say that the definition "k means m" has k at position 5 and m at position 6. The query k then
# holds 5 and the evidence m holds 6. The router looks for the place that is one larger: its comparison is the second step of the
# chain.
#
# By hand, attention on `left` and `right` has width {glue:text}`width beside` and one head, and on `hop` width
# {glue:text}`width hop`. Trained models have width {glue:text}`width trained` and four heads. On `left` and `right` it is therefore
# most likely training that fails in attention over all positions, and not capacity.
#
# **Left-to-right Flow cannot solve `right` fully.** At a candidate it has not read the token after it. But where the query's two
# tokens have already come again, a later candidate can know that it is not the evidence. If the evidence comes after the query, it
# is therefore the last candidate that does not know this. If it comes before the query, the router can only guess. By counting,
# no weights find more than {glue:text}`one way right`. Whether any come near that we do not know; trained Flow is at
# {glue:text}`Flow right`.

# %% [markdown]
# ## What the paper says, what we measured, chance
#
# {glue:text}`verdict`
#
# The table has the paper's number for each representation on the paper's task, and the rungs on which it is above one half here, in
# every seed or in some. Precision is that among look-alikes, where chance is one quarter. In the paper causal attention, which
# sees one side only, does as well as attention to both sides. The paper's numbers for attention differ by less than a point between
# its sections; the table has those of §4.7, where the two are compared.

# %% tags=["remove-input"]
PAPER = {
    "raw embeddings, no positions": "content-only",
    "raw embeddings": "raw",
    "contrastive": "contrastive-tuned",
    "Perceiver, 16 hubs": "perceiver-16",
    "sparse attention": "sparse-attention",
    "causal attention, 1 layer": "scale-causal-1",
    "causal attention, 2 layers": "scale-causal-2",
    "attention, 1 layer": "scale-bidirectional-1",
    "attention, 2 layers": "scale-bidirectional-2",
    "Flow": "flow",
    "bidirectional Mamba": "bidirectional-mamba",
}
said = claims()
in_seeds = {
    rung: result.frame.groupby("condition").precision_lookalike.agg(
        lambda values: (values > 0.5).mean()
    )
    for rung, result in results.items()
}


def climbs(name):
    """The rungs on which it is above one half, in all seeds or in some."""
    shares = {rung: share[name] for rung, share in in_seeds.items()}
    rungs = [
        rung if share == 1 else f"{rung} (some seeds)"
        for rung, share in shares.items()
        if share
    ]
    return ", ".join(rungs) or "none"


listed = [*shown, CHANCE]
labelled(
    pd.DataFrame(
        {
            "paper, its task": {
                name: str(said[PAPER[name]]) if name in PAPER else NONE
                for name in listed
            },
            "above one half here": {name: climbs(name) for name in listed},
        }
    ),
    "representation",
)

# %% tags=["remove-cell"]
mean = means.map(percent)
best_hop = max(
    means.loc[shown, "hop"].max(),
    long_runs["hop"].summary("precision_lookalike")["mean"].max(),
)
answer = (
    "Only the context that sets the evidence apart: none if its own token already differs from the others, and that of one side if "
    "only a neighbour on that side differs."
)
verdict = (
    f"“Both sides” is not the ingredient. If the evidence differs in its own token, raw embeddings suffice. If it differs in "
    f"the token before, one Mamba block that reads from left to right finds it: {texts(among['left'])['Flow']}, where chance is "
    f"{percent(1 / ladder.LOOKALIKES)}. The block's convolution does this. If the evidence differs in the token after, that block is at "
    f"chance, and bidirectional Mamba finds it: {texts(among['right'])['bidirectional Mamba']}. One layer of attention over all positions "
    f"learns to use neither the token before nor the token after, although weights set by hand solve both. Attention within a window "
    f"learns both. If only a definition elsewhere differs, the best that we trained is at {percent(best_hop)}. Why training does not "
    f"find the weights that exist is open."
)
sure = (
    f"Measured on {base.length} tokens, in {steps:,} steps; seeds: {study.seeds}, or one where the text says so. "
    f"One layer of attention did not learn to use the token before, and with four times the steps it still did not. The paper has no "
    f"such task, and no run is of its sizes. We would change our mind if a task whose distinguishing token comes before the "
    f"evidence were learned only by models that read in both directions."
)
all_runs = [*results.values(), one_way, two_ways, *long_runs.values()]
records = {
    r.identity: r for result in all_runs for r in result.records.values()
}
by_seed = {}
for record in records.values():
    by_seed.setdefault(record.experiment.seed, []).append(record.seconds)
cost = TRAINED.format(
    models=len(by_seed[study.chosen[0]]),
    minutes=f"{sum(by_seed[study.chosen[0]]) / 60:.0f}",
    profile=study.profile,
)
close(
    "09_context_ladder",
    "The context ladder",
    answer=answer,
    sure=sure,
    verdict=verdict,
    cost=cost,
)

# %% tags=["remove-cell"]
# The book's first page shows this figure: what the paper's task asks for, and what a task with look-alikes does.
plain = {
    f"{name}, {c}": study.experiment(
        representation=representation, router=Investigator(candidates=c)
    )
    for name, representation in {
        "raw": Embedding(),
        "token alone": Embedding(positions="none"),
        "attention": Attention(),
    }.items()
    for c in ("all", "others")
}
on_its_task = study.run(plain)
BARS = {
    "raw embeddings, query excluded": ("raw, others", "precision", "raw"),
    "raw embeddings, query included": ("raw, all", "precision", "raw"),
    "token alone, query included, tie lost": (
        "token alone, all",
        "precision_tie_lost",
        "content-only",
    ),
    "token alone, query included, tie won": (
        "token alone, all",
        "precision_tie_won",
        "content-only",
    ),
    "attention, query excluded": (
        "attention, others",
        "precision",
        "one-layer",
    ),
    "attention, query included": ("attention, all", "precision", "one-layer"),
}
LINES = {
    "raw embeddings": "raw embeddings",
    "Flow": "Flow",
    "bidirectional Mamba": "bidirectional Mamba",
    "attention, 1 layer": "attention",
    "sparse attention": "sparse attention",
}
with figures.look():
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.8), width_ratios=[1, 1], layout="constrained"
    )
    for y, (condition, metric, name) in enumerate(reversed(BARS.values())):
        value = 100 * on_its_task.summary(metric).loc[condition, "mean"]
        left.plot([100 * said[name].value, value], [y, y], color="#bbbbbb")
        left.plot(
            100 * said[name].value, y, "o", mfc="white", mec="#333333", ms=8
        )
        left.plot(value, y, "o", color="#333333", ms=8)
    left.set_yticks(range(len(BARS)), reversed(BARS), fontsize=8)
    left.set_xlim(-4, 104)
    left.set_xlabel("routing precision (%)")
    left.set_title("1. the paper's task", fontsize=10)
    right.set_xticks(range(len(RUNGS)), RUNGS)
    for i, (name, label) in enumerate(LINES.items()):
        # Side by side: several lines have the same numbers.
        places = [x + 0.07 * (i - 2) for x in range(len(RUNGS))]
        line = 100 * means.loc[name, list(RUNGS)]
        right.plot(places, line, label=label, ms=7, **figures.style(label))
    figures.chance_line(right, 1 / ladder.LOOKALIKES, "chance (one in four)")
    right.set_ylim(-4, 104)
    right.set_ylabel("evidence above look-alikes (%)")
    right.set_title("2. what tells the evidence apart", fontsize=10)
    fig.legend(
        *right.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=6,
        fontsize=8,
    )
    picture = figures.inline(
        fig,
        "Left, routing precision on the paper's task without a layer and with one, beside the paper's; "
        "right, precision among look-alikes over the four rungs of the ladder.",
    )
plt.close(fig)
ties = on_its_task.summary
at_paper = paper_text(paper_records(study, "raw", "others"), "precision")
both_findings = (
    f"<p><b>1. The paper’s task asks for no context.</b> At the paper’s sizes the router finds the evidence without any "
    f"layer: {at_paper}, where the paper has {said['raw']}. How ties are counted matters as well. A router that sees tokens "
    f"alone, and may pick the query itself, cannot tell the evidence from the query, since their vectors are the same. At the "
    f"small size it gets "
    f"{percent(ties('precision_tie_lost').loc['token alone, all', 'mean'])} if such a tie counts as lost, and "
    f"{percent(ties('precision_tie_won').loc['token alone, all', 'mean'])} if it counts as won.</p>"
    f"<p><b>2. Context helps only if it contains what tells the evidence from its look-alikes.</b> Say that the evidence has "
    f"the same token before it as the query, and its three look-alikes do not. A left-to-right Mamba block then "
    f"scores the evidence highest of the four ({mean.loc['Flow', 'left']}), and raw embeddings do not ({mean.loc['raw embeddings', 'left']}; chance "
    f"{percent(1 / ladder.LOOKALIKES)}). If it is the token after, Mamba in one direction fails "
    f"({mean.loc['Flow', 'right']}) and in both directions succeeds ({mean.loc['bidirectional Mamba', 'right']}). "
    f"One layer of attention over all positions stays near chance on either side "
    f"({mean.loc['attention, 1 layer', 'left']} and {mean.loc['attention, 1 layer', 'right']}), although weights that solve "
    f"both exist. Attention within a window of a few tokens learns both.</p>"
)
legend = (
    "<p><em>The figure, at small sizes. Left: the paper’s task; hollow, the paper; filled, ours. Right: our task, the "
    "share of sequences in which the evidence scores above its look-alikes, by what tells it apart: the token itself (token), "
    "the token before it (left) or after it (right), or a definition that stands elsewhere (hop). The lines are drawn side by "
    "side where they have the same numbers. Flow is a Mamba block that reads left to right, and bidirectional Mamba has one in "
    "each direction. Sparse attention sees a window, and a few tokens that all see. Dashed: chance.</em></p>"
)
glue("two findings", HTML(both_findings + picture + legend), display=False)

# %% [markdown]
# ## What differs, and why
#
# * **"Both sides" is not the ingredient.** The paper's first ingredient is context from both sides. A router needs context
#   from the side on which the difference lies, and from as far. If that is the left, reading left to right is enough. If it
#   is the right, it is not. If the token itself is different, as in the paper's task, no context is needed.
# * **The layers are not alike.** On the paper's task all ways to provide context look the same, because none is needed. On
#   `left` and `right` they differ. A convolution or a window learns within {glue:text}`two epochs` steps. Hubs and attention
#   over all positions did not learn, except in one seed of two causal layers on `left`.
# * **A recurrence was not needed.** What Flow does on these rungs, its short convolution does. A state would be needed if
#   the distinguishing token stood farther away than the convolution's four taps.
# * **What weights can do is not always learned.** Attention over all positions can copy a neighbour's token, and did not
#   learn this from one query per sequence. A language model has a target at every position. Whether more supervised positions
#   would teach the router was not tested.
# * **A hop takes two comparisons.** The layer of attention makes the first: query and evidence each find their other copy,
#   in the definition. The router makes the second: it compares the two places. This is why weights by hand need one layer
#   only. No training of ours came near their precision, with or without a lesson. The best have two causal layers, at
#   {glue:text}`causal attention, 2 layers hop`; why they get farther than two layers without the mask we do not know.
# * **What is not comparable.** The sequences are short, {glue:text}`length` tokens, and the vocabulary small, so that the
#   representations separate within few steps. The rate and the batch are larger than in the chapters before.
#
# ### For someone who designs a hybrid
#
# 1. Ask what distinguishes the right token from those that look like it. If the token itself does, route on the embeddings,
#    and spend nothing on context first (the rung `token`).
# 2. If a neighbour does, put a short convolution or a window of attention before the router, in both directions if the
#    router may look at what follows (`left`, `right`). Each costs $O(n)$ and is learned early. Beside a convolution we see
#    nothing that a scan adds here.
# 3. If a sequence asks one question, a recurrence can carry it to the token that answers, and mark that token. A router that
#    keeps one number per token can then be enough, but is hard to train. On the paper's task at a small size it took longer
#    training ([chapter 6](06_escape_routes.ipynb)), and at the paper's sizes it has not learned, in one seed
#    ([chapter 8](08_protocol_audit.ipynb)). If a sequence asks several questions, it is not enough
#    ([chapter 12](12_todays_hybrids.ipynb)).
# 4. Do not rely on a router's loss alone to teach full attention where to look: one layer was still at chance after
#    {glue:text}`four times` steps on `left`, with one seed and one learning rate. Give it a window, and test on your own task
#    that it learned what you need.
# 5. For definitions that stand elsewhere (`hop`) we have nothing reliable. Weights that route exist. The best that training
#    found, two causal layers, is at {glue:text}`best hop`, and chance is one in four.
#
# ## In detail
#
# * **All positions as candidates.** So far only the evidence and its look-alikes counted. In the table below the same runs have
#   to find the evidence among all positions but the query. On `hop` raw embeddings with positions are above the random router
#   here. Among look-alikes they are at chance. Positions help to find the four candidates, and not to choose among them.
# * **The last epoch is not always the best.** Of the {glue:text}`trained` shorter runs, random routers included,
#   {glue:text}`falls` end more than two points below their best epoch, by {glue:text}`largest fall` points at most. No
#   conclusion here rests on that difference.

# %% tags=["remove-input"]
labelled(
    pd.DataFrame(
        {
            rung: texts(result.summary("precision"))
            for rung, result in results.items()
        }
    ).loc[[*shown, CHANCE]],
    "among all positions",
)

# %% [markdown]
# ## Exercises
#
# **To run it again.** `.venv/bin/fci run 09 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# 1. Let the evidence be told apart by a token two to the left: change `draw` in `fcilib/tasks/ladder.py`. Which of the
#    climbers fall? (The convolution has four taps.)
# 2. Let the convolution reach two tokens instead of four: `Flow(layers=1, scan=False, conv=2)` in `PARTS`. Does it lose
#    anything on `left`?
# 3. Start from the weights of `meaning_by_hand` with a little noise, and train. How much noise does the solution survive?
# 4. Which lesson would teach `hop`? `Lesson` takes any task of the same size; try `token` before it.

# %% tags=["remove-cell"]
glue("length", base.length, display=False)
glue("two epochs", f"{2 * each:,}", display=False)
glue("best hop", percent(best_hop), display=False)
