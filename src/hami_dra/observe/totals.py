"""What a ledger does not tell by itself: refusals that only grow, and the compute in use now. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hami_dra.observe.shares import NodeShare

WINDOW_S = 10.0
"""Span over which a share's present use of compute is told."""


@dataclass(frozen=True)
class Total:
    """Allocations that were refused since we look; compute in use now, 0..1."""

    refused: int = 0
    utilization: float = 0.0


@dataclass
class _Account:
    refused: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    history: deque[tuple[float, int]] = field(default_factory=deque)


class Totals:
    """Feed `update` with readings from time to time; a share that is no longer fed is forgotten."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def update(self, shares: list[NodeShare], now: float) -> dict[str, Total]:
        """Totals by share id at NOW (seconds of any steady clock)."""
        present = {share.share_id for share in shares}
        for gone in self._accounts.keys() - present:
            del self._accounts[gone]
        return {
            share.share_id: _one(self._accounts.setdefault(share.share_id, _Account()), share, now)
            for share in shares
        }


def _one(account: _Account, share: NodeShare, now: float) -> Total:
    if share.ledger.damaged:
        return Total(account.refused)
    for index, slot in enumerate(share.ledger.slots):
        before = account.seen.get(index, 0)
        # Less than before: the count of another process that has the slot now.
        account.refused += slot.refused - (before if slot.refused >= before else 0)
        account.seen[index] = slot.refused
    compute_ns = share.ledger.compute_ns
    if account.history and compute_ns < account.history[-1][1]:
        account.history.clear()  # the ledger was made anew
    account.history.append((now, compute_ns))
    while len(account.history) > 2 and account.history[1][0] <= now - WINDOW_S:
        account.history.popleft()
    since, at_first = account.history[0]
    span = now - since
    return Total(account.refused, (compute_ns - at_first) / 1e9 / span if span > 0 else 0.0)
