"""When a chapter's number agrees with the paper's, at the size of the chapter."""

from __future__ import annotations

from collections.abc import Mapping

TOLERANCE = 0.02
"""A measured mean agrees with the paper's number if it lies within two points of it, or within
`DEVIATIONS` standard deviations over seeds, whichever is more. One rule for every share; numbers of
another kind bring their own."""

DEVIATIONS = 2

RULE = "2 points or 2 s.d."
"""The same, in a figure's legend."""

ROUNDING = 1e-9
"""Numbers are compared as they are written, in decimals."""


def reproduction(agreements: Mapping[str, bool]) -> str:
    """What a chapter's table says of a number that agrees, or not, under each of its protocols."""
    agreeing = [name for name, agrees in agreements.items() if agrees]
    if not agreements:
        return "not tested"
    if len(agreeing) == len(agreements):
        return "reproduced"
    return f"only under {', '.join(agreeing)}" if agreeing else "not reproduced"
