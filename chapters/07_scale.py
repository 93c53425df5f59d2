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
# # 7. Scale
#
# **The question.** A *router* is given one position of a sequence, the *query*, and has to pick the *evidence*, the only
# other one with the same token. Do the vectors that a pretrained language model computes hold what the router needs?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **The claim.** They hold it, but a router alone cannot use it. On the vectors of Pythia-1B a router reaches 35%, on those of Mamba-1.4B
# 28.7%. A *bridge*, one bidirectional layer trained between Pythia and the router, lifts it to 99.4%. The paper concludes that
# the vectors "already contain the information routing needs", in a form that only such a layer can reach. It adds that without
# pretraining causal attention does as well as bidirectional attention {cite:p}`basu2026routing` (§4.7, Tables 2 and 3).
#
# A *frozen backbone* is a pretrained language model that is trained no further. Its *states* are the vectors that it computes,
# one for each position. The router may not pick the query itself. By counting, a pick at random is right in one of
# {glue:text}`others` sequences, {glue:text}`by counting`; in the paper's longer sequences it is one of 511. The column *chance* is
# the score of a router that picked at random on our test sequences. Sampling noise sets it apart from the count.
#
# The grey box has the sizes of the first section. On frozen backbones most routers are trained for {glue:text}`trained for` steps on
# {glue:text}`sequences` sequences. The longer trainings have {glue:text}`steps of the long` steps on
# {glue:text}`sequences of the long` sequences, as the paper's bridge had.

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
import os

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Code
from myst_nb import glue

from fcilib.backbones import (
    MAMBA_1_4B,
    MAMBA_370M,
    MINILM,
    PYTHIA_1B,
    SMOLLM2,
    BackboneError,
    FrozenBackbone,
    pretrained,
    read_pretraining,
)
from fcilib.ledger.catalogue import (
    CHANCE,
    catalogue,
    chance_of,
)
from fcilib.ledger.chance import counted, level
from fcilib.ledger.claims import claims
from fcilib.ledger.comparison import compare
from fcilib.ledger.ledger import ledger
from fcilib.present import closing, figures
from fcilib.present.tables import further, labelled, linked
from fcilib.representations import (
    Frozen,
)
from fcilib.routers import (
    Investigator,
)
from fcilib.storage.places import weights_folder
from fcilib.study.notation import NONE, number, percent, spread, texts
from fcilib.study.profiles import PROFILES

# %% [markdown]
# ## Does direction matter, end to end?
#
# First, without pretraining. Attention is trained under two masks. *Bidirectional*: a position sees all others. *Causal*: it
# sees those before it. The query stands before the evidence, so under the causal mask it does not see the evidence.
#
# *Raw embeddings* have no layer: a vector for each token plus one for its position. *Positions only* is a router that sees no
# token. A row is *reproduced* if our number lies within [the margin](tables-margin) of the paper's: about two points, and more
# where our seeds differ more.

# %% tags=["hide-input"]
DEPTHS = (1, 2, 4)
known = catalogue(study.sizes)
SHOWN_AS = {
    **{f"bidirectional, depth {n}": f"attention-{n}" for n in DEPTHS},
    **{f"causal, depth {n}": f"causal-{n}" for n in (1, 2)},
    "raw embeddings": "raw",
    "positions only": "positions-only",
    CHANCE: "random",
}


def others(shown):
    """Conditions of the catalogue, the query excluded, by our labels."""
    return {
        label: known[name].under["others"] for label, name in shown.items()
    }


depths = study.run(others(SHOWN_AS)) | study.run(
    others({"causal, depth 4": "causal-4"}), seeds=2
)

# %% tags=["hide-input"]
ABLATION = {
    "bidirectional, depth 1": "scale-bidirectional-1",
    "bidirectional, depth 2": "scale-bidirectional-2",
    "bidirectional, depth 4": None,
    "causal, depth 1": "scale-causal-1",
    "causal, depth 2": "scale-causal-2",
    "causal, depth 4": "scale-causal-4",
    "raw embeddings": "raw",
    "positions only": None,
}
by_depth = compare(ABLATION, {"others": depths})
says = claims()

# %% tags=["remove-input"]
linked(
    pd.DataFrame(
        {
            "paper": by_depth.claim.to_list(),
            "measured": [
                spread(row["mean"], row.sd) for _, row in by_depth.iterrows()
            ],
            "chance": by_depth.chance.map(percent).to_list(),
            "verdict": by_depth.verdict.to_list(),
        },
        index=by_depth.condition.to_list(),
    ),
    ABLATION,
    "end to end",
)

# %% tags=["remove-cell"]
for name, text in texts(depths.summary("precision")).items():
    glue(name, text, display=False)
by_counting = counted(known["raw"].under["others"].with_seed(0), "precision")
glue("others", study.sizes.evidence.length - 1, display=False)
glue("by counting", percent(by_counting), display=False)

# %% [markdown]
# **Direction makes no difference here, and no layer is needed.** Raw embeddings do as well as attention. This task therefore
# cannot show what direction does. [Chapter 9](09_context_ladder.ipynb) has a task that can.

# %% [markdown]
# ## What does a router find on a frozen backbone?
#
# The paper's backbones are Pythia-1B and two large Mambas. They have to be downloaded, which is done only if `FCI_HUB=1` asks
# for it. We use four others. SmolLM2 {cite:p}`allal2025smollm2` and MiniLM {cite:p}`reimers2019sentence` are installed as packages.
# The other two are ours, matched in size, and pretrained on the same bytes in the same order: the source code of Python's standard
# library.

# %% tags=["hide-input"]
transformer, mamba = study.sizes.byte_lms
folder = weights_folder()
DEEP = {
    "our Transformer": transformer.layers,
    "our Mamba": mamba.layers,
    "SmolLM2-135M": 30,
    "MiniLM-L6": 6,
}
PAIR = {
    "our Transformer": read_pretraining(pretrained(transformer, folder)),
    "our Mamba": read_pretraining(pretrained(mamba, folder)),
}

# %% tags=["remove-cell"]
glue(
    "parameters",
    f"{PAIR['our Mamba'].parameters / 1e6:.1f}",
    display=False,
)

# %% tags=["remove-input"]
labelled(
    pd.DataFrame(
        {
            "a position sees": [
                "what stands before it",
                "what stands before it",
                "what stands before it",
                "everything",
            ],
            "layers": [str(layers) for layers in DEEP.values()],
            "width": [
                *(str(p.model.width) for p in PAIR.values()),
                "576",
                "384",
            ],
            "pretrained on": [
                *(
                    f"{p.tokens / 1e6:.1f} million bytes"
                    for p in PAIR.values()
                ),
                "2 trillion tokens",
                "1 billion pairs of sentences",
            ],
        },
        index=[*DEEP],
    ),
    "backbone",
)

# %% [markdown]
# Each token of the task becomes a token of the backbone's own vocabulary, chosen at random once. The backbone reads the
# sequence. A LayerNorm and one linear map bring its last states to our width, and the router is trained on them. As a control
# we train a router on the backbone's *token embeddings*, the vectors before its first layer, which have seen no context. There are
# {glue:text}`study seeds` seeds, and {glue:text}`seeds of SmolLM2` on SmolLM2.


# %% tags=["hide-input"]
def frozen(
    backbone,
    bridge="none",
    training=study.sizes.frozen,
    probing="standard",
    **more,
):
    return study.experiment(
        representation=Frozen(backbone=backbone, bridge=bridge, **more),
        router=Investigator(candidates="others"),
        training=training,
        probing=probing,
    )


BACKBONES = {
    "our Transformer": transformer,
    "our Mamba": mamba,
    "SmolLM2-135M": SMOLLM2,
    "MiniLM-L6": MINILM,
}
BRIDGES = {
    "no bridge": "none",
    "full bridge": "full",
    "sparse bridge": "sparse",
    "rank-1 bridge": "rank-one",
}
bridged = {
    f"{name}, {text}": frozen(backbone, bridge)
    for name, backbone in BACKBONES.items()
    for text, bridge in BRIDGES.items()
    if backbone != MINILM or bridge in ("none", "full")
}

# %% tags=["hide-input"]
CAUSAL = ("our Transformer", "our Mamba", "SmolLM2-135M")
WAYS = ("no bridge", "full bridge")
controls = {
    f"{name}, {control}, {text}": frozen(
        BACKBONES[name], BRIDGES[text], **change
    )
    for control, names, change in (
        ("token embeddings", CAUSAL, {"layer": 0}),
        ("random weights", CAUSAL[:2], {"weights": "random"}),
    )
    for name in names
    for text in WAYS
}
same_data = others(
    {
        "attention, end to end": "small-attention",
        "raw embeddings, end to end": "small-raw",
    }
)
same_data[CHANCE] = chance_of(same_data["raw embeddings, end to end"])

# %% tags=["hide-input"]
HUB = {
    "Pythia-1B": PYTHIA_1B,
    "Mamba-1.4B": MAMBA_1_4B,
    "Mamba-370M": MAMBA_370M,
}
from_hub = {}
for name, backbone in HUB.items():
    wanted = {
        f"{name}, {text}": frozen(backbone, BRIDGES[text]) for text in WAYS
    }
    there = all(study.has(experiment) for experiment in wanted.values())
    try:
        if there or os.environ.get("FCI_HUB"):
            if not there:
                backbone.folder()
            from_hub |= wanted
    except BackboneError as error:
        print(error)

every = {**bridged, **controls, **same_data, **from_hub}
large = {n: e for n, e in every.items() if n.startswith("SmolLM2")}
small = {n: e for n, e in every.items() if n not in large}
results = study.run(small) | study.run(large, seeds=2)

# %% tags=["remove-cell"]
precision = results.summary("precision")
measured, means = texts(precision), precision["mean"]
for name, text in measured.items():
    glue(f"frozen {name}", text, display=False)


def steps(training):
    return training.epochs * -(-training.sequences // training.batch)


trained_for = steps(study.sizes.frozen)
glue("sequences", f"{study.sizes.frozen.sequences:,}", display=False)
glue("trained for", f"{trained_for:,}", display=False)
glue("study seeds", study.seeds, display=False)
glue("seeds of SmolLM2", min(study.seeds, 2), display=False)
gains = [
    100 * (means[name] - means[f"{name.partition(', ')[0]}, no bridge"])
    for name in bridged
]
glue("bridge gains", f"{max(gains):.1f}", display=False)
glue("bridge loses", f"{-min(gains):.1f}", display=False)

# %% tags=["remove-input"]
shown = [name for name in (*BACKBONES, *HUB) if f"{name}, no bridge" in means]
labelled(
    pd.DataFrame(
        {
            view: [
                measured.get(f"{name}{infix}, no bridge", NONE)
                for name in shown
            ]
            for view, infix in {
                "last states": "",
                "token embeddings": ", token embeddings",
            }.items()
        },
        index=shown,
    ),
    f"{trained_for:,} steps",
)

# %% [markdown]
# **On the three causal backbones the last states give less than the token embeddings.** The router loses little on our
# Transformer, and nearly half on our Mamba and SmolLM2. On the last states of MiniLM, which sees everything, the router makes no
# mistake; MiniLM's token embeddings were not tried. All last states give more than the paper has on Pythia-1B (35%) and Mamba-1.4B
# (28.7%), though our router chooses among fewer candidates.

# %% [markdown]
# ## Does a bridge help, given the paper's steps?
#
# Our *bridge* is one more Transformer block, bidirectional and trained, between the backbone and the router. A *full* bridge has
# ordinary attention. A *sparse* bridge has the paper's pattern: a window of 32 tokens, and 16 tokens that every position sees. In a
# *rank-1* bridge every token has one number, and the product of two tokens' numbers is their score. The last two rows of the table have the longer training,
# with one seed.

# %% tags=["hide-input"]
full = study.sizes.bridged
repeats = full.epochs * full.sequences // study.sizes.frozen.sequences
few = study.sizes.frozen.model_copy(update={"epochs": repeats})
LONG = {
    f"{name}, {way}": frozen(backbone, BRIDGES[way], full)
    for name, backbone in BACKBONES.items()
    for way in WAYS
}
FEW = "our Mamba, no bridge, fewer sequences"
longer = study.run(LONG | {FEW: frozen(mamba, training=few)}, seeds=1)

# %% tags=["remove-cell"]
ends = longer.summary("precision")["mean"]
for name, value in ends.items():
    glue(f"long {name}", percent(value), display=False)
glue("steps of the long", f"{steps(full):,}", display=False)
glue("sequences of the long", f"{full.sequences:,}", display=False)

# %% tags=["remove-input"]
ROWS = {way: (way, measured) for way in BRIDGES} | {
    f"{way}, {steps(full):,} steps": (way, ends.map(percent)) for way in WAYS
}
labelled(
    pd.DataFrame(
        {
            name: [
                values.get(f"{name}, {way}", NONE)
                for way, values in ROWS.values()
            ]
            for name in BACKBONES
        },
        index=list(ROWS),
    ),
    "on last states",
)

# %% mystnb={"figure": {"caption": "The longer trainings, step by step: a router on the frozen last states (top), and with a full bridge between (bottom). All curves are nearly flat in the second half. From 2,000 steps on our Mamba is ahead with a bridge. Precision on held-out sequences, one seed. Dashed: chance. Squares: the paper's bridge on Pythia-1B.", "name": "fig-bridge-epochs"}, "image": {"alt": "Two panels, without a bridge and with one: learning curves on four backbones, chance, and in the second panel the paper's two points."}} tags=["remove-input", "nbval-ignore-output"]
curves = longer.curves.set_index(["condition", "epoch"]).precision
with figures.look():
    fig, axes = figures.panels(list(WAYS), stacked=True)
    for ax, way in zip(axes[0], WAYS, strict=True):
        for name in BACKBONES:
            curve = curves.loc[f"{name}, {way}"]
            at = steps(full) / len(curve) * curve.index
            kind = figures.style(name)
            ax.plot(at, 100 * curve, label=name, **kind | {"markevery": 4})
        figures.chance_line(ax, by_counting)
        ax.set_ylabel(f"{way} (%)")
        ax.set_ylim(-4, 104)
    axes[0, 1].plot(
        [6 / 40 * steps(full), 29 / 40 * steps(full)],
        [100 * says["bridge-early"].value, 100 * says["bridge-late"].value],
        "s", mfc="white", mec="#333333", ms=9, label="paper, Pythia-1B",
    )  # fmt: skip
    axes[0, -1].set_xlabel("training steps")
    handles, names = axes[0, 1].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper left", ncols=3, fontsize=9)
plt.show()

# %% [markdown]
# **Longer training on more sequences helps more than a bridge.** It takes the router on SmolLM2's last states from
# {glue:text}`frozen SmolLM2-135M, no bridge` to {glue:text}`long SmolLM2-135M, no bridge`. A bridge does not raise that number. Only
# on our Mamba does it raise the number after the longer training, from {glue:text}`long our Mamba, no bridge` to
# {glue:text}`long our Mamba, full bridge`, in the one seed that we have.
#
# **After the short training a bridge gains {glue:text}`bridge gains` points at most.** That is on our Mamba, and smaller than the
# spread over seeds. On our Transformer a bridge helps a little. On SmolLM2 a full or a sparse bridge makes the router worse, by
# {glue:text}`bridge loses` points at most; there are only {glue:text}`seeds of SmolLM2` seeds, and they differ about as much.
#
# Steps and sequences both count. With {glue:text}`steps of the long` steps on only {glue:text}`sequences` sequences the router on our
# Mamba has {glue:text}`long our Mamba, no bridge, fewer sequences`. That is about halfway from {glue:text}`frozen our Mamba, no bridge`
# to {glue:text}`long our Mamba, no bridge`.
#
# The paper has 35% without a bridge and 99.4% with one. It does not say how long it trained its router without a bridge. If that
# was shorter, the gap may be a gap in training.

# %% [markdown]
# ## Why do the last states give less than the embeddings?
#
# First we ask what share of the *variance* of the states comes from the position's own token. It is 100% if a token has the same
# state wherever it stands. The more the context changes the state, the smaller the share. As a control we take our two backbones
# before any training, with *random weights*.

# %% tags=["hide-input"]
half = study.sizes.frozen.held_out // 2
untrained = study.sizes.frozen.model_copy(
    update={"sequences": 1, "epochs": 0, "held_out": half}
)


def some_layers(depth):
    """The embeddings, more and more layers, the last but one, and the last after its norm."""
    powers = {2**n for n in range(depth) if 2**n < depth}
    return [*sorted(powers | {0, depth - 1}), depth]


def layer_of(name, layer):
    ours = name.startswith("our")
    return frozen(
        BACKBONES[name],
        training=study.sizes.frozen if ours else untrained,
        probing="states",
        layer=-1 if layer == DEEP[name] else layer,
    )


swept = study.run(
    {
        f"{name}/{layer}": layer_of(name, layer)
        for name in DEEP
        for layer in some_layers(DEEP[name])
    },
    seeds=1,
)
before = study.run(
    {
        f"{name}, random weights": frozen(
            BACKBONES[name],
            training=untrained,
            probing="states",
            weights="random",
        )
        for name in PAIR
    },
    seeds=1,
)

# %% tags=["remove-cell"]
states = swept.frame.set_index("condition")
states.index = pd.MultiIndex.from_tuples(
    [(n, int(layer)) for n, layer in states.index.str.split("/")]
)
least = min(states.loc[place, "nearest_read"] for place in DEEP.items())
glue("least after the probe", percent(least), display=False)

# %% tags=["remove-input"]
shares = pd.concat(
    [
        pd.Series(
            {n: states.loc[(n, d), "token_share"] for n, d in DEEP.items()}
        ),
        before.summary("token_share")["mean"],
    ]
).sort_values(ascending=False)
labelled(
    pd.DataFrame(
        {
            "variance from the token": shares.map(percent),
            f"a router, {trained_for:,} steps": [
                measured[f"{name}, no bridge"] for name in shares.index
            ],
        }
    ),
    "last states",
)

# %% [markdown]
# **After the short training the router does the better, the more of the variance comes from the token.** A Transformer with random
# weights writes little context over the token, and the router finds every pair. A random Mamba overwrites nearly all of the token.
# There a full bridge does not help either: the router has {glue:text}`frozen our Mamba, random weights, full bridge`. Pretraining
# brings some of the token back in our Mamba, and hides some of it in our Transformer.
#
# The share is not all that counts. After the long training SmolLM2, with the smaller share, is ahead of our Mamba.
#
# Second, we go through the layers. For the states of each layer we measure how well a router does after {glue:text}`trained for`
# steps, and how often the evidence's state is the nearest to the query's, by cosine. We measure the latter once more after a
# *linear probe*, a map that was fitted to read a position's own token off its state.

# %% mystnb={"figure": {"caption": "By layer, from the token embeddings (0) to the last (1): the precision of a router trained on its states (top; our two backbones only), and how often the evidence's state is the nearest to the query's, as it is (middle) and after a linear probe (bottom). The causal backbones lose the token with depth, and the probe brings it back. No bridge, one seed. Dashed: chance.", "name": "fig-layers"}, "image": {"alt": "Three panels, one below the other, against depth, a line per backbone: a trained router, the nearest state, the nearest after a linear probe."}} tags=["remove-input", "nbval-ignore-output"]
PANELS = {
    "precision": "a trained router",
    "nearest": "the nearest state",
    "nearest_read": "the nearest, after a probe",
}
with figures.look():
    fig, axes = figures.panels(list(PANELS), stacked=True)
    for ax, (what, title) in zip(axes[0], PANELS.items(), strict=True):
        for name, depth in DEEP.items():
            if what == "precision" and not name.startswith("our"):
                continue
            line_of = 100 * states.loc[name, what]
            kind = figures.style(name)
            ax.plot(line_of.index / depth, line_of, label=name, **kind)
        figures.chance_line(ax, by_counting)
        ax.set_ylabel(f"{title} (%)")
        ax.set_ylim(-4, 104)
    axes[0, -1].set_xlabel("layer, as a share of the depth")
    handles, names = axes[0, 1].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper left", ncols=3, fontsize=9)
plt.show()

# %% [markdown]
# **In the causal backbones the token fades with depth, and a linear map brings it back.** On the last states of all four backbones
# the nearest state after the probe is the evidence's in {glue:text}`least after the probe` of the sequences or more. In MiniLM it
# is the nearest without a probe, too.
#
# A map that the router could learn therefore exists, but the router has less to learn it from. The probe is told the token of every
# position; a router is told one pair in each sequence, the query and its evidence.

# %% [markdown]
# ## What is the paper's "rank"?
#
# Table 2 of the paper has a column "rank" that it does not define: 1.6 behind attention, 240 for raw embeddings. We read it as
# the mean *place* of the evidence. The router's scores put all candidates in an order; the best has place 1, and a router that
# picks at random has the evidence in the middle. We have fewer candidates than the paper, so that places can't be compared as they
# are. The table also has each as a share of the candidates, and no verdict.
#
# Attention and raw embeddings are trained here for {glue:text}`trained for` steps on {glue:text}`sequences` sequences. The paper's
# "Rank-1 bidir projection" we read as one layer of attention in front of a *rank-1 router*. That router has one number per token,
# and the score of a pair is the product of its two numbers. Ours has the sizes of the grey box.

# %%
rank_one = study.run(others({"Rank-1 bidir projection": "attention-rank-one"}))

# %% tags=["remove-input"]
RANKS = {
    "attention, end to end": "rank-attention",
    "raw embeddings, end to end": "rank-raw",
    "Rank-1 bidir projection": "rank-rank-one",
    CHANCE: None,
}
frames = pd.concat([results.frame, rank_one.frame])
inside = frames.groupby("condition").place.agg(["mean", "std"])
candidates = study.sizes.evidence.length - 1
paper_candidates = PROFILES["paper"].evidence.length - 1
linked(
    pd.DataFrame(
        {
            "paper, “rank”": [
                str(says[c]) if c else NONE for c in RANKS.values()
            ],
            f"of {paper_candidates}": [
                percent(says[c].value / paper_candidates) if c else NONE
                for c in RANKS.values()
            ],
            "mean place": [number(*inside.loc[name]) for name in RANKS],
            f"of {candidates}": [
                percent(inside.loc[name, "mean"] / candidates)
                for name in RANKS
            ],
        },
        index=list(RANKS),
    ),
    RANKS,
    "evidence",
)

# %% [markdown]
# **Raw embeddings have the evidence near place one.** The paper's 240 is near the middle, so that its raw embeddings are at chance.
# Ours are as good as attention.

# %% [markdown]
# ## What the paper says, what we measured, chance
#
# {glue:text}`verdict`
#
# Every row of Table 2. The names are the paper's: "E2E" is trained end to end, "w32+g16" the window of 32 tokens and the 16 tokens
# that all see. The rows on models of the Hugging Face hub were not run; `FCI_HUB=1 .venv/bin/fci run 07 --records _runs/records`
# would fill them. The rule is that of the first table. *Both near chance* means that the two numbers differ, but the paper's is less
# than four points from chance, and ours two at most.

# %% tags=["hide-input"]
TABLE_2 = {
    "Bidir attention 1L (E2E)": "scale-bidirectional-1",
    "Causal attention 1L (E2E)": "scale-causal-1",
    "Sparse bidir (w32+g16)": "sparse-attention",
    "Rank-1 bidir projection": "rank-one-attention",
    "Pythia-1B + bidir bridge": "bridge",
    "Pythia-1B (frozen)": "frozen-pythia-1b",
    "Mamba-1.4B (frozen)": "frozen-mamba-1.4b",
    "Mamba-370M (frozen)": "frozen-mamba-370m",
    "Flow 2L (E2E)": "unidirectional-fails",
    "Bidir Flow + seg. routing": "segment-bidirectional-flow",
    "No attention (E2E)": "raw",
}
TABLE_3 = {
    "Bidir Mamba + rank-1 pairwise": "bidirectional-mamba-rank-one",
    "Perceiver M=16 + pairwise": "perceiver-16",
    "Perceiver M=1 + pairwise": "perceiver-1",
    "Non-learned index: Bloom filter": "bloom",
    "Non-learned index: BM25, HotpotQA": "hotpotqa-bm25",
    "Unidir Flow + pairwise": "unidirectional-flow",
    "Global mean + pairwise": "global-mean",
    "Fourier + pairwise": "fourier",
}
BM25 = "Non-learned index: BM25, HotpotQA"
decides = {  # one condition for each row
    row: known[says[claim].decided_by[0]]
    for row, claim in (TABLE_2 | TABLE_3).items()
}
retrieved = study.retrieve(
    {BM25: decides.pop(BM25).under["white space"].retriever}
)
on_hub = {
    row: decides.pop(row)
    for row in list(decides)
    if decides[row].label.startswith((*HUB,))
}
runs = {row: condition.under["others"] for row, condition in decides.items()}
rows = study.run(
    runs | {f"chance: {row}": chance_of(run) for row, run in runs.items()}
)

# %% tags=["hide-input"]
found = rows.summary("precision")
of_hub = results.summary("precision")
measured_rows = {
    **{
        row: (*found.loc[row, ["mean", "sd"]], found["mean"][f"chance: {row}"])
        for row in runs
    },
    **{
        row: (*of_hub.loc[c.label, ["mean", "sd"]], of_hub["mean"][CHANCE])
        for row, c in on_hub.items()
        if c.label in of_hub.index
    },
    BM25: (
        *retrieved.summary("any_hit").loc[BM25, ["mean", "sd"]],
        retrieved.frame.any_hit_chance.iloc[0],
    ),
}


def level_of(row, claim):
    """Chance by counting, at our size and at the paper's."""
    if row == BM25:
        return level(claim, retrieved.records[BM25, 0])
    return level(claim, runs.get(row) or on_hub[row].under["others"])


def line(row, claim):
    """Paper, measured, chance and verdict."""
    if row not in measured_rows:
        size = HUB[on_hub[row].label.partition(",")[0]].gigabytes
        text = f"not tested: a download of about {size:g} GB"
        return [str(claim), text, NONE, NONE]
    mean, sd, chance = measured_rows[row]
    verdict = claim.verdict({"": (mean, sd, level_of(row, claim))})
    return [str(claim), spread(mean, sd), percent(chance), verdict]


def hierarchy(claims_of_rows):
    """Every row of a table of the paper."""
    return pd.DataFrame.from_dict(
        {row: line(row, says[name]) for row, name in claims_of_rows.items()},
        orient="index",
        columns=["paper", "measured", "chance", "verdict"],
    )


tables = {"Table 2": hierarchy(TABLE_2), "Table 3": hierarchy(TABLE_3)}

# %% tags=["remove-input"]
linked(tables["Table 2"], TABLE_2, "Table 2", earlier=[ABLATION])

# %% [markdown]
# Table 3, "the routing quality hierarchy", repeats most of these rows. Its others are:

# %% tags=["remove-input"]
linked(tables["Table 3"], TABLE_3, "Table 3", earlier=[ABLATION, TABLE_2])

# %% tags=["remove-cell"]
segments = runs["Bidir Flow + seg. routing"].with_seed(0)
fourier = found.loc["Fourier + pairwise", ["mean", "sd"]]
glue("table Fourier", spread(*fourier), display=False)
glue("picks", segments.router.k, display=False)
glue("questions of BM25", retrieved.questions.note, display=False)
any_pick = counted(segments, "precision_at_k")
glue("segment at k", percent(any_pick), display=False)

# %% [markdown]
# Of Table 2, {glue:text}`rows tested` reproduce. The four on frozen backbones, this chapter's own, could not be.
#
# * **The largest differences.** Raw embeddings ("No attention") and Flow, the paper's left-to-right recurrence, route here.
#   The two rank-1 routers do not within so few steps. [Chapter 6](06_escape_routes.ipynb) trains the one behind a bidirectional
#   Mamba for longer.
# * **Fourier mixing fails**, as the paper says. Its row is "not reproduced" because the numbers differ. Ours,
#   {glue:text}`table Fourier`, is no more than what a router finds that sees positions alone ({glue:text}`positions only`).
# * **Bloom filter.** The paper does not give the filter's size. Ours is one choice, and the number follows it.
# * **Segments.** A sequence has 16 segments, the router picks {glue:text}`picks` of them, and the table asks whether its first pick
#   is right: chance is one in 16, as for the Bloom filter. If a hit with any of the {glue:text}`picks` counts, chance is {glue:text}`segment at k`. If the
#   paper counts in this way, its 25.6% is no better than chance.
# * **BM25.** A hit with any pick counts here, and a question may have several right segments. Chance is therefore higher than in
#   the other rows. The text is split at white space; split into words in lower case it gives more than the paper has
#   ([](silences.md)). Where the questions come from: {glue:text}`questions of BM25`

# %% [markdown]
# ### Further statements of this section
#
# The folded table has the statements that stand in no table above. Most were not tested: they need a download, or have no record
# at this size.

# %% tags=["remove-input", "hide-output"]
further(
    ledger(study.records, study.sizes),
    [
        "causal-succeeds",
        "bridge",
        "bridge-early",
        "bridge-late",
        "backbone-ratio",
        "rank-causal",
        "rank-sparse",
        "rank-flow",
        "rank-bridge",
        "rank-pythia-1b",
        "rank-mamba-1.4b",
        "rank-mamba-370m",
    ],
    earlier=[TABLE_2],
)

# %% tags=["remove-cell"]
tested = {name: table[table.verdict != NONE] for name, table in tables.items()}
held = {
    name: (table.verdict == "reproduced").sum()
    for name, table in tested.items()
}
mean = means.map(percent)
shown_long = [f"{name}, no bridge" for name in BACKBONES]
steps_had = f"{steps(full):,}"
glue(
    "rows tested",
    f"{held['Table 2']} of the {len(tested['Table 2'])} rows that could be tested",
    display=False,
)
embedded = min(
    means[f"{name}, token embeddings, no bridge"] for name in CAUSAL
)
worst, best = (ends[shown_long].min(), ends[shown_long].max())
answer = (
    f"Yes, in the four models that we could run: after {steps_had} training steps a router on their vectors picks the evidence in "
    f"{percent(worst)} to {percent(best)} of the sequences (at random: one in {study.sizes.evidence.length - 1})."
)
verdict = (
    f"On two of the four, a router that is trained for only {trained_for:,} steps on fewer sequences stays at "
    f"{mean['our Mamba, no bridge']} and {mean['SmolLM2-135M, no bridge']}. Longer training on more sequences raises this more than the "
    f"paper's remedy, a bridge. All that this task needs is the token itself: on the token embeddings of the three causal models, before "
    f"any layer, the short training gives {percent(embedded)}. Their layers only take away from that."
)
sure = (
    f"Not very: the trainings of {steps_had} steps have one seed, two of the four models are small ones of our own, and one, MiniLM, is a sentence encoder. The paper's own, "
    "Pythia-1B and two large Mambas, have to be downloaded and were not run. We would change our mind if a router on a causal model of "
    f"their size stayed near 35% after {steps_had} steps, which the paper gives its bridge."
)
runs_here = (results, longer, swept, before)
closing.close(
    "07_scale",
    "Scale",
    answer=answer,
    sure=sure,
    verdict=verdict,
    cost=closing.trained(
        study,
        (*runs_here, depths),
        f"trains {sum(r.frame.condition.nunique() for r in runs_here)} models on frozen backbones, and those of other chapters "
        "where they are not recorded; a seed took {minutes} core-minutes at profile {profile}, without the "
        "passes through SmolLM2 and MiniLM, whose states were computed before. Weights of these two are "
        "installed by “make scale”.",
    ),
)

# %% [markdown]
# Folded: the code by which a task's tokens become a backbone's states.

# %% tags=["remove-input", "hide-output"]
Code(inspect.getsource(FrozenBackbone.states), language="python")

# %% [markdown]
# ## What differs, and why
#
# * **Steps.** The paper gives the epochs of its bridge. How long its routers without a bridge were trained is not known.
# * **Our pair.** The Mamba has the lower loss on text and the worse states for this task. Before any training the Transformer
#   is ahead already. A pair of equal loss would be needed to compare the two architectures.
# * **Direction.** For pretrained backbones the question is open. Our one bidirectional encoder routes best, and differs
#   from the causal ones in much more than its mask.
# * **What is not comparable.** Our pair has {glue:text}`parameters` million parameters. SmolLM2 is quantised to four bits and tuned
#   to follow instructions. The paper does not say which tokens, layer and projection it uses.
#
# ## Exercises
#
# **To run it again.** `.venv/bin/fci run 07 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# 1. Which layer of SmolLM2 suits a router best? Let `layer_of` train it as it trains our own.
# 2. How many sequences does a router on SmolLM2 need? `frozen(SMOLLM2, training=few)`.
# 3. Tell the bridge positions: `frozen(transformer, "full", positions="learned")`. Which bridge gains?
# 4. Put a model of your own behind the router: `frozen(HubModel(name="path/or/name"), "full")` (from `fcilib.backbones`).
