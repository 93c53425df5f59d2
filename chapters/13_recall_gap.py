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
# # 13. The recall gap
#
# **The question.** Models without attention recall less of what stands in their context. The paper says that they lack two
# ingredients, context from both sides and pairwise comparison. Which of the two closes the gap?
#
# **The answer.** {glue:text}`answer`
#
# **How sure.** {glue:text}`sure`
#
# **The claim.** "The Zoology recall gap between Transformers and SSMs persists because SSMs are unidirectional and lack
# pairwise comparison — both ingredients are missing" {cite:p}`basu2026routing` (§2.2). *SSMs* are state-space models, such as
# Mamba. *Zoology* {cite:p}`arora2024zoology` is the study that measured the gap.

# %% tags=["parameters"]
profile = "quick"  # smoke, quick or paper
seeds = 1
executor = "process"  # inline, process or ray
device = "cpu"  # cpu, cuda or auto
records = ""  # a folder; empty for the repository's own

# %% tags=["hide-cell"]
from fcilib.study import Study

study = Study.from_parameters(globals())
sizes = study.sizes.recall
print(f"profile {study.profile}: seeds={study.seeds}, widths={sizes.widths}")
for task in sizes.tasks:
    print(
        f"{task.length} tokens of {task.vocabulary} kinds, {task.pairs} pairs"
    )
print(
    f"{sizes.training.epochs} epochs of {sizes.training.sequences:,} sequences, "
    f"learning rate {', '.join(map(str, sizes.rates))}"
)

# %% [markdown]
# ## The task
#
# The task is Zoology's *multi-query associative recall*, MQAR. A sequence begins with pairs of a key and a value. Later each
# key appears once more, and there the model has to name its value. *Accuracy* is the share of these questions that are answered
# correctly. The rest of a sequence is one filler token. Two accuracies serve as a baseline:
#
# * *Chance* is the accuracy of a model before training.
# * *A guess* is what a model reaches that has learned which values stand in its sequence, but not which belongs to which key.
#   With four pairs it is one in four, with eight one in eight.

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd
from myst_nb import glue

from fcilib.ledger import hybrids, recall
from fcilib.ledger.agreement import STANDARD
from fcilib.ledger.claims import FAILURE, SUCCESS
from fcilib.ledger.trial import largest_drift, steps
from fcilib.present import figures
from fcilib.present.closing import close, trained
from fcilib.present.paper_size import paper_store
from fcilib.present.tables import labelled
from fcilib.study.notation import NONE, percent, spread
from fcilib.study.profiles import PROFILES

# %%
example = sizes.tasks[0].draw(1, seed=0)
for question in range(2):
    query, key = example.query[0, question], example.evidence[0, question]
    print(
        f"question {question + 1}: key {example.tokens[0, query]} at {query}, "
        f"first seen at {key}, value {example.label[0, question]}"
    )

# %% [markdown]
# ## Is there a gap?
#
# Zoology compares models of two layers by their *width*, the length of each token's vector. *Attention* compares each token
# with all earlier ones. *Hyena* and *BaseConv* are convolutions, *RWKV-4* and *Mamba* recurrences; these four compare no
# tokens. *Based* is linear attention with a small window of ordinary attention. All read from left to right.


# %% tags=["hide-input"]
def train(models, tasks, widths):
    """Every model on these tasks at these widths, at every learning rate."""
    return {
        rate: study.run(
            {
                f"{label}, {task.length}, {width}": recall.experiment(
                    study.sizes, model, task, width, rate
                )
                for label, model in models.items()
                for task in tasks
                for width in widths
            }
        )
        for rate in sizes.rates
    }


def best(results):
    """Mean accuracy, its spread, and whether it was still changing."""
    frames = [result.summary("accuracy") for result in results.values()]
    rates = pd.concat({n: f["mean"] for n, f in enumerate(frames)}, axis=1)
    rows = {}
    for name, number in rates.idxmax(axis=1).items():
        label, length, width = name.rsplit(", ", 2)
        result = [*results.values()][number]
        runs = [r for (c, _), r in result.records.items() if c == name]
        rows[label, int(length), int(width)] = {
            **frames[number].loc[name],
            "moving": largest_drift(runs, "accuracy") > STANDARD.at_rest,
        }
    return pd.DataFrame(rows).T.infer_objects().sort_index()


MODELS = recall.models()
gap_runs = train(MODELS, sizes.tasks, sizes.widths)
gap = best(gap_runs)

# %% [markdown]
#
# %% tags=["hide-input"]
untrained = study.run(
    {
        f"untrained, {task.length}": recall.experiment(
            study.sizes,
            MODELS["attention"],
            task,
            max(sizes.widths),
            max(sizes.rates),
        ).model_copy(
            update={
                "training": sizes.training.model_copy(update={"epochs": 0})
            }
        )
        for task in sizes.tasks
    }
).summary("accuracy")["mean"]

# %% tags=["hide-input"]
PAPER = PROFILES["paper"]
kept = paper_store(study)
theirs = PAPER.recall


def at_zoologys_size(label, task, width):
    """Our accuracy, and whether it is that of a whole training at every rate.

    Else it is that of a shortened one at the highest rate; None where there is none.
    """
    runs = [
        recall.experiment(PAPER, MODELS[label], task, width, rate)
        for rate in sorted(theirs.rates)
    ]
    whole = [kept.find(run) for run in runs]
    if None not in whole:
        return max(record.metrics["accuracy"] for record in whole), True
    short = kept.find(recall.shortened(runs[-1]))
    return short and (short.metrics["accuracy"], False)


compared = pd.DataFrame(
    [
        {
            "model": label,
            "length": task.length,
            "width": d,
            "Zoology": recall.published(label, task.length, d),
            "ours": found[0],
            "guess": 1 / task.pairs,
            "whole": found[1],
        }
        for label in recall.PUBLISHED
        for task in theirs.tasks
        for d in recall.WIDTHS
        if (found := at_zoologys_size(label, task, d))
    ]
)
compared["near"] = [
    recall.agrees(row.ours, row.Zoology) for row in compared.itertuples()
]

# %% mystnb={"figure": {"caption": "Accuracy by the width of the model, on logarithmic axes of width. Above: ours, at this book's small size. Below: Zoology's size. Hollow: its numbers, read off its figure 2. Filled: ours, after a shorter training. The dotted line is a guess among the values of the sequence.", "name": "fig-gap-13"}, "image": {"alt": "Two rows of panels of accuracy against width. Above, at 64 tokens, attention is at the top from width 32 and Mamba at width 64; at 128 tokens nearly all lie on the dotted line. Below, attention is at the top throughout, and the others rise with width."}} tags=["remove-input", "nbval-ignore-output"]
LENGTHS = [task.length for task in sizes.tasks]
with figures.look():
    fig, axes = plt.subplots(
        2,
        len(LENGTHS),
        figsize=(figures.NARROW * len(LENGTHS) / 2, 5.4),
        layout="constrained",
        sharey=True,
        squeeze=False,
    )
    for column, task in enumerate(sizes.tasks):
        top, below = axes[:, column]
        for label in MODELS:
            look = figures.style(label)
            line = gap.loc[label, task.length]["mean"]
            top.plot(line.index, 100 * line, label=label, **look)
            shown = [
                recall.published(label, task.length, width)
                for width in recall.WIDTHS
            ]
            if None not in shown:
                below.plot(
                    recall.WIDTHS,
                    [100 * value for value in shown],
                    mfc="white",
                    ls="--",
                    **look,
                )
            for row in compared.itertuples():
                if (row.model, row.length) == (label, task.length):
                    below.plot(row.width, 100 * row.ours, **look)
        top.set(title=f"{task.length} tokens, {task.pairs} pairs")
        for ax, widths in ((top, sizes.widths), (below, recall.WIDTHS)):
            ax.axhline(100 / task.pairs, color="#777777", ls=":")
            ax.set_xscale("log", base=2)
            ax.set_xticks(widths, [str(width) for width in widths])
            ax.minorticks_off()
            ax.set_ylim(-4, 104)
        below.set_xlabel("width")
    axes[0, 0].set_ylabel("ours, accuracy (%)")
    axes[1, 0].set_ylabel("Zoology’s, accuracy (%)")
    fig.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=3,
    )
plt.show()

# %% tags=["remove-input", "hide-output"]
FLOOR = {task.length: 1 / task.pairs for task in sizes.tasks}


def cell(row):
    """An accuracy, with a mark if it was still changing at the end of training."""
    text = spread(row["mean"], row["sd"])
    return f"{text} *" if row.moving else text


levels = {
    "a guess among the values": FLOOR,
    "chance: untrained": {n: untrained[f"untrained, {n}"] for n in LENGTHS},
}
labelled(
    pd.DataFrame(
        {
            **{
                label: {
                    f"{length} tokens, width {width}": cell(
                        gap.loc[label, length, width]
                    )
                    for length in LENGTHS
                    for width in sizes.widths
                }
                for label in MODELS
            },
            **{
                name: {
                    f"{length} tokens, width {width}": percent(values[length])
                    for length in LENGTHS
                    for width in sizes.widths
                }
                for name, values in levels.items()
            },
        }
    ).T,
    "model",
)

# %% [markdown]
# The numbers of the upper panels are in the folded cell above. {glue:text}`moving`
#
# **There is a gap, and for Mamba more width closes it.** {glue:text}`gap`
#
# **At {glue:text}`long` tokens this training is too short, for attention as well.** {glue:text}`longer`
#
# **Context from both sides can't be what attention has.** It reads from left to right here, as all of these models do.

# %% tags=["hide-input"]
long = sizes.tasks[-1]
wide = max(sizes.widths)
patient = recall.experiment(
    study.sizes, MODELS["attention"], long, wide, max(sizes.rates)
)
more = patient.training.model_copy(
    update={"epochs": 3 * patient.training.epochs}
)
patient = study.run(
    {"attention, longer": patient.model_copy(update={"training": more})}
)

# %% [markdown]
# ## Does one of the two ingredients close it?
#
# We add each ingredient to a convolution and to a recurrence that lack both, at width {glue:text}`width` and
# {glue:text}`short` tokens.
#
# * *Context from both sides*: each layer gets a twin with weights of its own, which reads from right to left.
# * *Pairwise comparison*: the paper's router compares the vector of the key that asks with every other token's, and picks the
#   best one. The model then reads two tokens: the pick, and the token that follows it. If the pick is the right key, the token
#   that follows is the value. In training the router is told which key is right, as everywhere in the paper.
#
# The last row has the router alone, on *token embeddings*: a vector for each token, without its position.

# %%
short = sizes.tasks[0]
width = sizes.widths[len(sizes.widths) // 2]
added = train(recall.ingredients(), [short], [width])
ingredients = best(added)

# %% tags=["remove-input"]
WAYS = {
    "neither": "{}",
    "both sides": "bidirectional {}",
    "pairwise router": "{}, router",
    "both sides and router": "bidirectional {}, router",
}
NAMES = ("Hyena", "Mamba", "token embeddings")


def with_what(name, way):
    label = WAYS[way].format(name)
    known = label in recall.ingredients()
    return ingredients.loc[label, short.length, width] if known else None


found = {name: {way: with_what(name, way) for way in WAYS} for name in NAMES}
labelled(
    pd.DataFrame(
        {
            name: {
                way: NONE if row is None else cell(row)
                for way, row in ways.items()
            }
            for name, ways in found.items()
        }
    ).T,
    "accuracy with",
)

# %% [markdown]
# **The pairwise router closes the gap, and context from both sides does not.** {glue:text}`closes`
#
# ### What does the router's success rest on?
#
# We take the router on token embeddings and change one thing at a time. *Key found* is the share of the questions for which its
# best pick is the right key.

# %% tags=["hide-input"]
alone_there = recall.experiment(
    study.sizes,
    recall.ingredients()["token embeddings, router"],
    short,
    width,
    max(sizes.rates),
)


def without(**changes):
    """The router alone, with another training."""
    training = alone_there.training.model_copy(update=changes)
    return alone_there.model_copy(update={"training": training})


eight = alone_there.router.model_copy(update={"k": 8})
checks = study.run(
    {
        f"as above, width {width}": alone_there,
        **{
            f"width {d}": alone_there.model_copy(update={"width": d})
            for d in sizes.widths
            if d != width
        },
        "eight picks in place of one": alone_there.model_copy(
            update={"router": eight}
        ),
        "not told which key is right": without(routing_weight=(0.0, 0.0)),
    }
)

# %% tags=["remove-input"]
checked = {
    name: checks.summary(metric)["mean"].map(percent)
    for name, metric in (("key found", "precision"), ("answered", "accuracy"))
}
labelled(pd.DataFrame(checked), "router on token embeddings")

# %% [markdown]
# **It rests on being told, and on a single pick.** {glue:text}`rests` [Chapter 12](12_todays_hybrids.ipynb) has eight picks
# throughout, and there the same router answers few questions as well.
#
# ## What the paper says, what we measured, chance
#
# {glue:text}`verdict`
#
# {glue:text}`lines` These are the lines of [the ledger](claims.md). A guess is right in {glue:text}`guess`. That either ingredient alone fails is our reading of the quotation: it
# says that both are missing.

# %% tags=["remove-input"]
guess = percent(FLOOR[short.length])
chance = percent(untrained[f"untrained, {short.length}"])
COMPARE_NOTHING = ["Hyena", "RWKV-4", "BaseConv", "Mamba"]


def of(way):
    """The accuracies of all models with these ingredients."""
    rows = [ways[way] for ways in found.values()]
    return [row["mean"] for row in rows if row is not None]


def alone(labels, width=width):
    return [gap.loc[label, short.length, width]["mean"] for label in labels]


def text(values):
    ends = dict.fromkeys((percent(min(values)), percent(max(values))))
    return " to ".join(ends)


STATEMENTS = {
    "attention recalls (§2.2)": ("succeeds", alone(["attention"])),
    "one-way models without comparison (§2.2)": (
        "fails",
        alone(COMPARE_NOTHING),
    ),
    f"the same, width {wide}": ("fails", alone(COMPARE_NOTHING, wide)),
    "context from both sides alone (§2.2)": ("fails", of("both sides")),
    "pairwise comparison alone (§2.2)": ("fails", of("pairwise router")),
    "both together (§6)": ("succeeds", of("both sides and router")),
}


def outcome(values):
    """What all of these accuracies are, by the ledger's lines."""
    found = {hybrids.outcome(value) for value in values}
    names = {hybrids.ROUTES: "succeeds", hybrids.FAILS: "fails"}
    return names.get(found.pop(), "in between") if len(found) == 1 else "mixed"


OUTCOMES = {what: outcome(values) for what, (_, values) in STATEMENTS.items()}
labelled(
    pd.DataFrame(
        {
            what: {
                "paper": said,
                "measured": text(values),
                "outcome": OUTCOMES[what],
                "chance": chance,
                "verdict": "agrees" if OUTCOMES[what] == said else "differs",
            }
            for what, (said, values) in STATEMENTS.items()
        }
    ).T,
    "statement",
)

# %% [markdown]
# ## Do we find Zoology's own numbers?
#
# {glue:text}`zoology`

# %% tags=["remove-input"]
labelled(
    pd.DataFrame(
        {
            f"{row.model}, {row.length} tokens, width {row.width}": {
                "Zoology": percent(row.Zoology),
                "ours": percent(row.ours),
                "a guess": percent(row.guess),
                "within the margin": "yes" if row.near else "no",
                "verdict": {True: "agrees", False: "differs"}[row.near]
                if row.whole
                else "open",
            }
            for row in compared.itertuples()
        }
    ).T,
    "model",
) if len(compared) else None

# %% tags=["remove-cell"]
values = sum(len(rows) for rows in recall.PUBLISHED.values()) * len(
    recall.WIDTHS
)
glue("width", width, display=False)
glue("short", short.length, display=False)
glue("guess", guess, display=False)
glue(
    "lines",
    f"A model fails at {percent(FAILURE)} or less, and succeeds at {percent(SUCCESS)} or more.",
    display=False,
)
sees = ["Hyena", "RWKV-4", "BaseConv"]
glue(
    "gap",
    f"At {short.length} tokens and width {width} attention answers {text(alone(['attention']))} of the questions. The four models "
    f"that compare no tokens answer {text(alone(COMPARE_NOTHING))}, about a guess. At width {wide} Mamba answers "
    f"{text(alone(['Mamba'], wide))}, and the other three {text(alone(sees, wide))}. Based, which compares the tokens of its window, "
    f"answers {text(alone(['Based'], wide))} there. At width {min(sizes.widths)} attention does no better than a guess.",
    display=False,
)
still = int(gap.moving.sum())
glue(
    "moving",
    f"A star marks an accuracy that changed by more than a point in the last tenth of training; {still or 'none'} did.",
    display=False,
)
glue("long", long.length, display=False)
for name, d in (("small", min(sizes.widths)), ("middle", width)):
    glue(f"Based {name}", text(alone(["Based"], d)), display=False)
long_wide = gap.xs((long.length, wide), level=(1, 2))["mean"]
later = patient.summary("accuracy")["mean"].iloc[0]
glue(
    "longer",
    f"Attention of width {wide} answers {percent(long_wide['attention'])}, where a guess has {percent(FLOOR[long.length])}. With three "
    f"times the epochs it answers {percent(later)}. Only Based does better in the shorter training, with "
    f"{percent(long_wide['Based'])}.",
    display=False,
)
router_alone = STATEMENTS["pairwise comparison alone (§2.2)"][1]
sides_alone = STATEMENTS["context from both sides alone (§2.2)"][1]
glue(
    "closes",
    f"With the router the models answer {text(router_alone)}, on token embeddings too. With both directions and no router they answer "
    f"{text(sides_alone)}, where a guess has {guess}.",
    display=False,
)
found_by, answered_by = (
    checks.summary(m)["mean"] for m in ("precision", "accuracy")
)
UNTOLD, EIGHT = "not told which key is right", "eight picks in place of one"
others = [answered_by[f"width {d}"] for d in sizes.widths if d != width]
glue(
    "rests",
    f"A router that is not told which key is right finds it in {percent(found_by[UNTOLD])}, and the model answers "
    f"{percent(answered_by[UNTOLD])}: a pick gives the router no gradient, so that it learns nothing from the value. With eight picks the "
    f"router finds {percent(found_by[EIGHT])} of the keys, but the model answers {percent(answered_by[EIGHT])}: it is not told which of "
    f"the picks is the best. The width hardly matters: the other widths have "
    f"{text(others)}.",
    display=False,
)
cut = compared[~compared.whole.astype(bool)] if len(compared) else compared
reached = [
    f"{row.model} at {row.length} tokens"
    for row in cut.itertuples()
    if row.near
]
late = [
    f"{row.length} tokens ({percent(row.ours)})"
    for row in cut.itertuples()
    if row.model == "attention" and row.ours < SUCCESS
]
half = recall.shortened(
    recall.experiment(
        PAPER,
        MODELS["attention"],
        theirs.tasks[0],
        min(theirs.widths),
        max(theirs.rates),
    )
)
tried_there = "We have no run at that size: the grid needs a GPU."
if len(cut):
    tried_there = (
        f"We trained {len(cut)} of them, once each: on an eighth of the sequences, in half of the steps ({steps(half):,}) "
        f"and only at the highest of its learning rates. Within the margin, which allows for our reading of its figure: {', '.join(reached) or 'none'}. All others are "
        f"lower, attention at {', '.join(late) or 'no length'} among them, which Zoology has at 100%. Some are below a guess: these models "
        f"have not even learned which values stand in a sequence. Such numbers may only show that our training was too short. So the "
        f"verdicts stay open."
    )
glue(
    "zoology",
    f"That is open. Zoology's figure has {values} numbers, for a vocabulary of {theirs.tasks[0].vocabulary:,} tokens. Each took "
    f"{theirs.training.epochs} epochs of {theirs.training.sequences:,} sequences, at {len(theirs.rates)} learning rates, of which the "
    f"best counts. {tried_there} This chapter with profile paper trains the whole grid.",
    display=False,
)
answer = (
    f"At one small size pairwise comparison closes it, if the router is told the right key in training and hands on one pick "
    f"({text([found['token embeddings']['pairwise router']['mean']])} of the questions, on token embeddings alone), and context from both "
    f"sides does not ({text(sides_alone)}, where a guess has {guess})."
)
verdict = (
    f"At width {width} attention answers {text(alone(['attention']))}, and one-way models that compare no tokens about a guess. The "
    f"router closes this gap only if it is told which key is right: otherwise the model answers "
    f"{percent(answered_by[UNTOLD])}. Comparison is not always needed: a one-way Mamba of width {wide} has neither ingredient and answers "
    f"{text(alone(['Mamba'], wide))}."
)
sure = (
    f"Not very: {study.seeds} seed{'s' if study.seeds > 1 else ''}, one learning rate, {short.length} tokens and a vocabulary of "
    f"{short.vocabulary}. Context from both sides was tried at width {width} only. Zoology has up to {theirs.tasks[-1].length} tokens and a "
    f"vocabulary of {theirs.tasks[0].vocabulary:,}. We would change our mind if at Zoology's sizes a router on token embeddings failed, or if "
    f"context from both sides alone made a model succeed that otherwise guesses."
)
close(
    "13_recall_gap",
    "The recall gap",
    answer=answer,
    sure=sure,
    verdict=verdict,
    cost=trained(
        study, [*gap_runs.values(), *added.values(), patient, checks]
    ),
)

# %% [markdown]
# ## What differs, and why
#
# * **What teaches.** The router learns from a loss of its own, which names the right key. The other models learn from the
#   value alone. The paper trains its routers with such a loss, too.
# * **What is read.** The model reads the token that follows the pick. On this task that token is the value, so that matching
#   the key is all that is left to learn.
# * **Zoology's training.** It lowers the learning rate by a cosine without a warm-up, ties the embeddings to the output, and
#   stops at 99%. Ours warms up, has an output of its own and trains to the end. Zoology's Based has short convolutions where
#   ours has a window.
# * **Longer training.** The models that guess might learn more with more epochs. Attention, too, guesses for some epochs before
#   its accuracy jumps.
# * **One seed.** Based answers {glue:text}`Based small` of the questions at the smallest width and {glue:text}`Based middle` at the
#   middle one. How far such numbers scatter between seeds we did not measure.

# %% [markdown]
# ## Exercises
#
# **To run it again.** `.venv/bin/fci run 13 --seeds 1 --records _runs/records` {glue:text}`cost`
#
# 1. Does the gap depend on the vocabulary? Double it in `sizes.tasks`, by `task.model_copy(update={"vocabulary": 256})`.
# 2. How little must a router be told? Lower `routing_weight` in the training of "token embeddings, router" step by step.
# 3. Give Hyena a layer of attention with a window: is a comparison with the neighbours enough?
