"""transformers' Mamba models on this project's scan.

Without CUDA kernels transformers runs its Mamba one position at a time, in Python. The mixers have
the parameters of our `MambaBlock`, which takes their place.
"""

from __future__ import annotations

from typing import Any

import torch

from fcilib.layers.mamba import MambaBlock


class Mixer(MambaBlock):
    """A block that is called as transformers calls its mixers: all but the vectors is ignored."""

    def forward(self, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return super().forward(x)


def use_our_scan(model: Any) -> Any:
    """Put our Mamba block in place of every `MambaMixer` of a transformers model, weights kept.

    The model is changed in place and returned. One that is no Mamba is left as it is.
    """
    if getattr(model.config, "model_type", None) != "mamba":
        return model
    config = model.config
    if not config.use_conv_bias or config.use_bias or config.hidden_act != "silu":
        raise ValueError("model: a Mamba with other biases or activations than the published ones")
    layers = getattr(model, "backbone", model).layers
    for layer in layers:
        mixer = Mixer(
            config.hidden_size,
            config.state_size,
            config.conv_kernel,
            config.intermediate_size // config.hidden_size,
            int(config.time_step_rank),
        )
        mixer.load_state_dict(layer.mixer.state_dict())
        layer.mixer = mixer.to(layer.mixer.in_proj.weight.dtype).train(layer.training)
    return model
