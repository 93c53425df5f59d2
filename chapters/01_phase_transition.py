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
# **The question.** A *router* is given one position of a sequence, the *query*, and has to pick another, the *evidence*,
# which holds the same token. By the paper's equations it may also pick the query itself, which is then a mistake. How many
# layers must stand in front of a router before it finds the evidence?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **The claim.** One layer is needed, and enough. Without a Transformer layer the router is right in 2.5% of the sequences at
# most, however long it trains. One layer lifts it to 98.4%, further layers add nothing, and the change comes within one
# epoch {cite:p}`basu2026routing` (§4.1, Fig. 2). Other tables of the paper have 98.9% or 99.1% for the same layer.
#
# **What we found.** {glue:text}`verdict`
#
# **To run it again.** `.venv/bin/fci run 01 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# The router scores every *candidate*, a position that it may pick, and picks the best. *Precision* is the share of
# sequences in which that is the evidence. We run two sets of candidates throughout: all positions, as the paper's equations
# read (`"all"`), and all but the query itself (`"others"`). *Chance* is the precision of a random router on the same test
# sequences, {glue:text}`random router, others`. Counting gives one in {glue:text}`candidates`, {glue:text}`counted`, which is
# less than two standard errors away ({glue:text}`test sequences` sequences, {glue:text}`chance error` points each). *Flow* is
# the paper's name for layers of a left-to-right recurrence (Mamba); *bidirectional Mamba* has one in each direction.

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
from myst_nb import glue

from fcilib.ledger.catalogue import (
    CHANCE,
    ONLY,
    by_protocol,
    catalogue,
    chance_of,
    small_control,
    watched,
)
from fcilib.ledger.chance import counted, level
from fcilib.ledger.claims import claims
from fcilib.ledger.comparison import compare
from fcilib.ledger.ledger import ledger
from fcilib.present import closing, figures, interactive
from fcilib.present.mechanism import by_step, mechanism_figure, passed
from fcilib.present.paper_size import paper_records, paper_text
from fcilib.present.tables import comparison_table, further, labelled, linked
from fcilib.representations import Embedding
from fcilib.routers import Investigator
from fcilib.study.notation import NONE, percent, texts

# %% [markdown]
# ## How many layers does the router need?
#
# With zero layers the router sees the embeddings themselves: token plus position ("raw"), or the token alone
# ("content-only"). Layers of Flow or of attention are stacked on the raw embeddings, and nothing else changes. One control
# sees positions and no token, since evidence stands in some places more often than in others.

# %%
DEPTHS = (1, 2, 4)
known = catalogue(study.sizes)
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
CLAIMS = {
    label: known[name].claim
    for label, name in SHOWN_AS.items()
    if known[name].claim
}
CLAIMS["Flow, depth 2"] = "flow"
comparison = compare(CLAIMS, results)

# %% mystnb={"figure": {"caption": "Routing precision for every condition of the paper's \u00a74.1 that has a number or a bound, and for positions only: paper (hollow), measured (filled, with one standard deviation over seeds) and chance (tick). Circle: the query may not be picked; square: it may. Rows are sorted by the circles. Where the paper gives a bound (\u2264), its mark stands at the bound. The line between paper and measured is blue where the two agree and orange where they do not; positions only have no paper's number and are black.", "name": "fig-ladder-01"}, "image": {"alt": "A row per condition with the paper's value, the measured value and chance, for the two candidate sets: zero layers and Flow are far from the paper, attention is near."}} tags=["remove-input", "nbval-ignore-output"]
figures.claims_figure(compare({**CLAIMS, "positions only": None}, results))
plt.show()

# %% tags=["remove-cell"]
precision = {c: r.summary("precision") for c, r in results.items()}
for candidates, summary in precision.items():
    for name, text in texts(summary).items():
        glue(f"{name}, {candidates}", text, display=False)
at_random = counted(conditions["others"][CHANCE], "precision")
glue("candidates", round(1 / at_random), display=False)
glue("counted", percent(at_random), display=False)
drawn = study.seeds * study.sizes.training.held_out
error = (at_random * (1 - at_random) / drawn) ** 0.5
away = precision["others"]["mean"][CHANCE] - at_random
assert study.profile != "quick" or abs(away) < 2 * error
glue("chance error", f"{100 * error:.1f}", display=False)
glue("test sequences", f"{drawn:,}", display=False)
for candidates, found in results.items():
    for name, mean in found.summary("largest_rise")["mean"].items():
        glue(f"rise {name}, {candidates}", f"{100 * mean:.1f}", display=False)

# %% [markdown]
# **Raw embeddings route, and so do recurrent layers.** If the query is no candidate, raw embeddings find the evidence
# in {glue:text}`raw embeddings, others` of the sequences and one layer of attention in
# {glue:text}`attention, depth 1, others`. Positions alone, for which the paper has no number, give
# {glue:text}`positions only, others`. More layers of attention add nothing, as the paper says.

# %% [markdown]
# ## Why can zero layers suffice?
#
# The evidence carries the query's token, and the embedding holds the token. Comparing token vectors is therefore enough. No
# training is needed to see it. Take an untrained embedding of tokens, and the identity for both of the router's matrices.
# (Raw embeddings add a position's vector. A trained router finds the token in the sum.)

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
# The router finds the evidence in {glue:text}`untrained` of the sequences, with nothing in front of it.
#
# **If the query is a candidate too, it ties with the evidence.** Their vectors are the same, and no matrices can tell them
# apart. The number that is reported then depends on how a tie is counted:

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
# For content-only embeddings the tie decides everything, from {glue:text}`content-only precision_tie_lost` to
# {glue:text}`content-only precision_tie_won`. An `argmax` that returns the first of equal entries loses every tie, since the
# query stands first.

# %% [markdown]
# ## What jumps?
#
# The paper sees precision rise from 2.8% to 99.4% within one epoch, with attention alone. We see a steep rise as well, with
# and without attention, and it means something else under each set of candidates:
#
# * Under `"others"` precision rises from the first epoch on. This *is* the matching of tokens, and it takes no layer: the
#   largest rise in one epoch is {glue:text}`rise raw embeddings, others` points for raw embeddings and
#   {glue:text}`rise attention, depth 1, others` for one layer of attention.
# * Under `"all"` precision first stays low, and then jumps. Most of the match has been learned by then. What jumps is the
#   choice between the two copies of the token.
#
# To see why these are two steps, write a candidate's vector as the sum of its token's and its position's, $x_j = t_j + p_j$,
# and the router's matrices as one matrix $M$. The evidence $a$ competes with other tokens $j$. It also competes with the
# query $q$, which has the same token, $t_q = t_a$:
#
# $$
# \begin{aligned}
# s_{qj} &= (t_q + p_q)^\top M\, (t_j + p_j) \\
# s_{qa} - s_{qj} &= x_q^\top M\, (t_q - t_j) + x_q^\top M\, (p_a - p_j) \\
# s_{qa} - s_{qq} &= x_q^\top M\, (p_a - p_q)
# \end{aligned}
# $$
#
# To beat other tokens it is enough to prefer equal tokens. To beat the query, the router has to prefer the evidence's
# *place*: the common token drops out of the last line. (Not entirely: a LayerNorm in front of the router scales the two sums
# differently. What is left of the tokens is the yellow curve of the next figure.)
#
# We therefore measured during training how often the router picks the evidence, how often it picks the query itself, and how
# often it would pick the evidence if the query were taken out. We also split the evidence's lead over the query into what
# tokens, positions and layers contribute.

# %%
WATCHED = {
    "raw embeddings": "raw",
    "attention, 1 layer": "attention-1",
    "Flow, 2 layers": "flow-2",
    "bidirectional Mamba, 1 layer": "bidirectional-mamba",
}
SEEDS_OF = {
    "raw embeddings": 3,
    "attention, 1 layer": 3,
    "Flow, 2 layers": 1,
    "bidirectional Mamba, 1 layer": 1,
}
transitions = {
    label: study.run(
        {label: watched(study.sizes, name)}, seeds=SEEDS_OF[label]
    )
    for label, name in WATCHED.items()
}
together = transitions["raw embeddings"]
for others in list(transitions.values())[1:]:
    together |= others

# %% mystnb={"figure": {"caption": "Training under candidates \"all\", a model per row, against training steps: three seeds of raw embeddings and of attention, one of the others. Left: how often the router picks the evidence (blue), the query itself (orange), and the evidence if the query were taken out of the same model's candidates (dotted). Right, in standard deviations of the other scores: by how much the evidence's score lies above the mean of other tokens (black, in one piece), and above the query's own, in three pieces: tokens (yellow), positions (green) and layers (pink); below zero they put the query ahead. Bands are one standard deviation over seeds.", "name": "fig-mechanism"}, "image": {"alt": "Four rows of two panels. In each the query itself is picked first and the evidence later; the switch coincides with the position or layer part crossing zero, while the match of tokens has risen before."}} tags=["remove-input", "nbval-ignore-output"]
mechanism_figure(together, list(WATCHED))
plt.show()

# %% tags=["remove-cell"]
for label in WATCHED:
    tables = [
        by_step(r) for (n, _), r in together.records.items() if n == label
    ]
    mean = sum(tables) / len(tables)
    peak = mean.picked_query.idxmax()
    glue(f"peak {label}", percent(mean.picked_query.max()), display=False)
    glue(f"peak step {label}", f"{peak:,.0f}", display=False)
    glue(
        f"peak others {label}",
        percent(mean.precision_others[peak]),
        display=False,
    )
    last = mean.iloc[-1]
    for part in ("token", "position", "layers", "position_form", "token_form"):
        glue(f"last {part} {label}", f"{last[part]:.1f}", display=False)
        glue(f"peak {part} {label}", f"{mean[part][peak]:.1f}", display=False)
    for share in ("precision", "precision_others"):
        glue(f"last {share} {label}", percent(last[share]), display=False)

# %% [markdown]
# **First every model learns to prefer equal tokens, and picks the query itself. Then it learns to tell the evidence from the
# query.** With raw embeddings the query itself is picked in {glue:text}`peak raw embeddings` of the sequences after
# {glue:text}`peak step raw embeddings` steps. With the query taken out, the evidence would be picked at that moment in
# {glue:text}`peak others raw embeddings`: most of the match is there already. What rises afterwards is the contribution of
# the positions, from {glue:text}`peak position raw embeddings` to {glue:text}`last position raw embeddings` standard
# deviations of the scores.
#
# **With a layer, context tells the two apart, and sooner.** Attention, Flow and bidirectional Mamba take the same two steps
# in less time. In the end the layers put the evidence ahead, by {glue:text}`last layers attention, 1 layer` standard
# deviations with attention and {glue:text}`last layers Flow, 2 layers` with Flow, and the positions contribute next to
# nothing. Context is not needed for the match here. It helps to tell the two copies of the token apart.

# %% [markdown]
# ### Is there a learning rate at which attention jumps and raw embeddings do not?
#
# Attention stops picking the query earlier than raw embeddings do. If training learned more slowly and ended in between, it
# would show the paper's figure. Here are smaller rates with the same number of steps, {glue:text}`steps` (one seed,
# candidates `"all"`). As in the figure above, every epoch is short and has new sequences, so that the first row is not quite
# the {glue:text}`raw embeddings, all` of the other tables. *Half at step* is the first step at which the router picks the
# evidence in more than half of the sequences.

# %%
RATES = {
    "raw embeddings": (1e-3, 3e-4, 1e-4, 3e-5),
    "attention, 1 layer": (1e-3, 3e-4, 1e-4),
    "Flow, 2 layers": (1e-3, 3e-4),
}
runs = {
    (label, rate): watched(study.sizes, WATCHED[label], rate)
    for label, rates in RATES.items()
    for rate in rates
}
at_rates = study.run(
    {f"{label}, {rate:g}": run for (label, rate), run in runs.items()}, seeds=1
)

# %% tags=["remove-input"]
first_seed = study.chosen[0]
ended = at_rates.frame.set_index("condition")


def half(record, share):
    step = passed(record, share)
    return NONE if pd.isna(step) else f"{step:,.0f}"


rows = {}
for label, rate in runs:
    name = f"{label}, {rate:g}"
    record = at_rates.records[name, first_seed]
    rows[name] = {
        "half at step": half(record, "precision"),
        "half at step, query taken out": half(record, "precision_others"),
        "evidence, at the end": percent(ended.precision[name]),
        "query itself, at the end": percent(ended.picked_query[name]),
        "evidence at the end, query taken out": percent(
            by_step(record).precision_others.iloc[-1]
        ),
    }
labelled(pd.DataFrame.from_dict(rows, orient="index"), "model, learning rate")

# %% tags=["remove-cell"]
training = next(iter(runs.values())).training
steps = training.epochs * -(-training.sequences // training.batch)
glue("steps", f"{steps:,}", display=False)
separating = [
    rate
    for rate in RATES["attention, 1 layer"]
    if ended.precision[f"attention, 1 layer, {rate:g}"] > 0.5
    and ended.precision[f"raw embeddings, {rate:g}"] < 0.5
]
parted = (
    "Yes, at " + " and ".join(f"{rate:g}" for rate in separating)
    if separating
    else "No, none among these"
)
glue("rate", parted, display=False)
for label, rate in runs:
    name = f"{label}, {rate:g}"
    for column in ("precision", "picked_query"):
        glue(f"{column} {name}", percent(ended[column][name]), display=False)
    at_half = half(at_rates.records[name, first_seed], "precision")
    glue(f"half {name}", at_half, display=False)
    others = by_step(at_rates.records[name, first_seed]).precision_others
    glue(f"others {name}", percent(others.iloc[-1]), display=False)

# %% [markdown]
# **{glue:text}`rate`.** At a learning rate of 0.0003 attention ends at
# {glue:text}`precision attention, 1 layer, 0.0003` and raw embeddings at {glue:text}`precision raw embeddings, 0.0003`.
# That looks like the paper's result, and here the cause is the query: the same raw embeddings still pick it in
# {glue:text}`picked_query raw embeddings, 0.0003` of the sequences, and would be right in
# {glue:text}`others raw embeddings, 0.0003` if it were taken out. We do not know whether this was the cause in the paper. It
# would not explain why recurrent layers fail there: here Flow passes half even before attention does, at step
# {glue:text}`half Flow, 2 layers, 0.0003` against {glue:text}`half attention, 1 layer, 0.0003`.

# %% [markdown]
# ### And at the paper's size?
#
# The table has precision by epoch at the paper's sizes (40 epochs of 250 steps, candidates `"all"`). The last column is the
# largest share of sequences in which the query itself was picked.

# %% tags=["remove-input"]
LARGE = {
    "raw embeddings": "raw",
    "attention, 1 layer": "attention-1",
    "causal attention, 1 layer": "causal-1",
    "Flow, 2 layers": "flow-2",
    "bidirectional Mamba, 1 layer": "bidirectional-mamba",
}
rows = {}
for label, name in LARGE.items():
    found = paper_records(study, name, "all")
    row = {"seeds": len(found)}
    curves = [pd.DataFrame(r.curve) for r in found]
    mean = sum(curves) / len(curves) if curves else None
    for epoch in range(2, 9):
        row[f"epoch {epoch}"] = (
            NONE if mean is None else percent(mean.precision[epoch - 1])
        )
    row["epoch 40"] = (
        NONE if mean is None else percent(mean.precision.iloc[-1])
    )
    row["query itself at most"] = (
        NONE if mean is None else percent(mean.picked_query.max())
    )
    rows[label] = row
labelled(pd.DataFrame.from_dict(rows, orient="index"), "at the paper's size")

# %% [markdown]
# **There too every model first picks the query itself and later stops, Flow and attention sooner than raw embeddings.** A
# training that ended in epoch 5 would have shown attention halfway up and raw embeddings near zero, and also Flow above both,
# where the paper has it near zero.
#
# **Attention ends below raw embeddings:** {glue:text}`at paper attention all`, where raw embeddings have
# {glue:text}`at paper raw all` and the paper has {glue:text}`paper attention` for attention. It still picks the query in
# {glue:text}`at paper picks query` of the sequences, less than half of its errors. With the query excluded it reaches
# {glue:text}`at paper attention others`. Why it ends lower we do not know.
#
# ### What the router looks at meanwhile
#
# For four conditions we kept the router's softmax over two held-out sequences, one seed. Under `"all"` the query's own
# position first rises together with the evidence. Move the slider back to see it before it gave way; on content-only the two always tie.

# %% tags=["hide-input"]
SHOWN = (
    "raw embeddings",
    "content-only",
    "Flow, depth 2",
    "attention, depth 1",
)

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
# ## Can a model without a router find far evidence?
#
# The paper's control is a plain four-layer Transformer without any router, which has to give the answer, the token after
# the evidence. It is right in 100% of the sequences when the evidence is near and in 1.9% when it is far (§3.1). The paper
# does not say how near; here it is within 20 tokens of the query.
#
# At the size of this page the plain model learns neither. We therefore made a smaller task:
# {glue:text}`small vocabulary` kinds of tokens, {glue:text}`small length` positions, new sequences in every epoch, a learning
# rate of {glue:text}`small rate` and {glue:text}`small steps` steps (one seed). Near and far evidence got the same recipe.

# %%
plain = {
    f"{where} evidence": known[f"plain-{where}"].under[ONLY]
    for where in ("near", "far")
}
control = study.run(
    {
        **plain,
        **{f"chance, {n}": chance_of(run) for n, run in plain.items()},
    }
)
learnable = {
    f"small, {where}": run for where, run in small_control(study.sizes).items()
}
small = study.run(learnable, seeds=1)

# %% tags=["remove-input"]
accuracy = control.summary("accuracy")
measured = texts(accuracy)
halves = {
    f"{where} evidence": f"{where}-accuracy" for where in ("near", "far")
}
lines = {}
for condition, name in halves.items():
    claim = claims()[name]
    at = level(claim, plain[condition])
    found = *accuracy.loc[condition, ["mean", "sd"]], at
    lines[condition] = {
        "paper": str(claim),
        "task accuracy": measured[condition],
        "chance": measured[f"chance, {condition}"],
        "verdict": claim.verdict({"": found}),
    }
reached = small.curves.groupby("condition").accuracy.last()
for name, run in learnable.items():
    label = 1 / (run.task.vocabulary - 2)
    lines[f"{name} evidence"] = {
        "paper": NONE,
        "task accuracy": percent(reached[name]),
        "chance": percent(label),
        "verdict": NONE,
    }
    glue(f"reached {name}", percent(reached[name]), display=False)
    glue(f"chance {name}", percent(label), display=False)
training = run.training
rounds = training.epochs * -(-training.sequences // training.batch)
glue("small vocabulary", run.task.vocabulary, display=False)
glue("small length", run.task.length, display=False)
glue("small rate", f"{training.learning_rate:g}", display=False)
glue("small steps", f"{rounds:,}", display=False)
linked(pd.DataFrame.from_dict(lines, orient="index"), halves, "control")

# %% mystnb={"figure": {"caption": "Task accuracy of the plain four-layer Transformer by epoch, on the smaller task, with the evidence near (within 20 tokens) and far (at least half of the sequence away). Dashed: chance, the accuracy of a value drawn at random. One seed.", "name": "fig-control"}, "image": {"alt": "Two learning curves of a plain Transformer, for near and for far evidence, against epochs, with chance as a dashed line."}} tags=["remove-input", "nbval-ignore-output"]
with figures.look():
    fig, ax = plt.subplots(figsize=(5.0, 2.8), layout="constrained")
    for (name, line), color in zip(
        small.curves.groupby("condition", sort=False),
        ("#0072B2", "#D55E00"),
        strict=True,
    ):
        ax.plot(
            line.epoch,
            100 * line.accuracy,
            color=color,
            label=name.partition(", ")[2],
        )
    figures.chance_line(ax, label, "chance (random value)")
    ax.set_xlabel("epoch")
    ax.locator_params(axis="x", integer=True)
    ax.set_ylabel("task accuracy (%)")
    ax.set_ylim(-4, 104)
    fig.legend(loc="outside upper center", ncols=3)
plt.show()

# %% [markdown]
# **On the smaller task it can: far evidence is even the easier of the two.** The plain Transformer answers
# {glue:text}`reached small, far` of the far questions and only {glue:text}`reached small, near` of the near ones (chance:
# {glue:text}`chance small, far`). Why near evidence is harder we have not found out. Whether the paper's 1.9% would go away
# with more steps, at its size, is open.

# %% [markdown]
# ## What the paper says, what we measured, chance
#
# A mean agrees with the paper's number if it is no more than two points away; near chance the limit is smaller ([the exact
# margin](tables-margin)). For two to four layers of attention the paper gives no number but "no improvement" over one.

# %% tags=["remove-input"]
comparison_table(comparison)

# %% [markdown]
# ### Further statements of this section
#
# Where a statement is about several experiments, all of them have to agree, and the table shows their lowest and highest
# number. A *rise* is the largest gain in precision within one epoch. Each row's chance is the same quantity of the random
# router.
#
# * *Chance of the right answer.* The paper's 1.6% is one in 64. With its 256 kinds of tokens chance is a quarter of that. Ours
#   is chance among the 64 kinds of this page. Both are within a few points of chance, and the verdict says no more.
# * *One Transformer layer.* The paper limits the spread of the same number over seeds twice, once by 2% and once by 0.3%.

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
agreeing = comparison.groupby("condition", sort=False).agrees.all()
agreed = "; ".join(agreeing.index[agreeing.astype(bool)])
zero = precision["others"]["mean"]
at_paper = {
    (name, c): paper_text(paper_records(study, name, c), "precision")
    for name in ("raw", "attention-1")
    for c in ("all", "others")
}
for c in ("all", "others"):
    glue(f"at paper raw {c}", at_paper["raw", c], display=False)
    glue(f"at paper attention {c}", at_paper["attention-1", c], display=False)
found = paper_records(study, "attention-1", "all")
glue("at paper picks query", paper_text(found, "picked_query"), display=False)
glue("paper attention", str(claims()["one-layer"]), display=False)
slow = {label: percent(ended.precision[f"{label}, 0.0003"]) for label in RATES}
answer = (
    f"No layer is needed: on raw embeddings, a vector for each token plus one for its position, the router finds the "
    f"evidence in {percent(zero['raw embeddings'])} of the sequences if it may not pick the query itself (one layer of "
    f"attention: {percent(zero['attention, depth 1'])}; chance: {percent(zero[CHANCE])})."
)
sure = (
    f"{closing.measured(study)} At the paper's sizes raw embeddings reach {at_paper['raw', 'others']} and one layer of "
    f"attention {at_paper['attention-1', 'others']}. If the query may be picked, they reach {at_paper['raw', 'all']} and "
    f"{at_paper['attention-1', 'all']}. We would change our mind if, under some reading of the paper's "
    f"text and with enough steps, one layer of attention reached the paper's 98% and raw embeddings stayed below 35%, the "
    f"paper's limit for what lacks an ingredient."
)
verdict = (
    f"If the query may be picked, precision jumps during training, as the paper says, but without attention too: every "
    f"model that we watched first learns to match tokens and picks the query itself, and then learns to tell the evidence "
    f"from it. Attention does so sooner. At a third of our learning rate, in as many steps, attention ends at "
    f"{slow['attention, 1 layer']} and raw embeddings at {slow['raw embeddings']}, a picture like the paper's; but a recurrence, which "
    f"the paper says fails, ends at {slow['Flow, 2 layers']}. The paper has a number or a bound for {len(agreeing)} of our "
    f"conditions, and {agreeing.sum()} of these reproduce{agreed and f': {agreed}'}. We do not know why the paper's raw "
    f"embeddings fail."
)
closing.close(
    "01_phase_transition",
    "The phase transition",
    answer=answer,
    sure=sure,
    verdict=verdict,
    cost=closing.trained(
        study,
        (control, *results.values(), together, at_rates, small),
        "trains {models} models; at this page's size (profile {profile}) a seed took {minutes} minutes of a core that was "
        "not always free.",
    ),
)

# %% [markdown]
# ## What differs, and why
#
# * **The embedding already holds the token.** The paper's worked example says that without a Transformer "$x_{51}$
#   contains no information about position 350, so $s_{51,350}$ is indistinguishable from noise" (§3.2). The first half
#   is true. The second does not follow: $s_{51,350}$ compares two vectors that hold the same token.
# * **The query as its own candidate.** The router picks it first, which is why precision starts near zero and then jumps. The
#   paper's 1.2% at the end of training would follow if that training was too short. Ours routes under either set.
# * **The query's token stands exactly twice.** We draw all other tokens so that they do not repeat it
#   (`collisions=False`). If they could, no router would come near the paper's 98%, so we read the paper in this way.
# * **Not comparable at this size:** task accuracy, and the number of epochs before the jump.
#
# The router that all of this rests on, in full:

# %% tags=["remove-input", "hide-output"]
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
