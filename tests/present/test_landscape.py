"""The figure of the landscape."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from fcilib.present.landscape import landscape_figure
from fcilib.study.notation import NONE

COMPARISON = pd.DataFrame(
    [
        ("one", 0.2, 0.9, 0.1, 0.01, False, "not reproduced"),
        ("two", 0.5, 0.5, 0.0, 0.03, True, "reproduced"),
        ("three", np.nan, 0.7, np.nan, 0.06, None, NONE),
    ],
    columns=["condition", "paper", "mean", "sd", "chance", "agrees", "verdict"],
)


def drawn(ax, style):
    return [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == style]


def test_every_kind_has_its_own_chance_and_floor():
    groups = {"a token": ["one", "two"], "a segment": ["three"]}
    figure = landscape_figure(COMPARISON, groups, {"a segment": 0.33})
    tokens, segments = figure.axes
    assert drawn(tokens, "--") == pytest.approx([2.0])
    assert drawn(tokens, ":") == []
    assert drawn(segments, "--") == pytest.approx([6.0])
    assert drawn(segments, ":") == pytest.approx([33.0])
    names = [label.get_text() for label in tokens.get_yticklabels()]
    assert names == ["two", "one"], "the best on top"
    plt.close(figure)


def test_only_marks_that_occur_are_explained():
    figure = landscape_figure(COMPARISON[1:], {"kinds": ["two", "three"]}, {})
    texts = {text.get_text() for text in figure.legends[0].get_texts()}
    assert "agree" in texts
    assert "differ" not in texts
    plt.close(figure)


def test_what_was_not_compared_is_named():
    with pytest.raises(KeyError, match="four"):
        landscape_figure(COMPARISON, {"kinds": ["four"]}, {})
