"""What a check finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.gpu.host import Host

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Finding:
    """`good`: as expected; None: to be known only (a peer's figure, or what cannot be looked at here)."""

    good: bool | None
    expected: str
    found: str


Check = Callable[[Host], Iterator[Finding]]
