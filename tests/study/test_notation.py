"""Numbers as readers see them."""

import math

import pandas as pd

from fcilib.study.notation import number, percent, spread, texts


def test_shares_and_numbers_are_written_with_their_spread():
    assert spread(0.984, 0.003) == "98.4 ± 0.3%"
    assert spread(0.984, math.nan) == percent(0.984) == "98.4%"
    assert (number(0.584, 0.021), number(-9.96, 0.18)) == ("0.58 ± 0.02", "-10.0 ± 0.2")
    assert number(0.584, math.nan) == "0.58"


def test_a_summary_is_written_by_condition():
    summary = pd.DataFrame({"mean": [0.5, 0.25], "sd": [0.01, math.nan]}, index=["a", "b"])
    assert texts(summary) == {"a": "50.0 ± 1.0%", "b": "25.0%"}
    assert texts(summary, number) == {"a": "0.50 ± 0.01", "b": "0.25"}
