"""Waiting for what other threads, processes and machines do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 90.0
"""A machine with other work may stand still for seconds at any point."""


def until(
    condition: Callable[[], Any], what: str | Callable[[], str] = "it", timeout_s: float = PATIENCE_S
) -> Any:
    """Return what CONDITION gives once it is true; AssertionError with WHAT and its last answer otherwise.

    It is asked once more when the time is over, since the machine may have stood still after the last answer;
    and no more often than the asking takes, since who is waited for needs the processor.
    """
    end = time.monotonic() + timeout_s
    while True:
        asked = time.monotonic()
        if found := condition():
            return found
        if asked > end:
            named = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {timeout_s:.0f} s for {named}; last seen: {found!r}")
        time.sleep(min(1.0, max(0.02, time.monotonic() - asked)))
