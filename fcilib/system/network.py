"""Asking the network without waiting for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

ANSWER_SECONDS = 5.0
"""How long a server may take for its first answer before the work goes on without it."""


def within(seconds: float, ask: Callable[[], Any]) -> str | None:
    """Call `ask`: None if it returned in time, else the name of what went wrong.

    In a thread, since looking up a host's name heeds no time limit.
    """
    outcome: list[str | None] = ["no answer in time"]

    def call() -> None:
        try:
            ask()
            outcome[0] = None
        except Exception as error:
            outcome[0] = type(error).__name__

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0]
