"""Pick a protocol, see the number that it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from fcilib.ledger.claims import Claim
from fcilib.present.interactive.widget import Widget, select


def picker(
    name: str,
    measured: pd.DataFrame,
    choices: Mapping[str, Sequence[str]],
    claims: Mapping[str, Claim],
) -> Widget:
    """A menu for each choice of a protocol, and what was measured under what is picked.

    Args:
        name: the figure's id on its page.
        measured: a row per protocol: `approach`, `mean`, its `chance` level, whether it `agrees`
            with the line, and a column per choice with the name of what was chosen.
        choices: the names that each choice can take, the centre's first.
        claims: what is as in the paper, by approach: a claim at most or at least a value.

    Raises:
        ValueError: a protocol of an approach has two rows, or its centre has none.
    """
    approaches = {}
    for approach, claim in claims.items():
        part = measured[measured.approach == approach]
        varied = {c: [n for n in names if n in set(part[c])] for c, names in choices.items()}
        varied = {c: names for c, names in varied.items() if len(names) > 1}
        rows: dict[tuple[int, ...], tuple[float, float, bool]] = {}
        for _, row in part.iterrows():
            options = tuple(names.index(row[c]) for c, names in varied.items())
            found = row["mean"], row["chance"], bool(row["agrees"])
            if rows.setdefault(options, found) != found:
                raise ValueError(f"measured: {approach} has two numbers for one protocol")
        if (0,) * len(varied) not in rows:
            raise ValueError(f"measured: {approach} has no number for its centre")
        approaches[approach] = {
            "choices": [{"choice": c, "names": names} for c, names in varied.items()],
            "protocols": [
                {
                    "options": options,
                    "mean": round(mean, 6),
                    "chance": round(chance, 6),
                    "agrees": agrees,
                }
                for options, (mean, chance, agrees) in rows.items()
            ],
            "paper": claim.value,
            "claim": f"as in the paper {claim}",
            "says": f"{claim.relation} {str(claim).lstrip('≤≥ ')}",
        }
    return Widget(
        name=name,
        script="picker.js",
        controls=select("approach", "approach", list(approaches))
        + '<span class="fci-menus"></span>'
        + '<button type="button" name="centre">back to the centre</button>',
        caption=(
            "Interactive. Routing precision under the protocol that is picked (large), among all "
            "that were run for this approach (small): blue and filled where it is as in the "
            "paper, orange and hollow where it is not. Combinations that were not run "
            "can't be picked."
        ),
        alt="Points on a line from 0 to 100% routing precision, the picked protocol's enlarged.",
        data={"approaches": list(approaches.values())},
    )
