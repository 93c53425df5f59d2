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
# # 6. Escape routes
#
# **The question.** A *router* is given one position of a sequence, the *query*, and has to pick the *evidence*, which holds
# the same token. The *Council*, attention over what was picked, then gives the answer. If the router's vectors must hold
# context, does attention have to write it, or does something cheaper do?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **The claim.** Something cheaper does. Bidirectional Mamba, and a Perceiver, which passes everything through sixteen *hubs*
# or a single one, give the router a precision of 98.8% to 99.5%. A global mean and Fourier mixing leave it below 2%, and
# *Flow*, a left-to-right recurrence, at 2.2%. The best is a *rank-1* router, which has one number per token, on bidirectional Mamba:
# 99.7% at linear cost {cite:p}`basu2026routing` (§4.6).
#
# **What we found.** {glue:text}`verdict`
#
# **To run it again.** `.venv/bin/fci run 06 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# The nine entries of the paper's table stand in front of the same router, and so do *raw embeddings*: a vector for each
# token plus one for its position, without any layer. All have the same Council. Some rows are ours: the two mixers that fail, with their residual connection put back, and positions
# without any token. The router may pick any position, the query's own included (`"all"`, as the paper's equations read), or
# any other (`"others"`); [chapter 1](01_phase_transition.ipynb) shows what that changes.

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

from fcilib.ledger.agreement import expected
from fcilib.ledger.catalogue import CHANCE, by_protocol, conditions
from fcilib.ledger.chance import level
from fcilib.ledger.claims import claims
from fcilib.ledger.comparison import compare
from fcilib.ledger.ledger import ledger
from fcilib.model.by_hand import rank_one_by_hand
from fcilib.model.council import Council
from fcilib.present import closing, figures
from fcilib.present.tables import comparison_table, further, labelled
from fcilib.representations import Flow
from fcilib.routers import RankOne
from fcilib.routers.rank_one import FingerprintScores
from fcilib.study.notation import NONE, percent, spread, texts
from fcilib.training.experiment import Training
from fcilib.training.loop import evaluate

# %% [markdown]
# ## Which preprocessing lets the router succeed?
#
# *Preprocessing* is whatever stands in front of the router. The paper does not say how deep its bidirectional Mamba is. Ours
# has one block in each direction. The control, Flow with two layers of left-to-right Mamba, has as many blocks.

# %%
CONDITIONS = conditions(
    study.sizes,
    "bidirectional-mamba-rank-one",
    "bidirectional-mamba",
    "perceiver-16",
    "perceiver-1",
    "global-mean",
    "fourier",
    "attention-1",
    "causal-1",
    "flow-2",
    "raw",
    # Ours:
    "global-mean-residual",
    "fourier-residual",
    "fourier-residual-orthonormal",
    "positions-only",
    "random",
)
results = study.run_protocols(by_protocol(CONDITIONS))

# %% tags=["hide-input"]
CLAIMS = {label: c.claim for label, c in CONDITIONS.items() if c.claim}
CLAIMS["attention, 1 layer"] = "bidirectional-attention"
routing = compare(CLAIMS, results)

# %% mystnb={"figure": {"caption": "Routing precision of every entry of the paper's table, and of raw embeddings: paper (hollow), measured (filled, with its spread over seeds), chance (tick). The line between paper and measured is blue where the two agree within the margin, and orange where they do not. Rows are sorted by what was measured with the query excluded.", "name": "fig-ladder-06"}, "image": {"alt": "A row per preprocessing with the paper's routing precision, the measured one and chance, for the two candidate sets."}} tags=["remove-input", "nbval-ignore-output"]
figures.claims_figure(routing)
plt.show()

# %% tags=["remove-cell"]
precision = {c: r.summary("precision") for c, r in results.items()}
accuracy = {c: r.summary("accuracy") for c, r in results.items()}
for candidates in results:
    for name, text in texts(precision[candidates]).items():
        glue(f"{name}, {candidates}", text, display=False)
    for name, text in texts(accuracy[candidates]).items():
        glue(f"accuracy {name}, {candidates}", text, display=False)

# %% [markdown]
# **With the query excluded, everything that works in the paper works here within {glue:text}`epochs` epochs, except the
# rank-1 router.** Bidirectional Mamba reaches {glue:text}`bidirectional Mamba, others`, a single hub {glue:text}`Perceiver, 1 hub, others`. Chance is
# {glue:text}`random router, others`. A router that sees positions and no token reaches {glue:text}`positions only, others`,
# because evidence stands in some places more often than in others.
#
# **Two that fail in the paper work here as well.** Left-to-right Flow reaches {glue:text}`Flow, 2 layers, others`, and no
# preprocessing at all {glue:text}`raw embeddings, others`.
#
# **The rank-1 router needs longer.** After these few epochs it has {glue:text}`bidirectional Mamba, rank-1, others`. Below,
# in the section on rank one, it is trained for longer, and then it routes in all trials but one.

# %% [markdown]
# ## Why do the mean and the Fourier transform fail?
#
# The paper says that they destroy what tells tokens apart. Taken alone they do: the mean gives every token the same
# vector. A Transformer adds a residual connection, and so does FNet {cite:p}`leethorp2022fnet`, where Fourier mixing comes
# from. With it the token is there again, next to what the mixing wrote. One detail matters: a Fourier transform without
# scaling sums over all positions, and is much larger than the token that it is added to. The orthonormal transform has the
# token's size.

# %% tags=["remove-input"]
ablations = {
    "global mean": "mean, mixed only",
    "global mean, residual kept": "mean, residual kept",
    "Fourier mixing": "Fourier, mixed only",
    "Fourier mixing, residual kept": "Fourier, residual kept",
    "Fourier mixing, residual kept, orthonormal": "Fourier, residual kept, orthonormal",
    "positions only": "positions only",
    CHANCE: "chance (random router)",
}
labelled(
    pd.DataFrame(
        {
            candidates: [
                spread(*summary.loc[name, ["mean", "sd"]])
                for name in ablations
            ]
            for candidates, summary in precision.items()
        },
        index=ablations.values(),
    ),
    "routing precision",
)

# %% [markdown]
# **With the residual, the mean routes**: it goes from {glue:text}`global mean, others` to
# {glue:text}`global mean, residual kept, others`. The Fourier transform has to be orthonormal as well; then it reaches
# {glue:text}`Fourier mixing, residual kept, orthonormal, others`. Without that scaling it finds the evidence no more often
# than positions alone do. Which of these the paper ran we cannot know.

# %% [markdown]
# ## Routing is not reasoning
#
# In the paper bidirectional Mamba and 16 hubs route equally well, and answer 32.2% and 73.0% of the questions. It explains
# this by the richer representation of the hubs. Here all conditions share one Council. It reads the eight best positions and
# the token after each, and has to find the value among them.

# %%
answers = compare(
    {
        name: f"{claim}-accuracy"
        for name, claim in CLAIMS.items()
        if claim != "raw"
    },
    results,
)

# %% mystnb={"figure": {"caption": "Task accuracy for the same conditions, marked as in the figure above. Chance is a Council that reads randomly picked tokens.", "name": "fig-accuracy-06"}, "image": {"alt": "A row per preprocessing with the paper's task accuracy, the measured one and chance, for the two candidate sets."}} tags=["remove-input", "nbval-ignore-output"]
figures.claims_figure(answers)
plt.show()

# %% tags=["remove-cell"]
for name in ("global mean", "Fourier mixing"):
    record = results["others"].records[name, study.chosen[0]]
    claim = claims()[f"{CLAIMS[name]}-accuracy"]
    moved = expected(claim.value, level(claim, record))
    glue(f"moved {name}", percent(moved), display=False)

# %% [markdown]
# **A gap of the paper's size between recurrence and hubs does not show.** One layer of attention answers
# {glue:text}`accuracy attention, 1 layer, others` of the questions, bidirectional Mamba
# {glue:text}`accuracy bidirectional Mamba, others`, the 16 hubs {glue:text}`accuracy Perceiver, 16 hubs, others`, and raw
# embeddings {glue:text}`accuracy raw embeddings, others`. A Council that reads random tokens answers
# {glue:text}`accuracy random router, others`.
#
# **The mean agrees with the paper and Fourier mixing does not**, although they answer about as many here. Chance is higher at
# our size. At our chance the paper's 1.0% for the mean stands for {glue:text}`moved global mean`, and its 1.8% for Fourier
# mixing for {glue:text}`moved Fourier mixing`.
#
# ### Does another Council give the paper's accuracies?
#
# The Council reads sixteen tokens and is not told which of them the router liked best. The paper does not say what its
# Council knows. We try another one, whose picks are marked with their rank by a learned vector (`slots="learned"`). One seed,
# query excluded.

# %%
COUNCILS = {
    "8 picks": {},
    "8 picks, ranks marked": {"council": Council(slots="learned")},
}
READ = (
    "attention, 1 layer",
    "Perceiver, 16 hubs",
    "bidirectional Mamba",
    "raw embeddings",
)
TRIED = READ[:2]  # with marks


def asked(name, council):
    experiment = CONDITIONS[name].under["others"]
    return experiment.model_copy(update=COUNCILS[council])


councils = {
    council: study.run(
        {
            name: asked(name, council)
            for name in (TRIED if COUNCILS[council] else READ)
        },
        seeds=1,
    )
    for council in COUNCILS
}

# %% tags=["remove-input"]
paper_says = {
    name: str(claims()[f"{CLAIMS[name]}-accuracy"])
    for name in READ
    if name != "raw embeddings"
}
by_council = {c: r.summary("accuracy")["mean"] for c, r in councils.items()}
labelled(
    pd.DataFrame(
        {
            "paper": [paper_says.get(name, NONE) for name in READ],
            **{
                council: [
                    percent(values[name]) if name in values else NONE
                    for name in READ
                ]
                for council, values in by_council.items()
            },
            "routing precision": [
                percent(
                    councils["8 picks"].summary("precision").loc[name, "mean"]
                )
                for name in READ
            ],
        },
        index=list(READ),
    ),
    "task accuracy",
)

# %% tags=["remove-cell"]
for council, values in by_council.items():
    for name, value in values.items():
        glue(f"{council}, {name}", percent(value), display=False)

# %% [markdown]
# **What the Council is told decides.** With marked picks attention answers
# {glue:text}`8 picks, ranks marked, attention, 1 layer` of the questions in place of
# {glue:text}`8 picks, attention, 1 layer`, and the hubs {glue:text}`8 picks, ranks marked, Perceiver, 16 hubs` in place of
# {glue:text}`8 picks, Perceiver, 16 hubs`. Their routing is the same. In the paper attention and hubs answer twice as many
# questions as a recurrence. Without marks they do not here; with marks we did not try the recurrence.
#
# **Longer training does not replace the marks.** After {glue:text}`settled` epochs, on the same sequences or on new ones in
# every epoch, a Council without them still answers far less:


# %%
def patient(name, data, **changes):
    training = study.sizes.settled.model_copy(update={"data": data})
    return (
        CONDITIONS[name]
        .under["others"]
        .model_copy(update={"training": training, **changes})
    )


MARKED = {"council": Council(slots="learned")}
LONGER = {
    "raw embeddings": ("raw embeddings", {}),
    "attention, 1 layer": ("attention, 1 layer", {}),
    "attention, 1 layer, ranks marked": ("attention, 1 layer", MARKED),
}
patience = {
    data: study.run(
        {
            label: patient(name, data, **changes)
            for label, (name, changes) in LONGER.items()
        },
        seeds=1,
    )
    for data in ("fixed", "fresh")
}

# %% tags=["remove-input"]
labelled(
    pd.DataFrame(
        {
            f"{data} sequences": {
                name: percent(value)
                for name, value in result.summary("accuracy")["mean"].items()
            }
            for data, result in patience.items()
        }
    ),
    "task accuracy",
)

# %% [markdown]
# ## Rank one, in linear time
#
# The rank-1 router has one number per token, the *fingerprint* $s_i = v^\top h_i$, and scores a pair by the product of the
# two numbers. For a query with a positive fingerprint the largest fingerprints are best, and for a negative one the
# smallest. At inference no product is needed:

# %%
router = FingerprintScores(study.sizes.width)
x = torch.randn(
    1, 512, study.sizes.width, generator=torch.Generator().manual_seed(0)
)
for query in range(0, 512, 64):
    scores = router(x, torch.tensor([query]))[0]
    assert torch.equal(router.route(x[0], query, k=8), scores.topk(8).indices)

# %% tags=["remove-input"]
Code(inspect.getsource(FingerprintScores.route), language="python")

# %% [markdown]
# One number per token ranks all candidates the same way for every query of a sequence, or the opposite way. The router
# itself therefore cannot compare a query with a token. It can only find tokens that the representation has marked
# beforehand. A sequence of this task holds one question, so that a recurrence that has read it can mark the token that
# matches. The comparison then happens in the layer in front of the router.
#
# ### Can it be done at all?
#
# Yes, and with less than the paper uses. Below, the weights of one *left-to-right* Mamba block are set by hand; nothing
# is trained. The block's state stores a code of the query's token and nothing else. Every later token reads the state
# with its own code. What comes out is the inner product of two codes, which is largest for equal tokens.
# `fcilib/model/by_hand.py` has every weight.

# %%
by_hand = {}
for candidates in ("all", "others"):
    model = rank_one_by_hand(
        study.sizes.evidence, max(64, study.sizes.width), candidates
    )
    held_out = study.sizes.evidence.draw(1000, seed=0, split="test")
    by_hand[candidates] = evaluate(model, held_out, Training())["precision"]
    print(f'"{candidates}": {percent(by_hand[candidates])}')

# %% [markdown]
# ### What does it reach without comparing?
#
# Two levels follow by counting. A rule that sees positions alone picks the last position that evidence can have. (Trained
# on positions alone, the router had {glue:text}`positions only, others` above: this level, but for the noise of the test
# sequences.) A fingerprint without context adds one bit, its sign, which splits the tokens into two halves. The best rule
# then picks the last position whose token is in the same half as the query's. Whatever lies above this second level has
# compared tokens.


# %%
def floors(task):
    """Best precision of positions alone, and with one bit per token."""
    last, near = task.length - 2, task.min_distance
    query = torch.arange(1, last - near + 1)
    places = last - (query + near) + 1  # for the evidence, by query
    position = torch.arange(last + 1)[:, None]
    evidence = ((position >= query + near) / places).mean(dim=1)
    order = evidence.sort(descending=True).values
    half = (task.vocabulary - 1) / 2
    other = 1 - (half - 1) / (task.vocabulary - 2)  # not the query's half
    skipped = other ** torch.arange(len(order))
    return float(order[0]), float((order * skipped).sum())


by_position, by_sign = floors(study.sizes.evidence)
print("positions:", percent(by_position))
print("positions and one bit:", percent(by_sign))

# %% [markdown]
# ### Does training find it?
#
# At the head of this chapter every condition was trained for {glue:text}`epochs` epochs. Here the rank-1 router gets
# {glue:text}`settled`. Three choices vary: the learning rate, positions or none, and the data. The paper does not say whether
# each epoch goes over the same {glue:text}`sequences` sequences (*fixed*, our default) or over new ones (*fresh*). One seed; the query is excluded.


# %%
def trial(data, positions, rate, candidates="others"):
    changes = {"data": data, "learning_rate": rate}
    return study.experiment(
        representation=Flow(layers=1, bidirectional=True, positions=positions),
        router=RankOne(candidates=candidates),
        training=study.sizes.settled.model_copy(update=changes),
    )


CHOICES = (("learned", 1e-3), ("learned", 3e-3), ("none", 3e-3))
TRIALS = {
    (data, *choice): trial(data, *choice)
    for data in ("fixed", "fresh")
    for choice in CHOICES
}
names = {key: f"{key[0]}, positions {key[1]}, {key[2]:g}" for key in TRIALS}
trials = study.run({names[key]: e for key, e in TRIALS.items()}, seeds=1)

# %% mystnb={"figure": {"caption": "The rank-1 router on bidirectional Mamba by epoch, on the same sequences in every epoch (left) and on new ones (right). Dashed: without learned positions. The darker colour is the higher learning rate. The grey lines are the two floors: positions alone, and positions with one bit per token.", "name": "fig-rank-one-06"}, "image": {"alt": "Two panels of three curves of routing precision by epoch, and two grey floors. On fixed sequences the curve of the lower learning rate stays near the floors. All others rise well above them."}} tags=["remove-input", "nbval-ignore-output"]
fig, axes = figures.panels(dict.fromkeys(("fixed", "fresh")))
curves = trials.curves.set_index("condition")
for ax, data in zip(axes.flat, ("fixed", "fresh"), strict=True):
    for (kind, positions, rate), name in names.items():
        if kind == data:
            part = curves.loc[name]
            ax.plot(
                part.epoch,
                100 * part.precision,
                color={1e-3: "#56B4E9", 3e-3: "#0072B2"}[rate],
                linestyle={"learned": "-", "none": "--"}[positions],
                label=f"{rate:g}, {'positions' if positions == 'learned' else 'no positions'}",
            )
    for floor in (by_position, by_sign):
        ax.axhline(100 * floor, color="#777777", linewidth=0.8)
    ax.set(
        xlabel="epoch",
        ylabel="routing precision (%)",
        ylim=(0, 102),
        title=f"{data} sequences",
    )
axes.flat[0].legend()
plt.show()

# %% tags=["remove-input"]
final = trials.frame.set_index("condition")
labelled(
    pd.DataFrame(
        [
            {
                "sequences": data,
                "positions": positions,
                "learning rate": f"{rate:g}",
                "routing precision": percent(final.precision[name]),
                "training loss, last epoch": f"{curves.loc[name].loss.iloc[-1]:.2f}",
            }
            for (data, positions, rate), name in names.items()
        ]
    ).set_index("sequences"),
    "sequences",
)

# %% tags=["remove-cell"]
glue("epochs", study.sizes.training.epochs, display=False)
glue("settled", study.sizes.settled.epochs, display=False)
glue("sequences", f"{study.sizes.settled.sequences:,}", display=False)
low = final.precision[names["fixed", "learned", 1e-3]]
glue("lowest fixed", percent(low), display=False)
bare = final.accuracy[names["fixed", "none", 3e-3]]
glue("recurrence answers", percent(bare), display=False)
bare = min(final.precision[names[d, "none", 3e-3]] for d in ("fixed", "fresh"))
glue("no positions", percent(bare), display=False)
placed = [
    final.precision[names[key]]
    for key in TRIALS
    if key[1] == "learned" and key != ("fixed", "learned", 1e-3)
]
glue(
    "with positions",
    f"{percent(min(placed))} to {percent(max(placed))}",
    display=False,
)

# %% [markdown]
# **After {glue:text}`settled` epochs it routes in all trials but one.** On fixed sequences at the lower learning rate,
# 0.001, it stays at {glue:text}`lowest fixed`, between the two levels that need no comparison. With fresh sequences or the
# higher rate it reaches {glue:text}`with positions`. Without positions, at the higher rate, it reaches at least
# {glue:text}`no positions` (paper: 99.7%).
#
# With the query among the candidates it was trained for only {glue:text}`epochs` epochs
# ({glue:text}`bidirectional Mamba, rank-1, all`). The weights set by hand show that it can route there too.
#
# **The curves are flat for the first epochs and then rise within a few.** Training that stops on the flat part shows a router
# that does not learn. (The loss in the table also counts the answers, which are learned by heart on fixed sequences and
# hardly at all on fresh ones.)
#
# One number per token is therefore enough for one question, once the layer in front of the router has compared every
# token with that question.

# %% [markdown]
# ## What the paper says, what we measured, chance
#
# Routing precision first, then task accuracy. The paper's 98.9% for one layer of attention is §4.6's; its §4.1 has 98.4% for
# the same model. Its 1.2% for raw embeddings stands in §4.1 and Table 3; it gives no accuracy for them. A mean agrees with
# the paper's number if it lies within [the margin](tables-margin).

# %% tags=["remove-input"]
comparison_table(routing)

# %% tags=["remove-input"]
comparison_table(answers)

# %% [markdown]
# ### Further statements of this section
#
# The cost of the rank-1 router is measured in [chapter 10](10_cost.ipynb).

# %% tags=["remove-input"]
further(ledger(study.records, study.sizes), ["rank-one-linear"])

# %% tags=["remove-cell"]
held = routing[routing.condition != "raw embeddings"]
agreeing = held.groupby("condition", sort=False).agrees.all()
answering = answers.groupby("condition", sort=False).agrees.all()
excluded = held[held.protocol == "others"].set_index("condition")
failing = "; ".join(
    f"{name} ({percent(excluded.loc[name, 'mean'])}, paper {percent(excluded.loc[name, 'paper'])})"
    for name in agreeing[~agreeing].index
)
zero = precision["others"]["mean"]
rank_one = {key: final.precision[name] for key, name in names.items()}
answer = (
    f"Attention is not needed: most of the paper's cheap routes work, and so do raw embeddings without any layer, at "
    f"{percent(zero['raw embeddings'])} if the query itself may not be picked (chance {percent(zero[CHANCE])})."
)
sure = (
    f"{closing.measured(study)} The longer trainings and the Councils have one seed. We would change our mind if "
    f"bidirectional Mamba or the hubs failed at the paper's sizes, in three seeds."
)
verdict = (
    f"Of the {len(agreeing)} routing precisions in the table of §4.6, {agreeing.sum()} reproduce, with the query among the "
    f"candidates and without it. The others are: {failing}. The rank-1 router depends on its training: with more epochs and "
    f"nothing else it stays at {percent(rank_one['fixed', 'learned', 1e-3])}, and with new sequences in every epoch it reaches "
    f"{percent(rank_one['fresh', 'learned', 1e-3])}. Of the {len(answering)} task accuracies {answering.sum()} reproduce. "
    f"What the Council is told of its picks changes its accuracy more than the representation does."
)
closing.close(
    "06_escape_routes",
    "Escape routes",
    answer=answer,
    sure=sure,
    verdict=verdict,
    cost=closing.trained(study, results.values()),
)

# %% [markdown]
# ## What differs, and why
#
# * **Nothing in front of the router works as well as the escape routes do** ([chapter 1](01_phase_transition.ipynb) shows
#   why). This task therefore cannot show that routing needs context; [chapter 9](09_context_ladder.ipynb) has tasks that
#   can.
# * **Left-to-right recurrence.** Its residual alone would do, as raw embeddings show. The query also stands before the
#   evidence, so that a forward scan has read it by the time it reaches the evidence. What the scan contributes was not
#   measured here.
# * **The two failures.** The mean and Fourier mixing fail in our reading of them, without a residual. With a residual, and a
#   transform no larger than the token, both route. Fourier mixing is above the paper's 0.9% because positions alone reach as
#   much as it does.
# * **The rank-1 router** needs a layer that does the comparison, and that takes longer to learn.
# * **The accuracies** depend on the Council more than on the representation. With marked picks attention and hubs answer
#   more than in the paper, without marks much less. A recurrence can also pass the paper's 32.2%: the one in front of the
#   rank-1 router above, without positions and on fixed sequences, answers
#   {glue:text}`recurrence answers`. Which Council the paper had, we cannot tell.
# * **What is not comparable.** Task accuracy depends on the profile's sizes far more than routing does; read the
#   verdicts on it with that in mind.

# %% [markdown]
# ## Exercises
#
# 1. Give the rank-1 router no help: `study.experiment(representation=Embedding(), router=RankOne())` (from
#    `fcilib.representations` and `fcilib.routers`). What is the best it can do when nobody marked the evidence?
# 2. Ask unidirectional Flow with the task `other`, where
#    `other = study.sizes.evidence.model_copy(update={"order": "evidence-first"})`. Does the direction
#    matter?
# 3. Put two layers in front of the rank-1 router: `Flow(layers=2, bidirectional=True)` in `trial`. Does it leave
#    the floor earlier?
# 4. Give the Council four picks whose ranks are marked: `router=Investigator(candidates="others", k=4)` beside
#    `council=Council(slots="learned")` in `COUNCILS`. Is one pick enough, and are two as good?
