"""Shares of one card, each limited in its own container, told of each other: activities -> hints. Pure.

Without MPS a card runs one process at a time and switches every few milliseconds. Two things follow that no
container can see: time measured around a kernel has other tenants' slices in it, and what is idle. Both are
said in a hint (native/include/ledger.h): `part`, the thousandths of measured time that were the share's own,
and `rate`, the thousandths of the card that it may use now.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WHOLE = 1000
FLOOR = 10
"""What a share gets at least, so that a program that has to give way still ends some day."""
HEADROOM = 100
"""What a reserved share that uses less than it may can take at once; the rest of it counts as idle."""
ACTIVE = 0.002

# Gauss-Legendre on [0, 1]: exact for up to eight processes, and near enough for more.
_NODES = (
    (0.0694318442029737, 0.1739274225687269),
    (0.3300094782075719, 0.3260725774312731),
    (0.6699905217924281, 0.3260725774312731),
    (0.9305681557970263, 0.1739274225687269),
)


@dataclass(frozen=True)
class Activity:
    """What a share did in the last moments, in fractions of that time.

    `counted`: the time of its work whose cost was known, which is its own. `measured`: for each process, how
    much of the time lay between events around its work, other processes' slices included.
    """

    cores: int
    soft: bool = False
    high: bool = False
    counted: float = 0.0
    measured: tuple[float, ...] = ()
    waiting: bool = False
    """Whether a thread was held back."""

    @property
    def active(self) -> bool:
        """Whether it computed, or would have."""
        return self.waiting or self.counted > ACTIVE or any(each > ACTIVE for each in self.measured)


@dataclass(frozen=True)
class Word:
    """What the hint says, in thousandths; 0: nothing."""

    rate: int = 0
    part: int = 0


def plan(shares: dict[str, Activity]) -> dict[str, Word]:
    """Say to each share of one card how to compute. SHARES: those that computed lately."""
    parts = own_parts(shares)
    use = {name: each.counted + sum(each.measured) * parts[name] for name, each in shares.items()}
    return {name: Word(rate, max(1, round(WHOLE * parts[name]))) for name, rate in rates(shares, use).items()}


def quiet_word(limits: Activity) -> Word:
    """What a share that does nothing is told: how to begin, until there is a plan for it."""
    return Word(rate=0 if limits.cores else WHOLE, part=WHOLE)


def own_parts(shares: dict[str, Activity]) -> dict[str, float]:
    """For each share, the part of its measured time that was its own.

    While N other processes are measured as well, the card is divided among 1 + N. Of the others only the
    fraction of time is known, so it is the mean of 1 / (1 + N) over independent presences, which is the
    integral of E[t^N] over t in [0, 1]. Before that, known work of the others has taken its time.
    """
    counted = sum(min(each.counted, 1.0) for each in shares.values())
    presence = [
        (name, min(each, 1.0)) for name, share in shares.items() for each in share.measured if each > ACTIVE
    ]
    own = dict.fromkeys(shares, 0.0)
    for t, weight in _NODES:
        # E[t^N] of all; each process then leaves itself out.
        everybody = math.prod(1 - there * (1 - t) for _, there in presence)
        for name, there in presence:
            own[name] += weight * there * everybody / (1 - there * (1 - t))
    return {
        name: max(0.0, 1 - (counted - share.counted)) * own[name] / total if (total := _total(share)) else 1.0
        for name, share in shares.items()
    }


def _total(share: Activity) -> float:
    return sum(min(each, 1.0) for each in share.measured if each > ACTIVE)


def rates(shares: dict[str, Activity], use: dict[str, float]) -> dict[str, int]:
    """For each share the thousandths of the card that it may use now.

    A share with `cores` has them, and need not be told (0). What reserved shares leave idle goes in equal
    parts to active shares without cores, and to soft ones on top of theirs. While a high-priority share
    computes, all others get the floor.
    """
    urgent = any(share.high and share.active for share in shares.values())
    held = {name for name, share in shares.items() if urgent and not share.high}
    reserved = {
        name: min(share.cores * 10, round(WHOLE * use[name]) + HEADROOM) if share.active else 0
        for name, share in shares.items()
    }
    idle = WHOLE - sum(FLOOR if name in held else thousandths for name, thousandths in reserved.items())
    takers = [
        name
        for name, share in shares.items()
        if share.active and name not in held and (share.soft or not share.cores)
    ]
    each_gets = max(idle, 0) // max(len(takers), 1)

    def rate(name: str, share: Activity) -> int:
        if name in held:
            return FLOOR
        if share.cores and not share.soft:
            return 0
        return min(WHOLE, max(FLOOR, share.cores * 10 + each_gets))

    return {name: rate(name, share) for name, share in shares.items()}
