"""Which units (cores, compute units) of a device are whose: pure, and remembered in the checkpoint.

The scheduler counts amounts only. Where the parts of a device have numbers, two shares must get different
ones, and a share that is prepared again the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hami_dra.model.device import Capacity, Device
from hami_dra.model.share import Share


def assign(share: Share, device: Device, held: Iterable[Share]) -> Share:
    """Return SHARE with units of its own of DEVICE. HELD: the other shares of the device.

    Their amounts fit (`prepare` has checked that), and rounding is down: so there are always enough free.
    """
    others = list(held)
    units = {
        capacity.name: _free(
            capacity,
            share.consumed[capacity.name],
            {unit for other in others for unit in other.units.get(capacity.name, ())},
        )
        for capacity in device.consumable
        if capacity.units
    }
    return replace(share, units=units)


def _free(capacity: Capacity, amount: int, taken: set[int]) -> tuple[int, ...]:
    """The first run of neighbours that is free, else the lowest free ones."""
    count = amount * capacity.units // capacity.value
    free = [unit for unit in range(capacity.units) if unit not in taken]
    for at in range(len(free) - count + 1):
        run = free[at : at + count]
        if not run or run[-1] - run[0] == count - 1:
            return tuple(run)
    return tuple(free[:count])
