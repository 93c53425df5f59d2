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
# # 7. Scale: pretrained language models
#
# **The question.** A *router* is given one token of a sequence, the *query*. It has to pick the *evidence*, the only other
# position with the same token. Here the router works on the vectors of a pretrained language model, which is *frozen*: it is not
# trained any further. Must a trained layer, a *bridge*, stand between model and router, or does the router find the evidence
# without one?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **The claim.** A router alone cannot use the vectors. It finds the evidence in 35% of the sequences on the language model
# Pythia-1B, and in 28.7% on Mamba-1.4B. With a bridge on Pythia-1B, one layer of attention, it finds 99.4%. The paper concludes
# that the vectors "already contain the information routing needs", and that only a bridge makes it usable
# {cite:p}`basu2026routing` (§4.7, Table 2).

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

# %% tags=["remove-cell"]
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
# ## How do we put a router on a language model?
#
# A sequence has {glue:text}`length` made-up tokens, for example **7** 4 9 3 … 2 **7** 5. The query is the first 7, and the router
# has to pick the second. For the language model each made-up token becomes one of the model's own tokens, the same in all sequences:
# 7 may become "lamp". The model reads the sequence, and its last layer gives one vector for each position. The router sees these vectors
# only. We train the router, and one linear map in front of it.
#
# The paper's models have to be downloaded, and we did not run them. We use four others:
#
# * *SmolLM2*, with 135 million parameters, reads from left to right {cite:p}`allal2025smollm2`.
# * *Our Transformer* and *our Mamba* read from left to right, too. We pretrained both on the same text, Python source code, which
#   they read byte by byte. They have {glue:text}`parameters` million parameters.
# * *MiniLM* is a sentence encoder: each of its vectors depends on the whole sequence {cite:p}`reimers2019sentence`.

# %% tags=["remove-cell"]
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

glue(
    "parameters",
    f"{PAIR['our Mamba'].parameters / 1e6:.1f}",
    display=False,
)
glue("length", study.sizes.evidence.length, display=False)

# %% [markdown]
# ## Does the router need a bridge?
#
# Our *bridge* is one layer of attention that is trained along with the router. In it every position sees all others. We train
# with and without the bridge. A *short* training has {glue:text}`trained for` steps on {glue:text}`sequences` sequences. A *long*
# one has {glue:text}`steps of the long` steps on {glue:text}`sequences of the long` sequences, as the paper says of all its
# experiments.


# %%
def frozen(
    backbone,
    bridge="none",
    training=study.sizes.frozen,  # the short one
    probing="standard",
    **more,
):
    return study.experiment(
        representation=Frozen(backbone=backbone, bridge=bridge, **more),
        router=Investigator(candidates="others"),  # it can't pick the query
        training=training,
        probing=probing,
    )


# %% tags=["remove-cell"]
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
known = catalogue(study.sizes)


def others(shown):
    """Conditions of the catalogue, the query excluded, by our labels."""
    return {
        label: known[name].under["others"] for label, name in shown.items()
    }


bridged = {
    f"{name}, {text}": frozen(backbone, bridge)
    for name, backbone in BACKBONES.items()
    for text, bridge in BRIDGES.items()
    if backbone != MINILM or bridge in ("none", "full")
}
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
precision = results.summary("precision")
measured, means = texts(precision), precision["mean"]
for name, text in measured.items():
    glue(f"frozen {name}", text, display=False)


trained_for = study.sizes.frozen.steps
glue("sequences", f"{study.sizes.frozen.sequences:,}", display=False)
glue("trained for", f"{trained_for:,}", display=False)
glue("study seeds", study.seeds, display=False)
glue("seeds of SmolLM2", min(study.seeds, 2), display=False)
gains = [
    100 * (means[name] - means[f"{name.partition(', ')[0]}, no bridge"])
    for name in bridged
]
signed = {
    name: 100 * (means[f"{name}, full bridge"] - means[f"{name}, no bridge"])
    for name in BACKBONES
}
glue(
    "bridge short",
    f"{min(signed.values()):+.1f} to {max(signed.values()):+.1f}".replace(
        "-", "−"
    ),
    display=False,
)
sd_of_smol = precision["sd"]["SmolLM2-135M, no bridge"]
glue("spread of SmolLM2", f"{100 * sd_of_smol:.1f}", display=False)
enough = [f"{n}, no bridge" for n in ("our Transformer", "MiniLM-L6")]
glue("short is enough", percent(means[enough].min()), display=False)
glue("bridge loses", f"{-min(gains):.1f}", display=False)
glue("chance", percent(means[CHANCE]), display=False)
glue("others", study.sizes.evidence.length - 1, display=False)
by_counting = counted(known["raw"].under["others"].with_seed(0), "precision")
ends = longer.summary("precision")["mean"]
for name, value in ends.items():
    glue(f"long {name}", percent(value), display=False)
glue("steps of the long", f"{full.steps:,}", display=False)
glue("sequences of the long", f"{full.sequences:,}", display=False)
lost = max(
    ends[f"{n}, no bridge"] - ends[f"{n}, full bridge"] for n in BACKBONES
)
mamba_gains = ends["our Mamba, full bridge"] - ends["our Mamba, no bridge"]
glue("bridge gains Mamba", f"{100 * mamba_gains:.1f}", display=False)
end_to_end = known["raw"].under["others"].training
glue("steps end to end", f"{end_to_end.steps:,}", display=False)
glue("sequences end to end", f"{end_to_end.sequences:,}", display=False)
glue("long bridge loses", f"{100 * lost:.1f}", display=False)

# %% tags=["remove-input"]
labelled(
    pd.DataFrame(
        {
            f"{length}, {'with' if way == 'full bridge' else 'no'} bridge": [
                values.get(f"{name}, {way}", NONE) for name in BACKBONES
            ]
            for length, values in (
                ("short training", measured),
                ("long training", ends.map(percent)),
            )
            for way in WAYS
        },
        index=list(BACKBONES),
    ),
    "evidence found by a router on",
)

# %% [markdown]
# The table has the share of test sequences in which the router picks the evidence. A ± is the spread over seeds: the short
# trainings have {glue:text}`study seeds` seeds (SmolLM2: {glue:text}`seeds of SmolLM2`), the long ones one. *Chance*, a router that
# picks at random, has {glue:text}`chance` by the same code; by counting it is one in {glue:text}`others`, the number of positions without
# the query.
#
# **A long training helps more than a bridge.** Without a bridge it takes the router on SmolLM2 from
# {glue:text}`frozen SmolLM2-135M, no bridge` to {glue:text}`long SmolLM2-135M, no bridge`, and on our Mamba from
# {glue:text}`frozen our Mamba, no bridge` to {glue:text}`long our Mamba, no bridge`. Our Transformer and MiniLM have
# {glue:text}`short is enough` or more already after the short training.
#
# **Steps and sequences both count.** On our Mamba, {glue:text}`steps of the long` steps on only {glue:text}`sequences` sequences
# give {glue:text}`long our Mamba, no bridge, fewer sequences`.
#
# **A bridge gains little.** After the short training it changes precision by {glue:text}`bridge short` points. After the long one it
# gains {glue:text}`bridge gains Mamba` points on our Mamba. The other three models lose {glue:text}`long bridge loses` at most.
#
# The paper gives one length for all its trainings. If its router had this one, a short training does not explain why it failed without
# a bridge.

# %% [markdown]
# ## What do the layers do to the token?
#
# To solve this task it is enough to know which token stands at each position. Before its first layer a language model has a
# vector for each token, without any context. On these *token embeddings* the short training already gives {glue:text}`embedded`
# (MiniLM's were not tried). Each layer then mixes in the context.
#
# After each layer we ask: in what share of the sequences is the evidence, of all positions, the one whose vector is most similar
# to the query's (by cosine)? Then we ask the same after a *linear map*, fitted on other sequences to name the token at every
# position.

# %% tags=["remove-cell"]
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

states = swept.frame.set_index("condition")
states.index = pd.MultiIndex.from_tuples(
    [(n, int(layer)) for n, layer in states.index.str.split("/")]
)
least = min(states.loc[place, "nearest_read"] for place in DEEP.items())
glue("least after the probe", percent(least), display=False)

nearest = [states.loc[(n, DEEP[n]), "nearest"] for n in CAUSAL]
ends_of = " to ".join(percent(end(nearest)) for end in (min, max))
glue("nearest in the last", ends_of, display=False)

# %% mystnb={"figure": {"caption": "The token fades with depth in the three models that read from left to right, and a linear map brings it back. How often the evidence is the position most similar to the query, straight from a layer (top) and after the map (bottom). 0 is before the first layer, 1 the last layer. One seed. Dashed: chance.", "name": "fig-layers"}, "image": {"alt": "Two panels, one below the other, against depth, a line per language model: the share found by similarity alone, and the share found after a linear map."}} tags=["remove-input", "nbval-ignore-output"]
PANELS = {
    "nearest": "straight from the layer",
    "nearest_read": "after the linear map",
}
with figures.look():
    fig, axes = figures.panels(len(PANELS))
    for ax, (what, title) in zip(axes, PANELS.items(), strict=True):
        for name, depth in DEEP.items():
            line_of = 100 * states.loc[name, what]
            kind = figures.style(name)
            ax.plot(line_of.index / depth, line_of, label=name, **kind)
        figures.chance_line(ax, by_counting)
        ax.set_ylabel(f"{title} (%)")
        ax.set_ylim(-4, 104)
    axes[-1].set_xlabel("layer, as a share of the depth")
    handles, names = axes[1].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper left", ncols=3, fontsize=9)
plt.show()

# %% [markdown]
# **The token is hidden, but not lost** ({numref}`fig-layers`). After the last layer of the three models that read from left to
# right, similarity alone finds the evidence in {glue:text}`nearest in the last`. After the linear map the share is
# {glue:text}`least after the probe` or more, on all four models. The router, too, has a linear map in front of it. So it has
# what it takes to undo the context.
#
# The router has less to learn from: one pair in each sequence, the query and its evidence. This may be why its training has to be
# long.

# %% [markdown]
# ## What the paper says, what we measured, chance
#
# {glue:text}`verdict`

# %% tags=["remove-input"]
FROZEN_ROWS = {
    "Pythia-1B, no bridge": ("frozen-pythia-1b", "Pythia-1B", "no bridge"),
    "Mamba-1.4B, no bridge": ("frozen-mamba-1.4b", "Mamba-1.4B", "no bridge"),
    "Mamba-370M, no bridge": ("frozen-mamba-370m", "Mamba-370M", "no bridge"),
    "Pythia-1B, bridge": ("bridge", "Pythia-1B", "full bridge"),
}
says = claims()


def of_ours(way):
    """The lowest and the highest of our four, after the long training."""
    values = [ends[f"{name}, {way}"] for name in BACKBONES]
    return f"{percent(min(values))} to {percent(max(values))}"


OPEN_TABLE = {row: claim for row, (claim, _, _) in FROZEN_ROWS.items()}
open_rows = {
    row: {
        "paper": str(says[claim]),
        "here": measured.get(f"{name}, {way}", "not run"),
    }
    for row, (claim, name, way) in FROZEN_ROWS.items()
}
for way in WAYS:
    label = f"our four models, {way.replace('full ', '')}, long training"
    open_rows[label] = {"paper": NONE, "here": of_ours(way)}
open_rows["chance"] = {"paper": NONE, "here": percent(means[CHANCE])}
linked(
    pd.DataFrame.from_dict(open_rows, orient="index"),
    OPEN_TABLE,
    "evidence found on",
)

# %% [markdown]
# ## What differs, and why
#
# * **Size.** The paper's models are larger. SmolLM2 was also rounded to four bits, and tuned to follow instructions.
# * **Shorter sequences.** Our router chooses among {glue:text}`others` positions, the paper's among 511.
# * **Direction.** MiniLM, the only model of ours that sees both sides, routes best. It differs in much else, so that we do not know
#   if this is the reason.
# * **What the paper leaves open.** It does not say which words and which layer it uses, and whether a linear
#   map stands in front of the router.
#
# ## Exercises
#
# **To run it again.** `.venv/bin/fci run 07 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# 1. Which layer of SmolLM2 suits a router best? Let `layer_of` train it as it trains our own.
# 2. How many sequences does a router on SmolLM2 need? `frozen(SMOLLM2, training=few)`.
# 3. Tell the bridge positions: `frozen(transformer, "full", positions="learned")`. Which bridge gains?
# 4. Put a model of your own behind the router: `frozen(HubModel(name="path/or/name"), "full")` (from `fcilib.backbones`).

# %% [markdown]
# ## In detail
#
# ### The four language models
#
# Our two are matched in size, and were pretrained on the same bytes in the same order. Of the two, the Mamba has the lower loss
# on text, and the worse vectors for this task. Before any pretraining the Transformer is ahead already. A pair of equal loss
# would be needed to compare the two architectures.

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
# The weights of SmolLM2 and MiniLM are installed as packages. The paper's models are fetched only if `FCI_HUB=1` asks for it:
# `FCI_HUB=1 .venv/bin/fci run 07 --records _runs/records` would fill their rows.

# %% [markdown]
# ### The short training, with every kind of bridge and with controls
#
# *Full* is the bridge of the table above. *Sparse* is the paper's pattern: a window of 32 tokens, and 16 tokens that every
# position sees. In the *rank-1 bridge* attention has one number per token, and the product of two numbers is the weight between
# two tokens. *Token embeddings* are the vectors before the first layer. *Random weights* is a language model before any
# pretraining. The last rows have no language model: vectors are trained on the same sequences, with one layer of attention, or
# with none (raw embeddings).

# %% tags=["remove-input"]
rows_short = [
    name for name in (*BACKBONES, *HUB) if f"{name}, no bridge" in means
]
rows_short += list(
    dict.fromkeys(", ".join(name.split(", ")[:2]) for name in controls)
)
short_table = {
    name: {way: measured.get(f"{name}, {way}", NONE) for way in BRIDGES}
    for name in rows_short
}
for name in (*same_data,):
    short_table[name] = {way: NONE for way in BRIDGES}
    short_table[name]["no bridge"] = measured[name]
labelled(pd.DataFrame.from_dict(short_table, orient="index"), "short training")

# %% [markdown]
# On SmolLM2 the router is worse with every bridge, by {glue:text}`bridge loses` points at most. With
# {glue:text}`seeds of SmolLM2` seeds, and a spread of {glue:text}`spread of SmolLM2` points without a bridge, this is no clear
# difference. The gain of a full bridge on our Mamba is smaller than its spread. On a Mamba with random weights neither a router alone nor one with a bridge finds the
# evidence.
#
# All numbers on pretrained models are above the paper's on Pythia-1B (35%) and Mamba-1.4B (28.7%).

# %% [markdown]
# ### The long training, step by step

# %% mystnb={"figure": {"caption": "All curves are nearly flat in the second half of the long training. Top: a router alone. Bottom: a router behind a full bridge. From step 2,000 on, our Mamba has more with a bridge than without. Precision on held-out sequences, one seed. Dashed: chance. Squares: the paper's bridge on Pythia-1B.", "name": "fig-bridge-epochs"}, "image": {"alt": "Two panels, without a bridge and with one: learning curves on four backbones, chance, and in the second panel the paper's two points."}} tags=["remove-input", "nbval-ignore-output"]
curves = longer.curves.set_index(["condition", "epoch"]).precision
with figures.look():
    fig, axes = figures.panels(len(WAYS))
    for ax, way in zip(axes, WAYS, strict=True):
        for name in BACKBONES:
            curve = curves.loc[f"{name}, {way}"]
            at = full.steps / len(curve) * curve.index
            kind = figures.style(name)
            ax.plot(at, 100 * curve, label=name, **kind | {"markevery": 4})
        figures.chance_line(ax, by_counting)
        ax.set_ylabel(f"{way} (%)")
        ax.set_ylim(-4, 104)
    axes[1].plot(
        [6 / 40 * full.steps, 29 / 40 * full.steps],
        [100 * says["bridge-early"].value, 100 * says["bridge-late"].value],
        "s", mfc="white", mec="#333333", ms=9, label="paper, Pythia-1B",
    )  # fmt: skip
    axes[-1].set_xlabel("training steps")
    handles, names = axes[1].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper left", ncols=3, fontsize=9)
plt.show()

# %% [markdown]
# With as many steps on only {glue:text}`sequences` sequences, {glue:text}`long our Mamba, no bridge, fewer sequences` on our Mamba is
# about halfway between the short and the long training.

# %% [markdown]
# ### How much of a vector is the token?
#
# We take the vectors of all positions, and ask what share of the *variance* comes from the token at the position. The share is
# 100% if a token has the same vector wherever it stands. It is small if the context changes the vector much. "Random weights" is
# a language model before any pretraining.

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
            "a router, short training": [
                measured[f"{name}, no bridge"] for name in shares.index
            ],
        }
    ),
    "last layer of",
)

# %% [markdown]
# In this table, the more of the variance comes from the token, the better the router does after the short training. A Transformer
# with random weights writes little context over the token. A random Mamba overwrites nearly all of it. There a full bridge does
# not help either: the router has {glue:text}`frozen our Mamba, random weights, full bridge`. Pretraining brings some of the token
# back in our Mamba, and hides some of it in our Transformer.
#
# The share is not all that counts. After the long training SmolLM2 is ahead of our Mamba, although its share is smaller.

# %% [markdown]
# ### A router on some of the layers
#
# On our two models we also trained a router on some layers, with the short training and one seed. Layer 0 is the token
# embeddings. A dash means not tried, or no such layer.

# %% tags=["remove-input"]
by_layer = {name: states.loc[name, "precision"].map(percent) for name in PAIR}
labelled(pd.DataFrame(by_layer).fillna(NONE), "layer")

# %% [markdown]
# ### Does direction matter without a language model?
#
# The paper adds that without pretraining, *causal* attention (a position sees what stands before it) does as well as
# *bidirectional* attention (a position sees everything). Here vectors and attention are trained together with the router. *Raw
# embeddings* have no attention: a vector for each token plus one for its position. *Positions only* is a router that sees no
# token. *Depth* is the number of layers. These trainings have {glue:text}`steps end to end` steps on
# {glue:text}`sequences end to end` sequences, and test sequences of their own, so that chance differs a little from the tables
# above. A row is *reproduced* if our number lies within [the margin](tables-margin) of the paper's: about two points, and more where our seeds differ more.

# %% tags=["hide-input"]
DEPTHS = (1, 2, 4)
SHOWN_AS = {
    **{f"bidirectional, depth {n}": f"attention-{n}" for n in DEPTHS},
    **{f"causal, depth {n}": f"causal-{n}" for n in (1, 2)},
    "raw embeddings": "raw",
    "positions only": "positions-only",
    CHANCE: "random",
}


depths = study.run(others(SHOWN_AS)) | study.run(
    others({"causal, depth 4": "causal-4"}), seeds=2
)

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

# %% [markdown]
# **Direction makes no difference here, and no layer is needed.** Raw embeddings do as well as attention. This task therefore
# cannot show what direction does. [Chapter 9](09_context_ladder.ipynb) has a task that can.

# %% [markdown]
# ### The paper's column "rank"
#
# Table 2 of the paper has a column "rank" that it does not define: 1.6 behind attention, 240 for raw embeddings. We read it as
# the mean *place* of the evidence. The router's scores put all candidates in an order. The best has place 1. A router that picks
# at random has the evidence in the middle. We have fewer candidates than the paper, so the table also gives each place as a share
# of the candidates.
#
# Attention and raw embeddings have the short training (with the longer one of the table above they find more). The paper's "Rank-1 bidir projection" we read as one layer of attention in
# front of a *rank-1 router*. That router has one number per token, and the score of a pair is the product of its two numbers. It
# is trained like the table above.

# %% tags=["remove-input"]
rank_one = study.run(others({"Rank-1 bidir projection": "attention-rank-one"}))
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
            f"paper, share of {paper_candidates}": [
                percent(says[c].value / paper_candidates) if c else NONE
                for c in RANKS.values()
            ],
            "mean place": [number(*inside.loc[name]) for name in RANKS],
            f"share of {candidates}": [
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
# **Raw embeddings have the evidence near place one**, almost as attention. The paper's 240 is near the middle, so its raw
# embeddings are at chance.

# %% [markdown]
# ### Every row of the paper's Tables 2 and 3
#
# The names are the paper's: "E2E" is trained end to end, without a language model; "w32+g16" is a window of 32 tokens and 16
# tokens that all see. *Both near chance* means that the two numbers differ, but the paper's is less than four points from chance,
# and ours is at most two points from it.

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
linked(tables["Table 2"], TABLE_2, "Table 2", earlier=[OPEN_TABLE, ABLATION])

# %% [markdown]
# Table 3, "the routing quality hierarchy", repeats most of these rows. Its others are:

# %% tags=["remove-input"]
linked(
    tables["Table 3"],
    TABLE_3,
    "Table 3",
    earlier=[OPEN_TABLE, ABLATION, TABLE_2],
)

# %% tags=["remove-cell"]
segments = runs["Bidir Flow + seg. routing"].with_seed(0)
fourier = found.loc["Fourier + pairwise", ["mean", "sd"]]
glue("table Fourier", spread(*fourier), display=False)
glue("picks", segments.router.k, display=False)
note = retrieved.questions.note.rstrip(".")
glue("questions of BM25", note[0].lower() + note[1:], display=False)
any_pick = counted(segments, "precision_at_k")
glue("segment at k", percent(any_pick), display=False)

# %% [markdown]
# Of Table 2, {glue:text}`rows tested` reproduce. The four on language models could not be tested.
#
# * **The largest differences.** Raw embeddings ("No attention") and Flow, the paper's left-to-right recurrence, route here. The
#   two rank-1 routers do not route within so few steps. [Chapter 6](06_escape_routes.ipynb) trains the one behind a bidirectional
#   Mamba for longer.
# * **Fourier mixing fails**, as the paper says. Its row is "not reproduced" because the numbers differ. Ours,
#   {glue:text}`table Fourier`, is no more than what a router finds that sees positions alone ({glue:text}`positions only`).
# * **Bloom filter.** It routes, as in the paper, but our number differs. The number depends on the filter's size, which the paper
#   does not give.
# * **Segments.** A sequence has 16 segments, and the router picks {glue:text}`picks` of them. The table asks whether its first
#   pick is right: chance is one in 16, as for the Bloom filter. If a hit with any of the {glue:text}`picks` counts, chance is
#   {glue:text}`segment at k`, and the paper's 25.6% would be no better than chance.
# * **BM25**, a keyword search. A hit with any pick counts here, and a question may have several right segments. Chance is
#   therefore higher. The text is split at white space; split into words in lower case it gives more than the paper has
#   ([](silences.md)). The questions are {glue:text}`questions of BM25`.

# %% [markdown]
# ### Further statements
#
# Most were not tested: they need a download, or have no record at this size.

# %% tags=["remove-input"]
more_claims = entries = ledger(study.records, study.sizes)
MORE = [
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
]
more = further(entries, MORE).frame.rename(
    columns={"“others”": "query excluded"}
)
linked(
    more,
    {entries[name].claim.statement: name for name in MORE},
    "statement",
    earlier=[OPEN_TABLE, TABLE_2],
)

# %% tags=["remove-cell"]
tested = {name: table[table.verdict != NONE] for name, table in tables.items()}
held = {
    name: (table.verdict == "reproduced").sum()
    for name, table in tested.items()
}
shown_long = [f"{name}, no bridge" for name in BACKBONES]
steps_had = f"{full.steps:,}"
glue(
    "rows tested",
    f"{held['Table 2']} of the {len(tested['Table 2'])} rows that could be tested",
    display=False,
)
embedded = min(
    means[f"{name}, token embeddings, no bridge"] for name in CAUSAL
)
glue("embedded", percent(embedded), display=False)
worst, best = (ends[shown_long].min(), ends[shown_long].max())
answer = (
    f"No bridge is needed on four small language models: a router that may not pick the query finds the evidence without a bridge in {percent(worst)} to "
    f"{percent(best)} of the cases, after a long training on many sequences."
)
verdict = (
    "The paper's language models were not run, so its numbers stay open. On our four, a router without a bridge finds the evidence in "
    "most of the sequences, after as many steps on as many sequences as the paper gives."
)
sure = (
    "Not very. The four models are smaller than the paper's, one of them (MiniLM) reads in both directions, and the long trainings have one "
    f"seed each. A router that may also pick the query was not run. A large model could still prove us wrong: if {steps_had} steps "
    "without a bridge were not enough there, the answer would hold for small models only."
)
runs_here = (results, longer, swept, before)
closing.close(
    "07_scale",
    "Scale: pretrained language models",
    answer=answer,
    sure=sure,
    verdict=verdict,
    cost=closing.trained(
        study,
        (*runs_here, depths),
        f"trains {sum(r.frame.condition.nunique() for r in runs_here)} routers on frozen language models, and what other chapters "
        "have not yet recorded; a seed took {minutes} core-minutes at profile {profile}, without the "
        "passes through SmolLM2 and MiniLM, whose states were computed before. Weights of these two are "
        "installed by “make scale”.",
    ),
)

# %% [markdown]
# ### The code that makes vectors of a task's tokens

# %% tags=["remove-input"]
Code(inspect.getsource(FrozenBackbone.states), language="python")
