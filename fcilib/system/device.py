"""Which device runs use: the processor, or one of the machine's GPUs."""

from __future__ import annotations

import torch


def check_device(text: str) -> str:
    """The text, if it can name a device: `auto`, `cpu`, `cuda` or `cuda:N`; else ValueError."""
    name, _, number = text.partition(":")
    if text not in ("auto", "cpu", "cuda") and not (name == "cuda" and number.isdecimal()):
        raise ValueError(f"device: {text!r} is none of auto, cpu, cuda, cuda:N")
    return text


def device_here(text: str) -> str:
    """The device of this machine that the text means, as torch writes it.

    `auto` is a GPU where torch sees one, and else the CPU. Raises ValueError where the text names
    no device, or torch does not see that GPU.
    """
    check_device(text)
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if text == "auto":
        return "cuda" if there else "cpu"
    if text != "cpu" and int(text.partition(":")[2] or 0) >= there:
        count = f"{there} GPUs" if there else "no GPU"
        raise ValueError(f"device: torch sees {count} here, so {text!r} can't be used")
    return text
