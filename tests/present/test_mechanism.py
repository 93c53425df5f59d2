"""The figure of what a score is made of: what it reads from a run, and what it draws."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest

from fcilib.ledger.catalogue import watched
from fcilib.present.mechanism import PARTS, SHARES, by_step, parts_figure, picks_figure
from fcilib.study.profiles import PROFILES
from fcilib.study.results import Results
from fcilib.training.records import Records
from fcilib.training.run import run_one

SMOKE = PROFILES["smoke"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    records = Records(tmp_path_factory.mktemp("records"))
    return Results(
        {
            (name, seed): run_one(watched(SMOKE, name).with_seed(seed), records)
            for name in ("raw", "attention-1")
            for seed in (0, 1)
        }
    )


def test_a_row_is_a_measurement_and_the_parts_add_up(results):
    record = results.records["attention-1", 0]
    table = by_step(record)
    training = record.experiment.training
    assert len(table) == training.epochs + 1
    assert table.index[-1] == training.epochs * math.ceil(training.sequences / training.batch)
    assert table.precision.iloc[-1] == record.metrics["precision"]
    above = -np.array(record.probes["self_match_by_epoch"])
    np.testing.assert_allclose(table[["token", "position", "layers"]].sum(axis=1), above, atol=1e-4)
    assert table.layers.abs().max() > 0
    assert by_step(results.records["raw", 0]).layers.abs().max() < 1e-5


def test_a_run_that_was_not_watched_has_no_parts(tmp_path):
    plain = watched(SMOKE, "raw").model_copy(update={"probing": "standard"})
    with pytest.raises(KeyError, match="by_epoch"):
        by_step(run_one(plain, Records(tmp_path)))


@pytest.mark.parametrize(
    ("draw", "names", "scale"), [(picks_figure, SHARES, 100), (parts_figure, PARTS, 1)]
)
def test_every_line_is_the_mean_of_its_runs(results, draw, names, scale):
    figure = draw(results, ["raw", "attention-1"])
    for ax, name in zip(figure.axes, ("raw", "attention-1"), strict=True):
        tables = [by_step(r) for (label, _), r in results.records.items() if label == name]
        lines = {line.get_label(): line.get_ydata() for line in ax.lines}
        for part, (label, *_) in names.items():
            if label in lines:
                mean = scale * sum(t[part] for t in tables) / len(tables)
                np.testing.assert_allclose(lines[label], mean)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(labels) == len(set(labels)) == len(names)
    assert PARTS["layers"][0] not in {line.get_label() for line in figure.axes[0].lines}
    plt.close(figure)
