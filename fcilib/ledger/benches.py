"""What a query costs with each layer and each router of chapter 12, as benches."""

from __future__ import annotations

from collections.abc import Mapping

from fcilib.cost import Represent, Route, presets
from fcilib.cost.presets import Preset
from fcilib.cost.workloads import Workload
from fcilib.ledger import hybrids
from fcilib.representations import Attention, Embedding, Flow
from fcilib.representations.base import RepresentationSpec
from fcilib.routers import Investigator, RankOne
from fcilib.study.profiles import PROFILES, Profile

KNOWN: Mapping[str, RepresentationSpec] = {
    "raw embeddings": Embedding(),
    "attention": Attention(),
    "Mamba": Flow(layers=1),
    "bidirectional Mamba": Flow(layers=1, bidirectional=True),
}
"""Layers of the earlier chapters, which stand beside today's."""

PAIRWISE = "pairwise (Investigator)"


def layers(sizes: Profile) -> dict[str, Workload]:
    """Every layer of `hybrids`, and those of earlier chapters, by label."""
    today = {method.label: method.representation for method in hybrids.representations(sizes)}
    return {
        label: Represent(representation=representation, width=sizes.width)
        for label, representation in {**today, **KNOWN}.items()
    }


def routers(sizes: Profile) -> dict[str, Workload]:
    """The pick for one query by every router of `hybrids`, and by the paper's two."""
    specs = {
        PAIRWISE: Investigator(candidates="others"),
        "rank-1": RankOne(candidates="others"),
        **{m.label: m.router for m in hybrids.routers() if m.representation == Embedding()},
    }
    return {name: Route(router=router, width=sizes.width) for name, router in specs.items()}


LENGTHS = (256, 1024, 4096)
QUICK = PROFILES["quick"]

PRESETS: Mapping[str, Preset] = {
    **presets.PRESETS,
    "layers": Preset(lambda: layers(QUICK), LENGTHS, "attention", backward=False),
    "routers": Preset(lambda: routers(QUICK), LENGTHS, PAIRWISE, backward=False),
}
"""All benches that `fci bench` runs by the name of a preset."""
