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
# # 4. Contrastive pretraining
#
# **The question.** A *router* is given one position of a sequence, the *query*, and has to pick the *evidence*, which holds
# the same token at another position. Their vectors, a token's plus a position's, differ by the position. Is it enough to
# pretrain embeddings so that the two vectors become alike, or must attention first write the match into them?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **The claim.** Such pretraining fails. With the contrastive loss InfoNCE on pairs of query and evidence, the router is
# right in 1.6% of the sequences if the embeddings stay frozen, and in 2.2% if they are fine-tuned. The paper's reason
# is that a contrastive loss only compares, while attention compares tokens, normalises the weights and aggregates the values.
# The aggregation is what counts {cite:p}`basu2026routing` (§4.4, Fig. 5).
#
# We first pretrain embeddings, then the router's own projections. After that we weaken attention, step by step. Last, linear
# probes say whether the match is in the vectors that a router sees.

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

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Code
from myst_nb import glue

from fcilib.ledger.catalogue import (
    CHANCE,
    by_protocol,
    catalogue,
    conditions,
)
from fcilib.ledger.claims import claims
from fcilib.ledger.comparison import compare
from fcilib.model import probes
from fcilib.present import closing, figures
from fcilib.present.paper_size import paper_records, paper_text
from fcilib.present.tables import comparison_table, labelled
from fcilib.representations import (
    AblatedAttention,
    Embedding,
)
from fcilib.representations.contrastive import MatchedEmbedding
from fcilib.routers import ContrastiveInvestigator
from fcilib.study.notation import percent, spread, texts
from fcilib.study.profiles import PROFILES

# %% [markdown]
# ## Does a contrastive loss teach routing?
#
# InfoNCE pulls the query's vector towards that of its own evidence, and pushes it away from the evidence of the other
# sequences in the batch {cite:p}`oord2018infonce`. Pretraining takes as many epochs as training. Then the router is
# trained on the vectors as they are (*frozen*), or together with them (*fine-tuned*). *Raw embeddings* skip the pretraining;
# they are the paper's baseline.
#
# Under “all” the router may pick any position, the query's own included, as the paper's equations read. Under “others” it may
# pick any but the query's. *Precision* is the share of sequences in which it picks the evidence. *Chance* is the precision of a
# random router on the same test sequences, here {glue:text}`random router, others`. On infinitely many sequences it would be
# one in {glue:text}`candidates`.
#
# To separate pretraining from freezing we add a control: *raw embeddings, frozen* keep their random initial values, and only
# the router is trained.


# %%
CONDITIONS = conditions(
    study.sizes,
    "contrastive-frozen",
    "contrastive-tuned",
    "raw",
    "attention-1",
    "random",
)
experiments = by_protocol(CONDITIONS)
FROZEN = "raw embeddings, frozen"
for runs in experiments.values():
    runs[FROZEN] = runs["raw embeddings"].model_copy(
        update={"representation": Embedding(embeddings="frozen")}
    )
results = study.run_protocols(experiments)

# %% tags=["hide-input"]
CLAIMS = {label: c.claim for label, c in CONDITIONS.items() if c.claim}
CLAIMS[FROZEN] = None
comparison = compare(CLAIMS, results)

# %% mystnb={"figure": {"caption": "Routing precision on embeddings pretrained with InfoNCE, on raw ones and behind one layer of attention: paper (hollow), measured (filled, with its spread over seeds), chance (tick). The line between paper and measured is blue where the two agree within the margin, and orange where they differ. The paper has no number for frozen raw embeddings (black). Rows are sorted by what was measured with the query excluded.", "name": "fig-contrastive"}, "image": {"alt": "Five rows with the paper's routing precision, the measured one and chance, for the two candidate sets."}} tags=["remove-input", "nbval-ignore-output"]
figures.claims_figure(comparison)
plt.show()

# %% tags=["remove-cell"]
precision = {c: r.summary("precision") for c, r in results.items()}
for c, summary in precision.items():
    for name, text in texts(summary).items():
        glue(f"{name}, {c}", text, display=False)
    frozen = results[c].frame.query("condition == 'contrastive, frozen'")
    ties = (frozen.precision_tie_won - frozen.precision_tie_lost).mean()
    assert ties < 0.005  # hardly any: how they are counted changes no digit
    picks = percent(frozen.picked_query.mean())
    glue(f"picked_query, {c}", picks, display=False)
glue("candidates", study.sizes.evidence.length - 1, display=False)

# %% [markdown]
# **With the query excluded, the router succeeds on contrastive embeddings.** It reaches
# {glue:text}`contrastive, frozen, others` on frozen ones, and {glue:text}`contrastive, fine-tuned, others` on fine-tuned ones.
#
# **With the query among the candidates, freezing costs precision.** Frozen embeddings reach
# {glue:text}`contrastive, frozen, all` if they are pretrained and {glue:text}`raw embeddings, frozen, all` if they are random.
# Embeddings that learn with the router reach {glue:text}`contrastive, fine-tuned, all` if they are pretrained and
# {glue:text}`raw embeddings, all` if not. Pretraining makes less difference than freezing.
#
# On frozen pretrained embeddings the router picks the query itself in {glue:text}`picked_query, all` of the sequences. We
# think that it often cannot tell the two apart, because frozen vectors of positions cannot adapt.

# %% [markdown]
# ## What if the projections are pretrained, and not the embeddings?
#
# The paper also says that contrastive pretraining "only trains projections on unmodified representations". The
# projections may be the router's own, $W_q$ and $W_k$. Here those two matrices are pretrained with InfoNCE on raw
# embeddings and never change again. In the usual training that follows, the embeddings either learn or keep their random
# initial values. The gains and offsets of the LayerNorm in front of the router learn in both cases. The table has one seed.

# %%
VECTORS = {
    "embeddings trained afterwards": Embedding(),
    "embeddings kept random": Embedding(embeddings="frozen"),
}


def projected(vectors, candidates):
    router = ContrastiveInvestigator(
        candidates=candidates, epochs=study.sizes.training.epochs
    )
    return study.experiment(representation=VECTORS[vectors], router=router)


projections = {
    c: study.run({n: projected(n, c) for n in VECTORS}, seeds=1)
    for c in ("all", "others")
}

# %% tags=["remove-input"]
by_projection = {c: r.summary("precision") for c, r in projections.items()}
picked = projections["all"].summary("picked_query")["mean"]
labelled(
    pd.DataFrame(
        {
            **{
                f"“{c}”": texts(summary)
                for c, summary in by_projection.items()
            },
            "picks the query, “all”": {
                name: percent(value) for name, value in picked.items()
            },
            "chance (all / others)": " / ".join(
                percent(precision[c].loc[CHANCE, "mean"])
                for c in ("all", "others")
            ),
        }
    ),
    "pretrained projections",
)

# %% tags=["remove-cell"]
for c, summary in by_projection.items():
    for name, text in texts(summary).items():
        glue(f"{name}, {c}", text, display=False)
glue("picks query", percent(picked.iloc[-1]), display=False)

# %% [markdown]
# **With the query excluded, the router succeeds on pretrained projections, too.** On random embeddings it reaches
# {glue:text}`embeddings kept random, others`.
#
# **With the query among the candidates it nearly fails.** On random embeddings it reaches
# {glue:text}`embeddings kept random, all`, and picks the query itself in {glue:text}`picks query` of the sequences. The match is
# there, as the column “others” shows, but the query matches itself better. Only the LayerNorm still learns, and it does not
# undo this. Embeddings that are trained afterwards undo part of it: they reach
# {glue:text}`embeddings trained afterwards, all`.
#
# Both numbers are below {glue:text}`raw embeddings, frozen, all`, which the router reaches on frozen random embeddings if its
# projections learn. We cannot tell whether the loss comes from pretraining the projections or from freezing them.
#
# Of all contrastive variants, pretrained projections on random embeddings come nearest to the paper's 1.6%. They are still far
# above chance.

# %% [markdown]
# ## Which step of attention counts?
#
# Attention gives each token a weighted sum of all tokens' *values*. In the paper's words it compares (the scores), normalises
# (the softmax, which concentrates the weights on the best matches) and aggregates (the sum). The paper says that the third
# step counts. We weaken attention in three ways, and see what is left:
#
# * *no comparison*: each token is scored by itself, so that the weights are the same for every query;
# * *uniform weights*: every weight is one over the number of tokens, so that nothing is compared and nothing concentrated;
# * *no aggregation*: the weights are not used, and each token keeps its own value.
#
# The router may not pick the query here (“others”). We never removed the softmax alone. The
# output of a Transformer layer is a sum: the token's own vector, the *residual*, plus what attention writes. We measure each
# layer with the residual and without it.

# %%
others = experiments["others"]
attention = others["attention, 1 layer"]
STEPS = {
    "all three steps": "nothing",
    "no comparison": "comparison",
    "uniform weights": "normalisation",
    "no aggregation": "aggregation",
}


def thorough(experiment, **changes):
    return experiment.model_copy(update={"probing": "thorough", **changes})


def ablated(residual):
    layers = {
        name: AblatedAttention(without=without, residual=residual)
        for name, without in STEPS.items()
    }
    runs = {
        name: thorough(attention, representation=layer)
        for name, layer in layers.items()
    }
    return {**runs, CHANCE: others[CHANCE]}


whole = {"all three steps": thorough(attention)}
steps = study.run_protocols(
    {
        "with the residual": ablated(True) | whole,
        "what attention writes": ablated(False),
    }
)

# %% mystnb={"figure": {"caption": "Routing precision with one layer of attention, whole and weakened: mean with its spread over seeds, and chance (tick). Circles (upper line of a row): without the residual. Squares (lower line): with it, as in a Transformer. Rows are sorted by the circles. The paper makes no measurement of this.", "name": "fig-steps"}, "image": {"alt": "Four rows, the whole layer and three weaker ones, with a circle for the layer without its residual and a square for the layer with it."}} tags=["remove-input", "nbval-ignore-output"]
figures.claims_figure(compare(dict.fromkeys(STEPS), steps))
plt.show()

# %% tags=["remove-cell"]
stepwise = {p: r.summary("precision") for p, r in steps.items()}
for p, summary in stepwise.items():
    for name, text in texts(summary).items():
        glue(f"{name}, {p}", text, display=False)

# %% [markdown]
# **With the residual, the router needs none of what we removed.** Behind the whole layer the router reaches
# {glue:text}`all three steps, with the residual`. It reaches {glue:text}`no comparison, with the residual` without a
# comparison, {glue:text}`uniform weights, with the residual` with uniform weights, and
# {glue:text}`no aggregation, with the residual` without aggregation. The residual hands on the tokens' own vectors, and the
# router compares those.
#
# **Without the residual, a layer that sums values needs the comparison.** If the weights are the same for every query, every
# token gets the same sum. All positions tie, and precision is {glue:text}`no comparison, what attention writes`, which is one in
# {glue:text}`candidates`.
#
# **The sum can go even without the residual.** If each token keeps its own value, the router reaches
# {glue:text}`no aggregation, what attention writes`. A token's value is its raw embedding, seen through
# one more map. The whole layer reaches no more ({glue:text}`all three steps, what attention writes`).

# %% [markdown]
# ## Is the match in the vectors?
#
# The paper says "The match result must become part of the representation" (§4.4). We let a *probe*, a linear classifier
# {cite:p}`alain2017probes`, decide whether position $j$ is the evidence. It sees one of three things: the vector $x_j$ alone, the
# query's vector $x_q$ and $x_j$ side by side, or the entrywise product of the two.
#
# In half of the probe's cases $j$ is the evidence. In the other half $j$ is where the evidence stands in another sequence, so
# that positions give nothing away. Guessing is right in half of the cases. As a control, *nothing to find* takes $j$ from other
# sequences in both halves. The last column is the router's own precision (“others”). *Content-only* embeddings have no positions.


# %%
untrained = study.sizes.training.model_copy(update={"epochs": 0})
content_only = catalogue(study.sizes)["content-only"]
inside = study.run(
    {
        "raw embeddings": thorough(others["raw embeddings"]),
        "content-only": thorough(content_only.under["others"]),
        "attention, untrained": thorough(attention, training=untrained),
    }
)
PROBES = {
    "match_in_evidence": "vector j alone",
    "match_in_pair": "side by side",
    "match_in_product": "products",
    "match_by_chance": "nothing to find",
}
probed = {
    "attention, 1 layer": (steps["with the residual"], "all three steps"),
    "attention, untrained": (inside, "attention, untrained"),
    "attention alone, no residual": (
        steps["what attention writes"],
        "all three steps",
    ),
    "raw embeddings": (inside, "raw embeddings"),
    "content-only": (inside, "content-only"),
    "contrastive, frozen": (results["others"], "contrastive, frozen"),
    "contrastive, fine-tuned": (results["others"], "contrastive, fine-tuned"),
}

# %% tags=["remove-input"]
summaries = {
    column: {
        shown: tuple(found.summary(column).loc[name, ["mean", "sd"]])
        for shown, (found, name) in probed.items()
    }
    for column in ("precision", *PROBES)
}
labelled(
    pd.DataFrame(
        {
            **{
                title: [spread(*summaries[column][shown]) for shown in probed]
                for column, title in PROBES.items()
            },
            "router, “others”": [
                percent(summaries["precision"][shown][0]) for shown in probed
            ],
        },
        index=list(probed),
    ),
    "probe of",
)

# %% tags=["remove-cell"]
routed = percent(summaries["precision"]["attention, untrained"][0])
glue("precision attention, untrained", routed, display=False)
for column in PROBES:
    for shown in probed:
        glue(
            f"{column} {shown}",
            spread(*summaries[column][shown]),
            display=False,
        )

# %% [markdown]
# **No linear probe reads the match off the evidence's vector.** Behind one layer of attention it is right in
# {glue:text}`match_in_evidence attention, 1 layer` of the cases. With the query's vector beside it, it is right in
# {glue:text}`match_in_pair attention, 1 layer`. The second number is no surprise, because a linear probe cannot see
# whether two vectors are equal. On content-only embeddings the probe of both side by side is a little above half
# ({glue:text}`match_in_pair content-only`). We do not know why; it may be noise.
#
# **The match is in the products of the two vectors,** with attention ({glue:text}`match_in_product attention, 1 layer`) and
# without it ({glue:text}`match_in_product raw embeddings` on raw embeddings). A router that is trained to weigh such products
# finds it there; an untrained one does not. Behind untrained attention the probe finds the match as well
# ({glue:text}`match_in_product attention, untrained`), but the router picks the evidence in
# {glue:text}`precision attention, untrained`.
#
# This does not test the paper's own example, in which the match is in the *query's* vector ("encodes … that position 350
# matched its content").

# %% [markdown]
# ## What the paper says, what we measured, chance
#
# {glue:text}`verdict`
#
# *Reproduced* means that our number lies within [the margin](tables-margin) of the paper's, whether or not the query may be
# picked. The margin is two points, less near chance, more where a number has a larger error.

# %% tags=["remove-input"]
comparison_table(comparison)

# %% tags=["remove-cell"]
mean = {c: s["mean"] for c, s in precision.items()}
answer = (
    f"Yes: on frozen embeddings that were pretrained to match, the router finds the right token in "
    f"{percent(mean['others']['contrastive, frozen'])} of the sequences, and in {percent(mean['all']['contrastive, frozen'])} "
    f"where it may also pick the query itself (paper: {claims()['contrastive-frozen']}; chance: "
    f"{percent(mean['others'][CHANCE])})."
)
at_paper = {
    c: paper_text(paper_records(study, "contrastive-frozen", c), "precision")
    for c in ("all", "others")
}
sure = (
    f"{closing.measured(study)} At the paper's sizes frozen pretrained embeddings reach {at_paper['others']}, and "
    f"{at_paper['all']} if the query may be picked; chance is {percent(1 / PROFILES['paper'].evidence.length)}. We would change our mind if in "
    f"three seeds they stayed near chance in both cases, while the router succeeded behind attention."
)
verdict = (
    f"If the query may be picked, it is freezing that costs precision. Frozen embeddings reach "
    f"{percent(mean['all']['contrastive, frozen'])} if pretrained and {percent(mean['all'][FROZEN])} if random. Trained along with "
    f"the router, pretrained ones reach {percent(mean['all']['contrastive, fine-tuned'])} and random ones "
    f"{percent(mean['all']['raw embeddings'])}. Chance is {percent(mean['all'][CHANCE])}. If the query may not be picked, either step "
    f"of attention, comparison or aggregation, can be removed, as long as the vectors keep the tokens apart."
)
closing.close(
    "04_contrastive_failure",
    "Contrastive pretraining",
    answer=answer,
    sure=sure,
    verdict=verdict,
    cost=closing.trained(
        study,
        (
            *results.values(),
            *projections.values(),
            *steps.values(),
            inside,
        ),
        "trains {models} models (some are shared with chapters 1 and 2); a seed took {minutes} core-minutes "
        "at profile {profile}.",
    ),
)

# %% [markdown]
# ## What differs, and why
#
# * **Pretraining.** The router compares two vectors that hold the same token, and pretraining makes them more alike. That is
#   no obstacle. Freezing the vectors is one, if the query may be picked.
# * **The paper's 1.6%.** We cannot explain it. Pretrained projections on random embeddings come closest
#   ({glue:text}`embeddings kept random, all`) if the query is among the candidates, as the paper's equations allow. We did not run
#   them at the paper's sizes.
# * **Aggregation** can be left out, at least if the query may not be picked. What the router needs is that the vectors keep the tokens apart. The residual does that.
#   Without it, each token's own value does, and so does a sum of values by weights that compare.
# * **The task.** Here the evidence is the second copy of the query's token. Where context decides which of several equal tokens is meant,
#   something has to write the context into the vectors. [Chapter 9](09_context_ladder.ipynb) has such tasks.
#
# The pretraining and the probe, in full:

# %% tags=["remove-input"]
Code(
    inspect.getsource(MatchedEmbedding.pretrain)
    + "\n"
    + inspect.getsource(MatchedEmbedding.loss)
    + "\n\n"
    + inspect.getsource(probes.linear_probe),
    language="python",
)

# %% [markdown]
# ## Exercises
#
# **To run it again.** `.venv/bin/fci run 04 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# 1. Pretrain without positions: `Contrastive(positions="none")`. What becomes of the frozen embeddings
#    under `"all"`?
# 2. Which token is the query like? Run `attention.model_copy(update={"probing": "answer"})` and compare two probes: `cosine_gap`
#    is the mean cosine of query and evidence, less that of the query and a random other token; `cosine_gap_answer` is the
#    same for the token after the evidence.
# 3. Lower the temperature to 0.02 in `Contrastive`. Does fine-tuning still keep the router from picking the query?
# 4. Probe a recurrence: add `thorough(attention, representation=Flow(layers=1))` to the runs of `inside`, in the code above
#    the table of probes. The query comes first, so that a scan has read it when it meets the evidence: is the match written into
#    $x_j$ there?
