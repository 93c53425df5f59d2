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
# **The claim.** Routing needs vectors with context from both sides *and* a pairwise comparison; six ways to make such
# vectors work alike, and a recurrence in one direction does not {cite:p}`basu2026routing` (§4.6, §5). The paper's
# task cannot show it: there, equal tokens are all that is to be found, and raw embeddings hold the token
# ([chapter 1](01_phase_transition.ipynb)). Here is a task that can.
#
# **Our verdict.** {glue:text}`verdict`
#
# **To run it again.** `.venv/bin/fci run 09 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# In this notebook the evidence has look-alikes. What tells it apart moves, rung by rung, from the token itself to its
# neighbours and then to a definition elsewhere. One router, the Investigator, compares pairs throughout; only what it
# looks at changes.

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
import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import HTML, Code
from myst_nb import glue

from fcilib.ledger.catalogue import CHANCE
from fcilib.ledger.claims import claims
from fcilib.model import metrics
from fcilib.model.council import Council
from fcilib.model.fci import FCI
from fcilib.present import figures
from fcilib.present.closing import TRAINED, close
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
from fcilib.specs.size import Size
from fcilib.study.notation import NONE, percent, texts
from fcilib.tasks import ladder

# %% [markdown]
# ## Four rungs
#
# Each sequence holds a query, the evidence and three look-alikes, at random places; what is asked for is the value
# that follows. A router that knows only that the candidate has to look right picks one of four.

# %% tags=["remove-input"]
Code("\n".join(ladder.__doc__.splitlines()[2:12]), language="text")

# %%
RUNGS = ("token", "left", "right", "hop")
base = study.sizes.ladder
tasks = {rung: base.model_copy(update={"rung": rung}) for rung in RUNGS}
budget = study.sizes.climbing
steps = budget.epochs * -(-budget.sequences // budget.batch)
print(
    f"{base.length} tokens of {base.vocabulary}; {steps:,} steps of {budget.batch}"
)

# The paper's sparse pattern and as large a share of these shorter sequences:
sparse = {"window": base.length // 8, "global_tokens": base.length // 16}
STACK = "bidirectional Flow, then attention"  # the dearest: one seed
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
    "bidirectional Flow": Flow(layers=1, bidirectional=True),
    STACK: Hybrid(layers=("bidirectional-flow", "attention")),
}


def climb(rung, representation, router):
    return study.experiment(
        task=tasks[rung],
        representation=representation,
        router=router,
        training=budget,
    )


pairwise = Investigator(candidates="others")
random = RandomRouter(candidates="others")
results = {}
for rung in RUNGS:
    runs = {
        name: climb(rung, representation, pairwise)
        for name, representation in REPRESENTATIONS.items()
    }
    stack = {STACK: runs.pop(STACK)}
    runs[CHANCE] = climb(rung, Embedding(), random)
    results[rung] = study.run(runs) | study.run(stack, seeds=1)

# %% [markdown]
# ## Who climbs how far?
#
# Precision among look-alikes: is the evidence scored above the other three? Chance is measured with the random router,
# through the same code.

# %% mystnb={"figure": {"caption": "The context ladder: precision among the four look-alikes, in percent, mean and standard deviation over seeds. A row per representation in front of the same pairwise router, a column per rung: what tells the evidence apart is the token itself, the token before it, the token after it, or a definition elsewhere. The darkest colour is one in four, chance. The last row has one seed.", "name": "fig-ladder"}, "image": {"alt": "A heat map of representations against rungs. All rows are bright on the first rung; on left those with a recurrence or a window, on right those with a recurrence in both directions or a window; on hop hardly any."}} tags=["remove-input", "nbval-ignore-output"]
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
glue("steps", f"{steps:,}", display=False)
hop = tasks["hop"].draw(budget.held_out, seed=0, split="test")
key = hop.tokens.gather(1, hop.query[:, None])
defined = (hop.tokens[:, :-1] == ladder.ALIAS) & (hop.tokens[:, 1:] == key)
assert (defined.sum(dim=1) == 1).all()
before = defined.int().argmax(dim=1) < torch.maximum(hop.query, hop.evidence)
seen = before.float().mean().item()
glue("seen", percent(seen), display=False)

# %% [markdown]
# Random picks give {glue:text}`random router token`, {glue:text}`random router left`, {glue:text}`random router right`
# and {glue:text}`random router hop` on the four rungs.
#
# * `token`: raw embeddings have {glue:text}`raw embeddings token`, and without positions
#   {glue:text}`raw embeddings, no positions token`. No context is needed where the token decides.
# * `left`: raw embeddings {glue:text}`raw embeddings left`, Flow {glue:text}`Flow left`, bidirectional Flow
#   {glue:text}`bidirectional Flow left`. One direction is enough if it is the right one. One layer of attention over all
#   positions has {glue:text}`attention, 1 layer left`; with a window it has {glue:text}`sparse attention left`.
# * `right`: Flow {glue:text}`Flow right`, bidirectional Flow {glue:text}`bidirectional Flow right`. Here, at last, the
#   paper's sentence holds: a recurrence that has not seen what follows cannot know it. Attention over all positions has
#   {glue:text}`attention, 1 layer right`, within a window {glue:text}`sparse attention right`.
# * `hop`: bidirectional Flow {glue:text}`bidirectional Flow hop`, two layers of attention
#   {glue:text}`attention, 2 layers hop`, two causal ones {glue:text}`causal attention, 2 layers hop`, a recurrence and
#   attention in one stack {glue:text}`bidirectional Flow, then attention hop`. A causal model has seen the definition, at
#   the query or at the evidence, in {glue:text}`seen` of the sequences; in the rest it can only rule out look-alikes that
#   it has seen defined.

# %% [markdown]
# Among *all* candidates, where the evidence also has to be told from everything that does not look alike:

# %% tags=["remove-input"]
labelled(
    pd.DataFrame(
        {
            rung: texts(result.summary("precision"))
            for rung, result in results.items()
        }
    ).loc[[*shown, CHANCE]],
    "precision",
)

# %% [markdown]
# ## When do they climb?

# %% mystnb={"figure": {"caption": "Precision among look-alikes by epoch, on held-out sequences, a panel per rung: mean and one standard deviation over seeds. The dashed line is chance, measured with the random router.", "name": "fig-ladder-epochs"}, "image": {"alt": "Four panels of learning curves, one per rung, for raw embeddings, Flow, bidirectional Flow, attention and the hybrid."}} tags=["remove-input", "nbval-ignore-output"]
CURVES = {
    "raw embeddings": "raw embeddings",
    "Flow": "Flow",
    "bidirectional Flow": "bidirectional Flow",
    "attention, 1 layer": "attention",
    "sparse attention": "sparse attention",
    "causal attention, 2 layers": "causal attention, 2 layers",
}
with figures.look():
    fig, axes = plt.subplots(
        1, len(RUNGS), sharey=True, figsize=(9, 3.2), layout="constrained"
    )
    for ax, (rung, result) in zip(axes, results.items(), strict=True):
        curves = result.curves.groupby(["condition", "epoch"])
        curves = curves.precision_lookalike.agg(["mean", "std"])
        for name, label in CURVES.items():
            line = curves.loc[name]
            figures.band(
                ax, line.index, line["mean"], line["std"], label, ms=4
            )
        figures.chance_line(ax, means.loc[CHANCE, rung])
        ax.set_title(rung)
        ax.set_xlabel("epoch")
    axes[0].set_ylabel("among look-alikes (%)")
    axes[0].set_ylim(-4, 104)
    fig.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=4,
        fontsize=9,
    )
plt.show()

# %% [markdown]
# A recurrence leaves chance within the first epochs of the rung that its direction allows: its short convolution hands
# each token the three before it from the first step on. A window of {glue:text}`window` tokens does as much for attention.
# Attention over all positions has to find the neighbour first. (Where a curve falls again, we take it for
# overfitting: the same {glue:text}`sequences` sequences come back every epoch. It was not tested.)

# %% [markdown]
# ## Can attention not, or did it not learn to?
#
# One layer of attention with the weights set by hand: each position attends to its neighbour, copies the
# neighbour's token beside its own, and the router adds up two matches. Nothing is trained.


# %%
@torch.no_grad()
def by_hand(task, step):
    """Attention that looks `step` tokens aside; a router of both tokens."""
    v, n = task.vocabulary, task.length
    size = Size(v, n, width=2 * v + n)
    router = Investigator(heads=1, candidates="others")
    model = FCI(size, Attention(heads=1), router, Council(heads=1)).eval()
    embedding, block = model.representation
    for part in (embedding, block.mix, block.feed_forward, model.router):
        for weights in part.parameters():
            weights.zero_()
    own, place, other = slice(0, v), slice(v, v + n), slice(v + n, 2 * v + n)
    embedding.token.weight[:, own] = torch.eye(v)
    embedding.position.weight[:, place] = torch.eye(n)
    query, key, value = block.mix.qkv.weight.chunk(3)
    query[place, place] = 100 * torch.eye(n).roll(step, dims=0)
    key[place, place] = torch.eye(n)
    value[other, own] = torch.eye(v)
    block.mix.out.weight[:] = torch.eye(size.width)
    for weights in (model.router.query.weight, model.router.key.weight):
        weights[own, own] = torch.eye(v)
        weights[other, other] = 0.2 * torch.eye(v)
    return model


by_rung = {}
for rung, step in {"left": -1, "right": 1}.items():
    batch = tasks[rung].draw(1000, seed=0, split="test")
    output = by_hand(tasks[rung], step)(batch.tokens, batch.query)
    by_rung[rung] = metrics.score(output, batch, 8)["precision"].mean().item()
    print(f"{rung}: {percent(by_rung[rung])} of all candidates, by hand")

# %% tags=["remove-cell"]
for rung, value in by_rung.items():
    glue(f"by hand {rung}", percent(value), display=False)
glue("window", sparse["window"], display=False)
glue("sequences", f"{budget.sequences:,}", display=False)
glue("hand width", 2 * base.vocabulary + base.length, display=False)
glue("width", study.sizes.width, display=False)

# %% [markdown]
# Set by hand, one layer of attention routes at {glue:text}`by hand left` and {glue:text}`by hand right`, in
# {glue:text}`hand width` dimensions (the trained ones have {glue:text}`width`). The rungs `left` and `right` are thus
# within its reach; with one query per sequence and {glue:text}`steps` steps, training does not find the way there, unless
# a window leaves it little else to look at. For Flow on `right` there are no such weights: its vector at the query is a function of what stands before it.

# %% [markdown]
# ## What the paper says, what we measured, chance
#
# For each representation, the paper's number on its own task, and what the same router makes of it on each rung, among
# look-alikes.

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
    "bidirectional Flow": "bidirectional-mamba",
}
said = claims()
frame = pd.DataFrame(
    {
        "paper, its task": {
            name: str(said[PAPER[name]]) if name in PAPER else NONE
            for name in [*shown, CHANCE]
        },
        **{rung: texts(among[rung]) for rung in RUNGS},
    }
).loc[[*shown, CHANCE]]
labelled(frame, "representation")

# %% tags=["remove-cell"]
climbed = means.loc[shown] >= 0.5
count = {rung: int(climbed[rung].sum()) for rung in RUNGS}
names = {
    rung: ", ".join(climbed.index[climbed[rung]]) or "none" for rung in RUNGS
}
runs = results["left"].frame.query("condition == 'causal attention, 2 layers'")
above = (runs.precision_lookalike > 0.5).sum()
glue("causal left seeds", f"{above} of {len(runs)}", display=False)
for rung in RUNGS:
    glue(f"climbed {rung}", names[rung], display=False)
    glue(f"count {rung}", count[rung], display=False)
mean = means.map(percent)
best_hop = means.loc[shown, "hop"].idxmax()
verdict = (
    f"What a vector has to know is what tells the evidence from its look-alikes, and no more. Where the token "
    f"itself does, raw embeddings suffice ({mean.loc['raw embeddings', 'token']}). Where the token before does, a "
    f"recurrence in one direction suffices ({mean.loc['Flow', 'left']}; raw embeddings "
    f"{mean.loc['raw embeddings', 'left']}). Where the token after does, that recurrence is at "
    f"{mean.loc['Flow', 'right']} and one in both directions at {mean.loc['bidirectional Flow', 'right']}. One layer of "
    f"attention over all positions is at {mean.loc['attention, 1 layer', 'left']} and "
    f"{mean.loc['attention, 1 layer', 'right']} after {steps:,} steps, though weights set by hand give "
    f"{percent(by_rung['left'])} and {percent(by_rung['right'])}; within a window it is at "
    f"{mean.loc['sparse attention', 'left']} and {mean.loc['sparse attention', 'right']}. Where a definition elsewhere tells, "
    f"{best_hop} gets farthest, with {mean.loc[best_hop, 'hop']}. Chance among look-alikes: {mean.loc[CHANCE, 'left']}. Measured at profile "
    f"{study.profile}, seeds: {study.seeds}."
)
seconds = sum(r.frame.seconds.sum() for r in results.values()) / study.seeds
cost = TRAINED.format(
    models=sum(len(r.frame) for r in results.values()) // study.seeds,
    minutes=f"{seconds / 60:.0f}",
    profile=study.profile,
)
close("09_context_ladder", "The context ladder", verdict, cost)

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
    "bidirectional Flow": "bidirectional Flow",
    "attention, 1 layer": "attention",
    "sparse attention": "sparse attention",
}
with figures.look():
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.8), width_ratios=[1, 1], layout="constrained"
    )
    for y, (condition, metric, name) in enumerate(reversed(BARS.values())):
        value = 100 * on_its_task.summary(metric).loc[condition, "mean"]
        kind = figures.style(condition.replace("raw", "raw embeddings"))
        left.plot([100 * said[name].value, value], [y, y], color="#bbbbbb")
        left.plot(
            100 * said[name].value, y, "o", mfc="white", mec="#333333", ms=8
        )
        left.plot(value, y, "o", color=kind["color"], ms=8)
    left.set_yticks(range(len(BARS)), reversed(BARS), fontsize=8)
    left.set_xlim(-4, 104)
    left.set_xlabel("routing precision (%)")
    left.set_title("1. the paper's task: hollow, the paper", fontsize=10)
    for name, label in LINES.items():
        line = 100 * means.loc[name]
        right.plot(RUNGS, line, label=label, ms=7, **figures.style(label))
    figures.chance_line(right, means.loc[CHANCE, "left"])
    right.set_ylim(-4, 104)
    right.set_ylabel("among look-alikes (%)")
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
both_findings = (
    f"<p><b>1. The paper’s task asks for no context.</b> Without any layer the router finds "
    f"{percent(ties('precision').loc['raw, others', 'mean'])} of the evidence, against the paper’s "
    f"{said['raw']}; whether a router on tokens alone gets {percent(ties('precision_tie_lost').loc['token alone, all', 'mean'])} "
    f"or {percent(ties('precision_tie_won').loc['token alone, all', 'mean'])} is decided by how a tie between the query and "
    f"its evidence is counted. <b>2. Context is needed where look-alikes are to be told apart</b>, and then on the side where "
    f"the difference is: for the token before, a recurrence in one direction reaches {mean.loc['Flow', 'left']} "
    f"(raw embeddings {mean.loc['raw embeddings', 'left']}); for the token after, {mean.loc['Flow', 'right']}, and "
    f"one in both directions {mean.loc['bidirectional Flow', 'right']}.</p>"
)
glue("two findings", HTML(both_findings + picture), display=False)

# %% [markdown]
# ## What differs, and why
#
# * **"Both sides" is not the ingredient; the right side is.** The paper's first ingredient is context from both
#   sides. Its own task asks for none, which is why raw embeddings route there. Asked for the token before, one
#   direction is enough; asked for the token after, it is not.
# * **The mixers are not alike.** On the paper's task six ways to provide context look the same, because none of them is
#   needed. On `left` and `right` they part: {glue:text}`climbed left` get above one half on `left`,
#   {glue:text}`climbed right` on `right`.
# * **Reachable is not learned.** Attention over all positions can hold a neighbour's token and did not learn to, from one
#   query per sequence and positions that it first has to understand. A language model has a target at every position;
#   this router has one per sequence. A window takes the search away, and the same layer learns at once. More steps
#   may do it too: two causal layers are above one half on `left` in {glue:text}`causal left seeds` of the seeds.
# * **What a hop takes.** Two facts have to be chained, and the budget is small. Above one half got:
#   {glue:text}`climbed hop`. Why a causal mask should help there we do not know; that it leaves fewer places to look at
#   is one possibility.
# * **What is not comparable.** The sequences are short, {glue:text}`length` tokens, and the vocabulary small, so that the
#   rungs separate at all within the profile; the rate and the batch are larger than in the chapters before.
#
# ### For someone who designs a hybrid
#
# 1. Ask what tells the right token from those that look like it. If the token does, route on the embeddings, and
#    spend nothing on context first.
# 2. If its neighbours do, give every token a short convolution, a recurrence or a window of attention before the router,
#    in both directions if the router may look at what follows. Each costs $O(n)$ and is learned in few steps.
# 3. Every token has to be compared with the question somewhere: in the router, or in front of it. A recurrence that has
#    read the one question can do it, and one number per token is then enough; it takes longer to learn
#    ([chapter 6](06_escape_routes.ipynb)). One number orders the tokens alike for every question, so that with
#    several questions in a sequence the comparison belongs in the router.
# 4. Do not expect a router's loss alone to teach attention over everything where to look. Give it a window, or the layers
#    below a denser signal, and test on your own task that they learned it.
#
# ## Exercises
#
# 1. Let the evidence be told apart by a token two to the left: change `draw` in `fcilib/tasks/ladder.py`. Which of the
#    climbers fall? (The convolution has four taps.)
# 2. Start attention from sines and cosines: `Attention(positions="sinusoidal")`. Does it climb?
# 3. Start from the weights of `by_hand` with a little noise, and train. How much noise does the solution survive?
# 4. Give attention ten times the steps on `left`. When does it leave chance, if it does?

# %% tags=["remove-cell"]
glue("length", base.length, display=False)
