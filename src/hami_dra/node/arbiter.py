"""Shares of one card, each limited in its own container, told of each other: activities -> hints. Pure.

No container can see how much of the time measured around its work was its own (own_time.py), nor what is
idle. Both are said in a hint (native/include/ledger.h): `part`, the thousandths of measured time that were
the share's own, and `rate`, the thousandths of the card that it may use now.
"""

from __future__ import annotations

from typing import NamedTuple

from hami_dra.node.own_time import SWITCHING, WHOLE, Activity, own_parts

FLOOR = 10
"""What a share gets at least, so that a program that has to give way still ends some day."""
HEADROOM = 100
"""What a reserved share that uses less than it may can take at once; the rest of it counts as idle."""


class Word(NamedTuple):
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
    return Word(rate=limits.cores * 10 if limits.soft and limits.cores else WHOLE, part=WHOLE)


def rates(shares: dict[str, Activity], use: dict[str, float]) -> dict[str, int]:
    """For each share the thousandths of the card that it may use now.

    A share with `cores` is told the whole card, since its limiter keeps to them itself, unless all want
    theirs at once: a card that switches has less than the whole to give, so all get as much less. What
    reserved shares leave idle goes in equal parts to active shares without cores, and to soft ones on top
    of theirs. While a high-priority share computes, all others get the floor.
    """
    active = {name for name, share in shares.items() if share.active}
    whole = WHOLE - SWITCHING if len(active) > 1 else WHOLE
    urgent = any(shares[name].high for name in active)
    held = {name for name, share in shares.items() if urgent and not share.high}
    reserved = {
        name: min(share.cores * 10, round(WHOLE * use[name]) + HEADROOM) if name in active else 0
        for name, share in shares.items()
    }
    taken = sum(FLOOR if name in held else thousandths for name, thousandths in reserved.items())
    idle = whole - taken
    fitting = min(1.0, whole / taken) if taken else 1.0
    takers = sum(shares[name].soft or not shares[name].cores for name in active - held)
    each_gets = max(idle, 0) // max(takers, 1)

    def rate(name: str, share: Activity) -> int:
        if name in held:
            return FLOOR
        own = round(share.cores * 10 * fitting)
        if share.cores and not share.soft:
            return WHOLE if fitting == 1.0 else max(FLOOR, own)
        return min(WHOLE, max(FLOOR, own + each_gets))

    return {name: rate(name, share) for name, share in shares.items()}
