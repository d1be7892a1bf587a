"""What devices and shares of other families use now, as their backends say it: under the names of cards.

These families have no ledgers, so nobody knows what each of several shares of a device uses. A share that has
its device to itself uses what the device uses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from hami_dra.devices.backend import Backend, Usage
from hami_dra.model.device import CORES, MEMORY, Device
from hami_dra.model.errors import DriverError
from hami_dra.model.reading import CardReading
from hami_dra.model.share import Share
from hami_dra.observe import holders
from hami_dra.observe.exposition import render
from hami_dra.observe.holders import Grant, Holder
from hami_dra.observe.usage_metrics import CARDS, DEVICE_SHARES, CardUse, DeviceShareUse

log = structlog.get_logger(__name__)

Shares = Callable[[], Iterable[Share]]


@dataclass(frozen=True)
class Look:
    """A family's devices at one moment, by name."""

    devices: Mapping[str, Device]
    uses: Mapping[str, Usage]
    sick: frozenset[str]


class DeviceUsage:
    """The metrics of several families on NODE. SHARES: those that each backend's plugin has prepared; GRANTS:
    who was given what."""

    def __init__(
        self,
        node: str,
        backends: Sequence[Backend],
        shares: Sequence[Shares] = (),
        grants: Callable[[], list[Grant]] = list,
    ) -> None:
        self._node = node
        self._families = [
            (backend, shares[at] if at < len(shares) else list) for at, backend in enumerate(backends)
        ]
        self._grants = grants

    def text(self) -> str:
        """The metrics, as Prometheus reads them; without a family whose driver does not answer."""
        found = [(look, shares) for backend, shares in self._families if (look := _look(backend))]
        holder = holders.by_share(self._grants())
        cards = (CardUse(self._node, reading) for look, _ in found for reading in _readings(look))
        uses = (use for look, shares in found for use in of_shares(self._node, look, list(shares()), holder))
        return "".join((*render(CARDS, cards), *render(DEVICE_SHARES, uses)))


def of_shares(
    node: str, look: Look, shares: Sequence[Share], holder: Mapping[str, Holder]
) -> Iterator[DeviceShareUse]:
    """A row for each share of a known device; one that is not shared is told as a device alone. Pure."""
    count = Counter(share.device for share in shares)
    for share in shares:
        device = look.devices.get(share.device)
        if device is None or not share.share_id:
            continue
        alone = look.uses.get(share.device) if count[share.device] == 1 else None
        yield DeviceShareUse(
            node,
            share.share_id,
            share.uuid,
            holder.get(share.share_id, holders.NOBODY),
            memory=_granted(device, share, MEMORY),
            core_limit=_core_limit(device, share),
            used=alone.memory if alone else None,
            utilization=alone.compute if alone else None,
        )


def _granted(device: Device, share: Share, capacity: str) -> int | None:
    """The whole of a device that is not shared; None where the family has no such capacity."""
    return share.consumed.get(capacity, device.capacity(capacity)) or None


def _core_limit(device: Device, share: Share) -> float | None:
    whole = device.capacity(CORES)
    if not whole:
        return None
    return share.consumed.get(CORES, whole) / whole or 1.0  # who reserved nothing may use all that is idle


def _look(backend: Backend) -> Look | None:
    try:
        devices = backend.discover()
        uses = {use.device: use for use in backend.usage(devices)}
        sick = frozenset(problem.device for problem in backend.health(devices) if problem.fatal)
    except DriverError as problem:
        log.warning("the driver does not answer", driver=backend.driver, problem=str(problem))
        return None
    return Look({device.name: device for device in devices}, uses, sick)


def _readings(look: Look) -> Iterator[CardReading]:
    for at, (name, device) in enumerate(look.devices.items()):
        use, number = look.uses.get(name), device.attributes.get("index", at)
        yield CardReading(
            index=number if isinstance(number, int) else at,
            uuid=device.uuid,
            product=str(device.attributes["productName"]),
            healthy=name not in look.sick,
            memory=device.capacity(MEMORY) or None,
            memory_used=use.memory if use else None,
            utilization=use.compute if use else None,
        )
