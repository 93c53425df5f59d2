"""The selective scan and the short causal convolution: one function each, several back ends."""

from fcilib.scan.dispatch import MissingBackendError, causal_conv_silu, selective_scan

__all__ = ["MissingBackendError", "causal_conv_silu", "selective_scan"]
