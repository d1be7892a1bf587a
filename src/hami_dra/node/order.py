"""Which device of a node the scheduler tries first: devices + prepared shares -> devices in order.

The scheduler scores no devices (kubernetes/enhancements#4970); it takes the first that fits, in the order in
which the ResourceSlice names them. So the order is the policy. It follows what is prepared here: shares that
are allocated and not prepared yet, as in a burst of Pods, are not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hami_dra.model.device import Device
from hami_dra.model.share import Share

FIRST, BINPACK, SPREAD = POLICIES = ("first", "binpack", "spread")
"""As the backend found them; the fullest first; the emptiest first."""


def ordered(policy: str, devices: Sequence[Device], shares: Iterable[Share]) -> tuple[Device, ...]:
    """DEVICES by how much of them SHARES take; equal ones stay in the order in which they are."""
    if policy == FIRST:
        return tuple(devices)
    taken = _taken(devices, shares)
    fullest_first = policy == BINPACK  # `reverse` keeps equal ones in order too
    return tuple(sorted(devices, key=lambda device: taken[_whole(device)], reverse=fullest_first))


def _taken(devices: Sequence[Device], shares: Iterable[Share]) -> dict[str, float]:
    """The part of each whole that is taken, of whichever capacity most is taken."""
    known = {device.name: device for device in devices}
    sums: dict[tuple[str, str], float] = {}
    for share in shares:
        if (device := known.get(share.device)) is not None:
            for name, part in _parts(device, share).items():
                at = _whole(device), name
                sums[at] = sums.get(at, 0.0) + part
    taken = {_whole(device): 0.0 for device in devices}
    for (whole, _), part in sums.items():
        taken[whole] = max(taken[whole], part)
    return taken


def _parts(device: Device, share: Share) -> dict[str, float]:
    if device.parts is not None:
        return {"parts": len(device.parts.numbers) / device.parts.total}
    if not device.shared:
        return {"whole": 1.0}
    return {
        each.name: share.consumed.get(each.name, 0) / each.value for each in device.capacities if each.value
    }


def _whole(device: Device) -> str:
    """What is full or empty: the card, also where it is offered in parts."""
    return device.parts.whole if device.parts else device.name
