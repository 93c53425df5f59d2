"""Which device runs use: the processor, or one of the machine's GPUs."""

from __future__ import annotations

import torch


def device_named(text: str) -> str:
    """The device of that name, as torch writes it.

    Args:
        text: `"cpu"`, `"cuda"`, `"cuda:N"`, or `"auto"`: a GPU where torch sees one, else the CPU.

    Raises:
        ValueError: there is no such name, or torch sees no such GPU here.
    """
    if text == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    name, colon, number = text.partition(":")
    if text != "cpu" and (name != "cuda" or (colon and not number.isdecimal())):
        raise ValueError(f"device: {text!r} is none of auto, cpu, cuda, cuda:N")
    if name == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= there:
            count = f"{there} GPUs" if there else "no GPU"
            raise ValueError(f"device: torch sees {count} here, so {text!r} can't be used")
    return text
