"""Shares of one card, each limited in its own container, told of each other: activities -> hints. Pure.

Without MPS a card runs one process at a time and switches every few milliseconds. Two things follow that no
container can see: time measured around a kernel has other tenants' slices in it, and what is idle. Both are
said in a hint (native/include/ledger.h): `part`, the thousandths of measured time that were the share's own,
and `rate`, the thousandths of the card that it may use now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import mul, sub, truediv

WHOLE = 1000
FLOOR = 10
"""What a share gets at least, so that a program that has to give way still ends some day."""
HEADROOM = 100
"""What a reserved share that uses less than it may can take at once; the rest of it counts as idle."""
ACTIVE = 0.002
SWITCHING = 70
"""Thousandths that a card loses while several compute: an H100 switches for 0.15 ms after 2.09 ms."""


@dataclass(frozen=True)
class Activity:
    """What a share did in the last moments.

    That time is told in bins, which are the same moments for all shares; no bins mean nothing in any of them.
    `counted`: for each bin, the fraction that its work took whose cost was known, which is its own time.
    `presence`: how many of its processes had work measured on the card; the time between events, so other
    processes' slices included.
    """

    cores: int
    soft: bool = False
    high: bool = False
    counted: tuple[float, ...] = ()
    presence: tuple[float, ...] = ()
    waiting: bool = False
    """Whether a thread was held back."""

    @property
    def known(self) -> float:
        """The fraction of the time that known work took."""
        return _mean(self.counted)

    @property
    def measured(self) -> float:
        """Mean number of its processes on the card."""
        return _mean(self.presence)

    @property
    def active(self) -> bool:
        """Whether it computed, or would have."""
        return self.waiting or self.known > ACTIVE or self.measured > ACTIVE


@dataclass(frozen=True)
class Word:
    """What the hint says, in thousandths; 0: nothing."""

    rate: int = 0
    part: int = 0


def plan(shares: dict[str, Activity]) -> dict[str, Word]:
    """Say to each share of one card how to compute. SHARES: those that computed lately."""
    parts = own_parts(shares)
    use = {name: each.known + each.measured * parts[name] for name, each in shares.items()}
    return {name: Word(rate, max(1, round(WHOLE * parts[name]))) for name, rate in rates(shares, use).items()}


def quiet_word(limits: Activity) -> Word:
    """What a share that does nothing is told: how to begin, until there is a plan for it."""
    return Word(rate=0 if limits.cores else WHOLE, part=WHOLE)


def own_parts(shares: dict[str, Activity]) -> dict[str, float]:
    """For each share, the part of its measured time that is its own.

    While N processes are measured, they divide the card, less what switching takes. Known work of the others
    has taken its time before that. A share of which nothing was measured lately: the part that would be.
    """
    known = _together(each.counted for each in shares.values())
    crowd = _together(each.presence for each in shares.values())
    takers, left = list(map(_takers, crowd)), list(map(_left_by, known))
    parts = {}
    for name, share in shares.items():
        own_left = list(map(_left_by, map(sub, known, share.counted))) if share.counted else left
        if total := sum(share.presence):
            taken = map(mul, share.presence, own_left) if own_left else share.presence
            parts[name] = sum(map(truediv, taken, takers)) / total
        else:
            parts[name] = (_mean(own_left) if own_left else 1.0) / _takers(_mean(crowd) + 1)
    return parts


def _together(bins: Iterable[tuple[float, ...]]) -> list[float]:
    """The sum over shares for each bin; empty where nobody did anything."""
    return list(map(sum, zip(*filter(None, bins), strict=True)))


def _mean(bins: Sequence[float]) -> float:
    return sum(bins) / len(bins) if bins else 0.0


def _left_by(others: float) -> float:
    """What known work of OTHERS leaves of a card: each of its slices is two switches."""
    return max(0.0, 1 - others - min(1, 2 * others) * SWITCHING / WHOLE)


def _takers(processes: float) -> float:
    """Among how many a card is divided, if switching takes its part as they do."""
    several = min(1.0, max(0.0, processes - 1))
    return max(1.0, processes) / (1 - several * SWITCHING / WHOLE)


def rates(shares: dict[str, Activity], use: dict[str, float]) -> dict[str, int]:
    """For each share the thousandths of the card that it may use now.

    A share with `cores` has them, and need not be told (0), unless all want theirs at once: a card that
    switches has less than the whole to give, so all get as much less. What reserved shares leave idle goes in
    equal parts to active shares without cores, and to soft ones on top of theirs. While a high-priority share
    computes, all others get the floor.
    """
    several = sum(share.active for share in shares.values()) > 1
    whole = WHOLE - SWITCHING if several else WHOLE
    urgent = any(share.high and share.active for share in shares.values())
    held = {name for name, share in shares.items() if urgent and not share.high}
    reserved = {
        name: min(share.cores * 10, round(WHOLE * use[name]) + HEADROOM) if share.active else 0
        for name, share in shares.items()
    }
    taken = sum(FLOOR if name in held else thousandths for name, thousandths in reserved.items())
    idle = whole - taken
    fitting = min(1.0, whole / taken) if taken else 1.0
    takers = [
        name
        for name, share in shares.items()
        if share.active and name not in held and (share.soft or not share.cores)
    ]
    each_gets = max(idle, 0) // max(len(takers), 1)

    def rate(name: str, share: Activity) -> int:
        if name in held:
            return FLOOR
        own = round(share.cores * 10 * fitting)
        if share.cores and not share.soft:
            return 0 if fitting == 1.0 else max(FLOOR, own)
        return min(WHOLE, max(FLOOR, own + each_gets))

    return {name: rate(name, share) for name, share in shares.items()}
