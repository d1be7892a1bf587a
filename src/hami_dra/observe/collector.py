"""Fills the families at scrape time from what the caches hold, so that no series outlives its object."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from hami_dra.kube.client import Object
from hami_dra.observe import allocation, metrics


class AllocationCollector(Collector):
    """SLICES and CLAIMS return the objects as they are now."""

    def __init__(
        self, slices: Callable[[], list[Object]], claims: Callable[[], list[Object]], *, legacy: bool
    ) -> None:
        self._slices, self._claims, self._legacy = slices, claims, legacy

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client.registry.Collector."""
        cards, claims = allocation.cards(self._slices()), self._claims()
        uses = [
            metrics.CardUse(card, memory, cores)
            for card, (memory, cores) in allocation.consumed(cards, claims).items()
        ]
        held = list(allocation.shares(cards, claims))
        yield from metrics.families(uses, held, legacy=self._legacy)
