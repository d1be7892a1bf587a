"""What devices of other families use now, as their backends say it: under the metric names of cards."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from hami_dra.devices.backend import Backend, Usage
from hami_dra.model.device import MEMORY, Device
from hami_dra.model.errors import DriverError
from hami_dra.model.reading import CardReading
from hami_dra.observe.exposition import render
from hami_dra.observe.usage_metrics import CARDS, CardUse

log = structlog.get_logger(__name__)


class DeviceUsage:
    """The host metrics of several families on NODE."""

    def __init__(self, node: str, backends: Sequence[Backend]) -> None:
        self._node = node
        self._backends = backends

    def text(self) -> str:
        """The metrics, as Prometheus reads them; without a family whose driver does not answer."""
        uses = [CardUse(self._node, reading) for backend in self._backends for reading in _readings(backend)]
        return "".join(render(CARDS, uses))


def _readings(backend: Backend) -> list[CardReading]:
    try:
        devices = backend.discover()
        uses = {use.device: use for use in backend.usage(devices)}
        sick = {problem.device for problem in backend.health(devices) if problem.fatal}
    except DriverError as problem:
        log.warning("the driver does not answer", driver=backend.driver, problem=str(problem))
        return []
    return [
        _reading(at, device, uses.get(device.name), device.name not in sick)
        for at, device in enumerate(devices)
    ]


def _reading(at: int, device: Device, use: Usage | None, healthy: bool) -> CardReading:
    number = device.attributes.get("index", at)
    return CardReading(
        index=number if isinstance(number, int) else at,
        uuid=device.uuid,
        product=str(device.attributes["productName"]),
        healthy=healthy,
        memory=device.capacity(MEMORY) or None,
        memory_used=use.memory if use else None,
        utilization=use.compute if use else None,
    )
