"""Pretrained language models, frozen: what they are, how they are loaded, what they see."""

from fcilib.backbones.byte_lm import ByteLM, Pretraining, pretrained, read_pretraining
from fcilib.backbones.features import cached
from fcilib.backbones.hub import BackboneError, HubModel, Packaged
from fcilib.backbones.loading import (
    Backbone,
    FrozenBackbone,
    Weights,
    fingerprint,
    load,
    width,
)

TRANSFORMER_3M = ByteLM(family="transformer", layers=4)
MAMBA_3M = ByteLM(family="mamba", layers=7)
SMOLLM2 = Packaged(name="smollm2-135m")
MINILM = Packaged(name="minilm-l6")
PYTHIA_1B = HubModel(name="EleutherAI/pythia-1b", gigabytes=2.1)
MAMBA_370M = HubModel(name="state-spaces/mamba-370m-hf", gigabytes=1.5)
MAMBA_1_4B = HubModel(name="state-spaces/mamba-1.4b-hf", gigabytes=5.5)

__all__ = [
    "MAMBA_1_4B",
    "MAMBA_3M",
    "MAMBA_370M",
    "MINILM",
    "PYTHIA_1B",
    "SMOLLM2",
    "TRANSFORMER_3M",
    "Backbone",
    "BackboneError",
    "ByteLM",
    "FrozenBackbone",
    "HubModel",
    "Packaged",
    "Pretraining",
    "Weights",
    "cached",
    "fingerprint",
    "load",
    "pretrained",
    "read_pretraining",
    "width",
]
