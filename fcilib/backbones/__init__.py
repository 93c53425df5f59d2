"""Pretrained language models, frozen: what they are, how they are loaded, what they see."""

from fcilib.backbones.byte_lm import ByteLM as ByteLM
from fcilib.backbones.byte_lm import pretrained as pretrained
from fcilib.backbones.byte_lm import read_pretraining as read_pretraining
from fcilib.backbones.features import cached as cached
from fcilib.backbones.hub import BackboneError as BackboneError
from fcilib.backbones.hub import HubModel as HubModel
from fcilib.backbones.hub import Packaged as Packaged
from fcilib.backbones.loading import Backbone as Backbone
from fcilib.backbones.loading import FrozenBackbone as FrozenBackbone
from fcilib.backbones.loading import Weights as Weights
from fcilib.backbones.loading import fingerprint as fingerprint
from fcilib.backbones.loading import load as load
from fcilib.backbones.loading import width as width

TRANSFORMER_3M = ByteLM(family="transformer", layers=4)
MAMBA_3M = ByteLM(family="mamba", layers=7)
SMOLLM2 = Packaged(name="smollm2-135m")
MINILM = Packaged(name="minilm-l6")
PYTHIA_1B = HubModel(name="EleutherAI/pythia-1b", gigabytes=2.1)
MAMBA_370M = HubModel(name="state-spaces/mamba-370m-hf", gigabytes=1.5)
MAMBA_1_4B = HubModel(name="state-spaces/mamba-1.4b-hf", gigabytes=5.5)
