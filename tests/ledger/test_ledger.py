"""The ledger: the committed records give its verdicts, other records others, and none without."""

import json
import math
import statistics
from functools import cache
from pathlib import Path

import pytest
import torch

from fcilib.ledger.agreement import NEAR_CHANCE
from fcilib.ledger.catalogue import catalogue, chance_of
from fcilib.ledger.claims import SUCCESS, claims
from fcilib.ledger.findings import OF_PAPERS_SIZES
from fcilib.ledger.ledger import decisive, ledger, summary, whole_ledger
from fcilib.ledger.verdict import OPEN, VERDICTS
from fcilib.publish.project import find_project
from fcilib.representations import Attention
from fcilib.retrieval import METRICS
from fcilib.routers import Investigator
from fcilib.study.profiles import PROFILES
from fcilib.study.results import numbers
from fcilib.training.experiment import Experiment
from fcilib.training.records import RecordError, Records

PROJECT = find_project(Path(__file__).parent)
COMMITTED = PROJECT.root / "records" / "quick"
QUICK = PROFILES["quick"]
NAMED = catalogue(QUICK)


@cache
def committed():
    """What the committed records say."""
    return ledger(Records(COMMITTED), QUICK)


def test_all_verdicts_are_recomputed_in_one_call_without_any_model(monkeypatch):
    """A reader is promised verdicts from the records alone."""

    def refuse(*_, **__):
        raise AssertionError("a model was run")

    monkeypatch.setattr(torch.nn.Module, "__call__", refuse)
    monkeypatch.setattr(torch.Tensor, "backward", refuse)
    decided = decisive(whole_ledger(COMMITTED.parent))
    assert list(decided) == list(claims())
    assert {entry.judged().kind for entry in decided.values()} <= set(VERDICTS)


def test_every_claim_has_its_entry_in_the_order_of_the_file():
    entries = committed()
    assert list(entries) == list(claims())
    assert all(entry.name == name for name, entry in entries.items())
    assert all(entry.claim == claims()[name] for name, entry in entries.items())


def test_the_kinds_of_verdict_add_up():
    entries = committed()
    counts = summary(entries)
    assert tuple(counts) == VERDICTS
    assert sum(counts.values()) == len(entries)
    assert all(entry.judgement.kind in VERDICTS for entry in entries.values())


def test_what_is_not_measured_has_a_reason_and_what_is_has_none():
    for entry in committed().values():
        assert (entry.reason is None) == bool(entry.whole)
        assert (entry.at_this_size == "not tested") == (not entry.whole)
        assert entry.reason is None or entry.reason.strip()


def test_at_one_size_a_number_agrees_under_the_protocols_where_every_condition_does():
    """By the words' own meaning, for every claim there is."""
    for entry in committed().values():
        protocols = list(entry.whole)
        agreeing = [p for p in protocols if all(f.agrees for f in entry.whole[p])]
        found = [f for part in entry.whole.values() for f in part]
        if not protocols:
            expected = "not tested"
        elif agreeing == protocols:
            expected = "reproduced"
        elif agreeing:
            expected = "only under " + ", ".join(agreeing)
        else:
            near = all(entry.claim.near_chance(f.mean, f.level) for f in found)
            expected = NEAR_CHANCE if near else "not reproduced"
        assert entry.at_this_size == expected, entry.name


def test_under_a_protocol_every_experiment_of_a_claim_is_found_once():
    for entry in committed().values():
        for part in entry.whole.values():
            assert [f.experiment for f in part] == entry.claim.decided_by, entry.name


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_without_records_all_is_open_or_not_testable_and_says_what_is_missing(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    entries = ledger(Records(tmp_path / folder), PROFILES["paper"])
    assert entries.keys() == claims().keys()
    counts = summary(entries)
    assert counts["open"] + counts["not testable here"] == len(entries)
    assert counts["not testable here"]
    assert all(entry.judgement.missing for entry in entries.values())
    assert all(entry.at_this_size == "not tested" and entry.reason for entry in entries.values())
    assert not (tmp_path / "nowhere").exists()


def test_entries_go_through_json_and_back():
    for name, entry in committed().items():
        plain = entry.plain()
        assert json.loads(json.dumps(plain, allow_nan=False)).keys() == plain.keys()
        assert (plain["name"], plain["verdict"]) == (name, entry.judgement.verdict)
        assert plain["value"] == entry.claim.value
        assert len(plain["findings"]) == len(entry.findings)
        for found, finding in zip(plain["findings"], entry.findings, strict=True):
            assert found["mean"] == finding.mean
            assert (found["sd"] is None) == (finding.n == 1)


# Means, spreads and chance, from the files themselves.


@cache
def contents():
    """Every committed record, as its file has it."""
    return [json.loads(path.read_bytes()) for path in sorted(COMMITTED.glob("*.json"))]


JOINED = {
    "alike": 1,
    "class_size": 1,
    "embedding_scale": 1.0,
    "embeddings": "trained",
    "normalisation": "layer",
    "probing": "standard",
    "segment": 1,
    "targets": "true",
    "tokens": "learned",
    "unseen": 0,
    "unseen_as": "absent",
    "vectors": "drawn",
    "within": None,
}
"""Fields that joined after the first records were written, with what those runs did."""

RUN = {
    "council": {"heads": 4, "slots": "none"},
    "representation": {"kind": "embedding", "layers": 0, "positions": "learned"},
    "task": {
        "collisions": False, "distractors": 4, "kind": "evidence", "length": 128,
        "min_distance": 50, "near": False, "order": "query-first", "vocabulary": 64,
    },
    "training": {
        "batch": 32, "clip": 1.0, "epochs": 5, "held_out": 1000, "learning_rate": 0.001,
        "precision": "fp32", "routing_decay": "linear", "routing_weight": [1.0, 0.1],
        "sequences": 8000, "weight_decay": 0.01,
    },
    "width": 64,
}  # fmt: skip
"""Raw embeddings at profile quick, written out; a router goes with it."""

ATTENTION = {"kind": "attention", "layers": 1, "heads": 4, "mask": "full", "positions": "learned"}
SPARSE_SIZES = {"global_tokens": 16, "window": 32}
PAIRWISE = {"kind": "investigator", "heads": 4, "k": 8, "neighbours": 1}
RANDOM = {"kind": "random", "k": 8, "neighbours": 1}


def is_described(described, wanted):
    """Whether a description, as a file has it, is the wanted one but for fields that joined."""
    if isinstance(wanted, dict):
        return wanted.keys() <= described.keys() and all(
            is_described(value, wanted[name]) if name in wanted else value == JOINED.get(name, ())
            for name, value in described.items()
        )
    return described == wanted


def metrics_in_files(router, representation=None):
    """The metrics of all runs of that description, by seed."""
    wanted = {
        **RUN,
        "router": router,
        **({"representation": representation} if representation else {}),
    }
    found = {}
    for content in contents():
        described = dict(content["experiment"])
        seed = described.pop("seed")
        if is_described(described, wanted):
            assert seed not in found
            found[seed] = content["metrics"]
    return [found[seed] for seed in range(len(found))]


@pytest.mark.parametrize("protocol", ["all", "others"])
@pytest.mark.parametrize(
    ("name", "representation", "metric"),
    [
        ("raw", None, "precision"),
        ("one-layer", {**ATTENTION, **SPARSE_SIZES}, "precision"),
        ("transition-accuracy", {**ATTENTION, **SPARSE_SIZES}, "accuracy"),
    ],
)
def test_a_finding_is_the_statistics_of_the_files(name, representation, metric, protocol):
    """Found by their descriptions written out here, without any code of the library."""
    runs = metrics_in_files({**PAIRWISE, "candidates": protocol}, representation)
    values = [run[metric] for run in runs]
    assert len(values) >= 3
    (finding,) = [f for f in committed()[name].findings if f.protocol == protocol]
    assert finding.mean == pytest.approx(sum(values) / len(values), abs=1e-12)
    assert finding.sd == pytest.approx(statistics.stdev(values), abs=1e-12)
    assert finding.n == len(values)
    assert finding.experiment == claims()[name].decided_by[0]
    random = [run[metric] for run in metrics_in_files({**RANDOM, "candidates": protocol})]
    assert len(random) >= 3
    assert finding.chance == pytest.approx(sum(random) / len(random), abs=1e-12)


def value_in_file(path, claim):
    """The number that a claim is about, read off a record's file."""
    content = json.loads(path.read_bytes())
    curve = content.get("curve", {}).get("precision", [])
    steps = [b - a for a, b in zip([0, *curve], curve, strict=False)]
    if claim.metric == "largest_rise":
        return max(steps)
    if claim.metric == "largest_fall":
        return -min(steps)
    if claim.metric == "best_precision":
        return max(curve)
    if claim.metric == "rank_share":
        return content["probes"]["rank_90"] / content["experiment"]["width"]
    return {**content["metrics"], **content.get("probes", {})}[claim.metric]


def files_of(decider):
    """A decider's files: seed 0, 1, … up to the first that is missing."""
    folder = COMMITTED if isinstance(decider, Experiment) else COMMITTED / "retrievals"
    found = []
    while (path := folder / f"{decider.with_seed(len(found)).identity}.json").exists():
        found.append(path)
    return found


def literal(entry):
    """The findings that are about the claim's own metric."""
    return [f for f in entry.findings if f.protocol not in entry.claim.readings]


def test_every_finding_is_the_statistics_of_its_files():
    checked = 0
    for entry in committed().values():
        for finding in literal(entry):
            paths = files_of(NAMED[finding.experiment].under[finding.protocol])
            values = [value_in_file(path, entry.claim) for path in paths]
            assert finding.n == len(values), entry.name
            assert finding.mean == pytest.approx(sum(values) / len(values), abs=1e-12)
            if finding.n == 1:
                assert math.isnan(finding.sd)
            else:
                assert finding.sd == pytest.approx(statistics.stdev(values), abs=1e-12)
            assert finding.agrees == entry.claim.agrees(finding.mean, finding.sd, finding.level)
            checked += 1
    assert checked > 100


def test_a_protocol_with_records_is_not_left_out():
    """Every protocol where each deciding experiment has a file is among the findings."""
    for entry in committed().values():
        if entry.claim.metric in OF_PAPERS_SIZES:
            assert entry.whole == {}
            continue
        enough = 2 if entry.claim.statistic == "sd" else 1
        protocols = [NAMED[name].under for name in entry.claim.decided_by]
        whole = {
            protocol
            for protocol in {p for named in protocols for p in named}
            if all(p in n and len(files_of(n[p])) >= enough for n in protocols for p in [protocol])
        }
        assert set(entry.whole) == whole, entry.name


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("profile", PROFILES)
def test_chance_is_a_random_router_on_the_same_task_among_the_same_candidates(name, profile):
    for decider in catalogue(PROFILES[profile])[name].under.values():
        if not isinstance(decider, Experiment):
            continue
        chance = chance_of(decider)
        assert chance.router.kind == "random"
        assert (chance.task, chance.training, chance.width, chance.seed) == (
            decider.task, decider.training, decider.width, decider.seed,
        )  # fmt: skip
        if decider.router is not None:
            assert chance.router.candidates == decider.router.candidates
            assert chance.router.granularity == decider.router.granularity
            assert chance.router.k == decider.router.k
            assert chance.router.within == decider.router.within
        assert chance_of(chance) == chance


def test_chance_of_every_finding_is_that_of_its_random_routers_files():
    known = 0
    for entry in committed().values():
        for finding in literal(entry):
            decider = NAMED[finding.experiment].under[finding.protocol]
            if not isinstance(decider, Experiment):
                content = json.loads(files_of(decider)[0].read_bytes())
                assert finding.chance == content["chance"][entry.claim.metric]
                continue
            if entry.claim.statistic == "sd" or not entry.claim.chance:
                assert finding.chance is None
                continue
            try:
                paths = files_of(chance_of(decider))
                of = {"random_form_precision": "precision"}.get(entry.claim.metric)
                asked = entry.claim.model_copy(update={"metric": of}) if of else entry.claim
                values = [value_in_file(path, asked) for path in paths]
                expected = sum(values) / len(values)
            except (KeyError, ZeroDivisionError):  # not recorded, or not measured
                assert finding.chance is None
                continue
            assert finding.chance == pytest.approx(expected, abs=1e-12)
            known += 1
    assert known > 80


def test_a_metric_that_decides_is_one_that_runs_have():
    """Or its claim would be untested for a slip of the pen."""
    derived = {"largest_rise", "largest_fall", "rise_epoch", "best_precision", "most_gain"}
    measured = {*METRICS, *derived, "rank_share"}
    for content in contents():
        measured |= content["metrics"].keys() | content["probes"].keys()
    assert {claim.metric for claim in claims().values() if claim.decided_by} <= measured


# Other records, other verdicts.


def copied(folder, *deciders, seeds=3):
    """A store with the committed records of some deciders, and of no others."""
    records = Records(folder / "quick")
    for decider in deciders:
        for path in files_of(decider)[:seeds]:
            target = records.folder / path.relative_to(COMMITTED)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return records


def rewrite(records, experiment, **metrics):
    """Another outcome of an experiment, with a checksum that is right."""
    record = records.find(experiment)
    records.add(record.model_copy(update={"metrics": {**record.metrics, **metrics}}))


def entry_of(records, name):
    return ledger(records, QUICK)[name]


def test_one_record_with_the_papers_number_makes_raw_embeddings_fail_as_it_says(tmp_path):
    """Its 1.2% is 1.0 points above chance, which is 0.8% here."""
    raw = NAMED["raw"].under
    records = copied(tmp_path, *raw.values(), seeds=1)
    assert entry_of(records, "raw").at_this_size == "not reproduced"
    rewrite(records, raw["all"], precision=0.008)
    assert entry_of(records, "raw").at_this_size == "not reproduced"
    rewrite(records, raw["all"], precision=0.018)
    assert entry_of(records, "raw").at_this_size == "only under all"
    rewrite(records, raw["others"], precision=0.025)
    assert entry_of(records, "raw").at_this_size == "reproduced"


def test_one_record_that_fails_takes_one_layers_claim_away(tmp_path):
    one = NAMED["attention-1"].under
    records = copied(tmp_path, *one.values(), seeds=1)
    assert entry_of(records, "one-layer").at_this_size == "reproduced"
    rewrite(records, one["others"], precision=0.5)
    assert entry_of(records, "one-layer").at_this_size == "only under all"
    rewrite(records, one["all"], precision=0.9)
    assert entry_of(records, "one-layer").at_this_size == "not reproduced"


def test_one_seed_of_three_that_fails_is_not_excused_by_the_spread_that_it_makes(tmp_path):
    """Two s.d. of seeds at 99%, 99% and 50% are 56 points; a margin widens to five at most."""
    one = NAMED["attention-1"].under["all"]
    records = copied(tmp_path, one)
    assert entry_of(records, "one-layer").at_this_size == "reproduced"
    for seed, failing in ((0, 0.96), (1, 0.5)):
        rewrite(records, one.with_seed(seed), precision=failing)
        entry = entry_of(records, "one-layer")
        assert entry.at_this_size == ("reproduced" if failing > 0.9 else "not reproduced")
        assert entry.findings[0].n == 3


def test_the_answer_is_a_claim_of_its_own(tmp_path):
    one = NAMED["attention-1"].under["all"]
    records = copied(tmp_path, one, seeds=1)
    before = ledger(records, QUICK)
    rewrite(records, one, accuracy=0.745)
    after = ledger(records, QUICK)
    changed = {n for n in claims() if after[n].at_this_size != before[n].at_this_size}
    assert changed == {"transition-accuracy", "bidirectional-attention-accuracy"}


def test_a_record_changed_by_hand_is_refused(tmp_path):
    raw = NAMED["raw"].under["all"]
    records = copied(tmp_path, raw)
    path = records.path(raw)
    precision = json.loads(path.read_bytes())["metrics"]["precision"]
    path.write_text(path.read_text().replace(f'"precision": {precision}', '"precision": 0.012'))
    with pytest.raises(RecordError, match=f"{raw.identity}.*checksum"):
        ledger(records, QUICK)


def test_a_retrieval_changed_by_hand_is_refused(tmp_path):
    decider = NAMED["bm25"].under["words"]
    records = copied(tmp_path, decider)
    path = records.folder / "retrievals" / f"{decider.identity}.json"
    path.write_bytes(path.read_bytes().replace(b"0.", b"0.1", 1))
    with pytest.raises(RecordError, match=decider.identity):
        ledger(records, QUICK)


def test_another_runs_record_under_a_name_is_refused(tmp_path):
    raw = NAMED["raw"].under
    records = copied(tmp_path, *raw.values(), seeds=1)
    records.path(raw["all"]).write_bytes(records.path(raw["others"]).read_bytes())
    with pytest.raises(RecordError, match=raw["all"].identity):
        ledger(records, QUICK)


def test_a_protocol_without_all_its_experiments_does_not_count(tmp_path):
    two, four = NAMED["attention-2"].under, NAMED["attention-4"].under
    records = copied(tmp_path, two["all"], two["others"], four["others"])
    entry = entry_of(records, "more-layers")
    assert [f.experiment for f in entry.whole["others"]] == ["attention-2", "attention-4"]
    assert list(entry.whole) == ["others"]
    assert entry.at_this_size == "reproduced"
    records.path(four["others"]).unlink()
    entry = entry_of(records, "more-layers")
    assert (entry.whole, entry.at_this_size) == ({}, "not tested")
    assert entry.reason == "only some of its models have records at this profile"


def test_a_claim_on_several_holds_if_it_does_of_each(tmp_path):
    two, four = NAMED["attention-2"].under["others"], NAMED["attention-4"].under["others"]
    records = copied(tmp_path, two, four, seeds=1)
    assert entry_of(records, "more-layers").at_this_size == "reproduced"
    rewrite(records, four, precision=0.9)
    entry = entry_of(records, "more-layers")
    assert [f.agrees for f in entry.findings] == [True, False]
    assert entry.at_this_size == "not reproduced"


def test_seeds_count_up_to_the_first_that_is_missing(tmp_path):
    raw = NAMED["raw"].under["others"]
    records = copied(tmp_path, raw)
    assert entry_of(records, "raw").findings[0].n == 3
    records.path(raw.with_seed(1)).unlink()
    (finding,) = entry_of(records, "raw").findings
    assert finding.n == 1
    assert math.isnan(finding.sd)
    records.path(raw.with_seed(0)).unlink()
    assert entry_of(records, "raw").at_this_size == "not tested"


def test_a_claim_on_the_spread_needs_two_seeds(tmp_path):
    one = NAMED["attention-1"].under["all"]
    assert entry_of(copied(tmp_path, one, seeds=1), "seed-spread").at_this_size == "not tested"
    records = copied(tmp_path, one, seeds=2)
    assert entry_of(records, "seed-spread").at_this_size == "reproduced"
    rewrite(records, one, precision=0.9)
    assert entry_of(records, "seed-spread").at_this_size == "not reproduced"


def test_without_its_random_routers_record_a_finding_has_no_chance(tmp_path):
    raw = NAMED["raw"].under["others"]
    records = copied(tmp_path, raw, seeds=1)
    assert entry_of(records, "raw").findings[0].chance is None
    records = copied(tmp_path, chance_of(raw), seeds=1)
    rewrite(records, chance_of(raw), precision=0.25)
    assert entry_of(records, "raw").findings[0].chance == 0.25


def test_what_a_run_did_not_measure_is_not_tested(tmp_path):
    small = NAMED["small-attention"].under["others"]
    records = copied(tmp_path, small, seeds=1)
    assert entry_of(records, "rank-attention").findings
    record = records.find(small)
    probes = {n: v for n, v in record.probes.items() if n != "place"}
    records.add(record.model_copy(update={"probes": probes}))
    assert entry_of(records, "rank-attention").at_this_size == "not tested"


@pytest.mark.parametrize("name", ["rank-90", "transition-rise", "transition-peak"])
def test_neither_is_what_is_worked_out_from_it(tmp_path, name):
    one = NAMED["attention-1"].under["all"]
    records = copied(tmp_path, one, seeds=1)
    assert entry_of(records, name).findings
    update = {"probes": {}, "curve": {"loss": [1.0]}}
    records.add(records.find(one).model_copy(update=update))
    assert entry_of(records, name).at_this_size == "not tested"


def test_a_claim_of_an_epoch_is_read_off_the_curve(tmp_path):
    """Epoch 6 of 40 is the second of ten, rounded up; epoch 29 the eighth."""
    bridge = NAMED["pythia-1b-bridge"].under["others"]
    stand_in = Records(COMMITTED).find(NAMED["small-attention"].under["others"])
    records = Records(tmp_path / "quick")
    curve = [0.1, 0.96, 0.2, 0.2, 0.2, 0.2, 0.2, 0.99, 0.2, 0.2]
    update = {"identity": bridge.identity, "experiment": bridge, "curve": {"precision": curve}}
    records.add(stand_in.model_copy(update=update))
    entries = ledger(records, QUICK)
    means = [entries[name].findings[0].mean for name in ("bridge-early", "bridge-late")]
    assert means == [0.96, 0.99]
    assert (
        entries["bridge-early"].at_this_size == entries["bridge-late"].at_this_size == "reproduced"
    )


# One profile at a time.


def test_no_experiment_is_of_two_profiles():
    of = {
        name: {
            decider.identity
            for condition in catalogue(sizes).values()
            for decider in condition.under.values()
            if isinstance(decider, Experiment)
        }
        for name, sizes in PROFILES.items()
    }
    names = list(of)
    assert all(len(of[name]) > 60 for name in names)
    assert all(not of[a] & of[b] for i, a in enumerate(names) for b in names[:i])


@pytest.mark.parametrize("profile", ["smoke", "paper"])
def test_records_of_quick_are_none_of_another_profile(profile):
    """In the other's folder there are none; in its own, only what has no size: retrievals."""
    sizes = PROFILES[profile]
    entries = ledger(Records(COMMITTED.parent / "nowhere"), sizes)
    assert not any(entry.findings for entry in entries.values())
    entries = ledger(Records(COMMITTED), sizes)
    tested = {f.experiment for entry in entries.values() for f in entry.findings}
    assert tested == {"bm25", "random-retrieval"}


# A condition is declared once.


def test_a_condition_is_one_of_the_experiments_that_decide_its_headline():
    for condition in NAMED.values():
        if condition.claim:
            claim = claims()[condition.claim]
            assert condition.name in claim.decided_by
            assert claim.metric == "precision"


def test_an_answer_from_picks_that_are_right_waits_for_what_the_council_is_told():
    """The paper does not say whether it is told their ranks, which decides how much it answers."""
    found = Records(COMMITTED)
    for claim in claims().values():
        if claim.metric == "accuracy" and claim.decided_by:
            (name,) = claim.decided_by
            run = NAMED[name].under.get("others")
            right = run is not None and found.find(run).metrics["precision"] >= SUCCESS
            assert (claim.undefined == "what the Council knows of its picks") == right, name


def test_what_decides_no_claim_is_a_control_that_a_chapter_runs():
    deciding = {name for claim in claims().values() for name in claim.decided_by}
    text = "".join(chapter.source.read_text(encoding="utf-8") for chapter in PROJECT.chapters())
    for name in NAMED.keys() - deciding:
        assert f'"{name}"' in text


def test_chance_of_every_condition_of_the_landscape_is_a_condition():
    """Chapter 3 shows each beside it, by its label."""
    known = {run for condition in NAMED.values() for run in condition.under.values()}
    for condition in NAMED.values():
        for run in condition.under.values():
            if isinstance(run, Experiment) and run.task == QUICK.evidence and run.router:
                assert run.training == QUICK.frozen or chance_of(run) in known, condition.name


@pytest.mark.parametrize("number", ["01", "02", "03", "04", "05", "06", "07", "11"])
def test_a_chapter_takes_its_conditions_from_the_catalogue(number):
    """Of experiments it builds those alone that are its own subject."""
    text = PROJECT.chapter(number).source.read_text(encoding="utf-8")
    code = "\n".join(line for line in text.split("\n") if not line.startswith("#"))
    assert "catalogue(" in code or "conditions(" in code
    own = {"01": "an untrained embedding", "06": "a longer training", "07": "frozen backbones"}
    own["05"] = "words that are new in the test"
    own["11"] = "a router of one's own"
    assert code.count("study.experiment(") == (number in own)


WAITING = {
    "the learning rate, which decides when precision rises, and how fast": (
        "transition-rise",
        "transition-epoch",
        "mqar-epoch",
    ),
    "whether the “answer” is the evidence or the token after it": ("cosine-gap",),
    "what is fine-tuned after contrastive pretraining": (
        "seed-spread-contrastive",
        "contrastive-tuned",
    ),
}


def test_claims_that_turned_with_a_setting_that_the_paper_does_not_state_are_open():
    entries = decisive(whole_ledger(COMMITTED.parent))
    for undefined, names in WAITING.items():
        for name in names:
            assert entries[name].claim.undefined == undefined
            assert entries[name].judgement.verdict == OPEN


def test_the_settings_turn_them():
    """The rise comes later and slower at a lower rate; the gap of the token after the evidence is
    on the paper's side of zero.
    """
    records = Records(COMMITTED)
    common = {"task": QUICK.evidence, "width": QUICK.width, "router": Investigator()}

    def found(**parts):
        return records.find(Experiment(**{**common, "training": QUICK.training, **parts}))

    long = PROFILES["paper"].training
    rises = []
    for rate in (1e-3, 3e-4, 1e-4):
        training = long.model_copy(update={"learning_rate": rate})
        rises.append(numbers(found(representation=Attention(), training=training)))
    epochs = [rise["rise_epoch"] for rise in rises]
    assert epochs == sorted(set(epochs))
    assert [r["largest_rise"] for r in rises] == sorted(r["largest_rise"] for r in rises)[::-1]
    asked = found(representation=Attention(), probing="answer").probes
    assert asked["cosine_gap_answer"] < 0 < asked["cosine_gap"]


def test_pretrained_projections_fail_as_the_papers_and_pretrained_vectors_do_not():
    """With the query included; the paper's projections are the router's own."""
    entry = decisive(whole_ledger(COMMITTED.parent))["contrastive-frozen"]
    assert entry.claim.decided_by == ["contrastive-projections"]
    for profile in ("quick", "paper"):
        records, named = Records(COMMITTED.parent / profile), catalogue(PROFILES[profile])
        found = {
            (name, protocol): records.find(named[name].under[protocol]).metrics["precision"]
            for name in ("contrastive-projections", "contrastive-vectors")
            for protocol in ("all", "others")
        }
        assert found.pop(("contrastive-projections", "all")) < 0.1
        assert min(found.values()) > 0.5
