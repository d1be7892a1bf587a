"""What a node's scrape answers: ledgers, driver and kubelet are read in the moment of the scrape."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import structlog

from hami_dra.model.errors import DriverError
from hami_dra.model.ledger import Excess
from hami_dra.model.reading import CardReading, DriverProcess
from hami_dra.observe import holders, ledgers, shares, usage_metrics
from hami_dra.observe.holders import Grant
from hami_dra.observe.shares import NodeShare
from hami_dra.observe.totals import Totals

log = structlog.get_logger(__name__)


class Readings(Protocol):
    """What the driver says. Both raise errors.DriverError."""

    def cards(self) -> list[CardReading]:
        """Return the cards of this node."""
        ...

    def processes(self) -> list[DriverProcess]:
        """Return the processes that hold memory of them."""
        ...


class NodeUsage:
    """STATE: the plugin's folder. GRANTS: who was given what."""

    def __init__(
        self,
        node: str,
        state: Path,
        readings: Readings,
        grants: Callable[[], list[Grant]],
        *,
        legacy: bool,
    ) -> None:
        self._node, self._state, self._legacy = node, state, legacy
        self._readings, self._grants = readings, grants
        self._totals = Totals()
        self._lock = threading.Lock()  # of scrapes among themselves
        self._driver_is_away = False

    def sample(self) -> list[NodeShare]:
        """Read the ledgers and take their counters down: between scrapes a process may come and go."""
        found = list(shares.read(self._state))
        with self._lock:
            self._totals.update(found, time.monotonic())
        return found

    def book(self, share_id: str, wanted: Iterable[Excess]) -> None:
        """Let a share's ledger say what the agent books for its processes. OSError: the share is gone."""
        ledgers.book(shares.ledger_of(self._state, share_id), wanted)

    def text(self) -> str:
        """The metrics, as Prometheus reads them."""
        with self._lock:
            found = list(shares.read(self._state))
            totals = self._totals.update(found, time.monotonic())
        holder = holders.by_share(self._grants())
        uses = [
            usage_metrics.ShareUse(
                self._node,
                share,
                holder.get(share.share_id, holders.NOBODY),
                totals[share.share_id],
                time.monotonic(),
            )
            for share in found
        ]
        return "".join(usage_metrics.text(uses, self._cards(), legacy=self._legacy))

    def _cards(self) -> list[usage_metrics.CardUse]:
        """Without a driver there are no card metrics; those of the shares go on."""
        try:
            cards = [usage_metrics.CardUse(self._node, card) for card in self._readings.cards()]
        except DriverError as problem:
            if not self._driver_is_away:  # told once: it may be so for long
                log.warning("the driver does not answer", problem=str(problem))
            self._driver_is_away = True
            return []
        self._driver_is_away = False
        return cards
