"""transformers' Mamba models on this project's scan.

Without CUDA kernels transformers runs its Mamba one position at a time, in Python. The mixers have
the parameters of our `MambaBlock`, which takes their place.
"""

from __future__ import annotations

from typing import Any

import torch

from fcilib.layers.mamba import MambaBlock


class Mixer(MambaBlock):
    """A block that is called as transformers calls its mixers, and has all that those have."""

    def forward(  # type: ignore[override]  # as transformers calls it
        self,
        hidden_states: torch.Tensor,
        cache_params: Any = None,
        attention_mask: torch.Tensor | None = None,
        **options: Any,
    ) -> torch.Tensor:
        """`(B, L, width)` to `(B, L, width)`.

        `attention_mask`, `(B, L)`, is zero where a position is padding. With a cache, as in
        `generate()`, the states are read and written by the forward pass of transformers.
        """
        if cache_params is None:
            return super().forward(hidden_states, attention_mask)
        from transformers.models.mamba.modeling_mamba import MambaMixer

        return MambaMixer.forward(self, hidden_states, cache_params, attention_mask, **options)


def use_our_scan(model: Any) -> Any:
    """Make a Mamba block of ours of every `MambaMixer` of a transformers model, weights kept.

    The model is changed in place and returned. One that is no Mamba is left as it is.

    Raises:
        ValueError: the model has biases or activations that the published ones have not.
    """
    if getattr(model.config, "model_type", None) != "mamba":
        return model
    config = model.config
    if not config.use_conv_bias or config.use_bias or config.hidden_act != "silu":
        raise ValueError("model: a Mamba with other biases or activations than the published ones")
    for layer in getattr(model, "backbone", model).layers:
        mixer = layer.mixer
        mixer.__class__ = Mixer
        mixer.state, mixer.dt_rank = config.state_size, int(config.time_step_rank)
        mixer.reverse, mixer.scan = False, True
    return model
