"""Which part of the time measured around their work was the shares' own: activities -> parts. Pure.

Without MPS a card runs one process at a time and switches every few milliseconds, so that the time between
two events of a process has other tenants' slices in it. No container can see that; the agent can, which knows
what all shares of a card did in the same moments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf
from operator import add, mul, sub, truediv

from hami_dra.model import ledger

WHOLE = 1000
ACTIVE = 0.002
SWITCHING = 70
"""Thousandths that a card loses while several compute: an H100 switches for 0.15 ms after 2.09 ms."""
SLICE = 2.09e6 / (1 << ledger.PRESENCE_SHIFT)
"""Bins of presence that a tenant has the card before another has its turn: 2.09 ms on an H100."""
TURNS = 5
"""So many turns after work began, nobody can tell whose slice it is."""
FINER = 1 << (ledger.COUNTED_SHIFT - ledger.PRESENCE_SHIFT)
"""Bins of presence in one of counted work."""

Presence = dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Activity:
    """What a share did in the last moments.

    That time is told in bins, which are the same moments for all shares; no bins mean nothing in any of them.
    `presence`: in each bin, how many of its processes had work measured on the card; the time between events,
    so other processes' slices included. `counted`: in each FINER bins, the fraction that its work took whose
    cost was known, which is its own time.
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


def own_parts(shares: dict[str, Activity]) -> dict[str, float]:
    """For each share, the part of its measured time that is its own.

    While N processes are measured, they divide the card, less what switching takes. Known work of others
    took its time before that, as it was counted; but it is told a little early or late, so a share has at
    least what it would beside one that computes all the time. For a share of which nothing was measured
    lately: the part that would be.
    """
    crowd = _together(share.presence for share in shares.values())
    known = _together(share.counted for share in shares.values())
    measured = {name: share.presence for name, share in shares.items() if any(share.presence)}
    turns = _turns(measured, crowd)
    coarse = {name: _coarser(own) for name, own in turns.items()} if known else {}
    least = _turns(measured, [each + 1 for each in crowd]) if known else {}
    wanted = _together(coarse.values()) or [1.0] * len(known)
    parts = {}
    for name, share in shares.items():
        others = list(map(sub, known, share.counted)) if share.counted else known
        left = _left_by(others, wanted) if any(others) else []
        if name not in measured:
            parts[name] = (_mean(left) if left else 1.0) / _takers(_mean(crowd) + 1)
            continue
        own = sum(turns[name])
        if left:
            own = max(sum(least[name]), FINER * sum(map(mul, coarse[name], map(_fitting, left, wanted))))
        parts[name] = min(1.0, own / sum(share.presence))
    return parts


def _turns(measured: Presence, crowd: Sequence[float]) -> dict[str, list[float]]:
    """What each of those MEASURED has of the card in each bin, if a CROWD of them takes turns.

    They divide it evenly, but work that waited for its turn begins with a slice, which the others lack.
    """
    takers = list(map(_takers, crowd))
    turns = {name: list(map(truediv, presence, takers)) for name, presence in measured.items()}
    gains = {
        name: _first_slices(presence, turns[name]) for name, presence in measured.items() if not all(presence)
    }
    gained = _together(gains.values())
    for name, presence in measured.items() if gained else ():
        own = gains.get(name) or [0.0] * len(gained)
        others = [each if each > 0 else inf for each in map(sub, crowd, presence)]
        losses = map(truediv, map(mul, map(sub, gained, own), presence), others)
        left = map(sub, map(add, turns[name], own), losses)
        turns[name] = [each if each > 0 else 0.0 for each in left]
    return turns


def _first_slices(presence: Sequence[float], even: Sequence[float]) -> list[float]:
    """What a share has in each bin beyond its EVEN part, as its work began with a slice.

    Then the others have theirs, and so on: the shorter work is, the more of the time between its events is
    its own, up to all of it. Of work that was there in the first bin already, nobody knows when it began.
    """
    gains = [0.0] * len(presence)
    at = 0
    for there, bins in groupby(presence, bool):
        begin, at = at, at + len(list(bins))
        if not there or begin == 0:
            continue
        lacks = list(map(sub, presence[begin:at], even[begin:at]))
        others = max(map(truediv, lacks, presence[begin:at]))
        if others < ACTIVE:
            continue
        beside, turn = sum(lacks) / others, SLICE / max(ACTIVE, 1 - others)
        phase = min(SLICE, beside % turn) if beside < TURNS * turn else SLICE / 2
        gains[begin:at] = [lack * phase / beside for lack in lacks]
    return gains


def _left_by(others: Sequence[float], wanted: Sequence[float]) -> list[float]:
    """What known work of OTHERS leaves of a card in each bin.

    Where the rest is WANTED, each of its slices is two switches as well. What is more than a bin holds is
    told early: it is done later.
    """
    left, later = [], 0.0
    for amount, rest in zip(others, wanted, strict=True):
        taken = later + amount * (1 + 2 * SWITCHING / WHOLE if rest > ACTIVE else 1)
        left.append(max(0.0, 1 - taken))
        later = max(0.0, taken - 1)
    return left


def _fitting(left: float, wanted: float) -> float:
    """Which part of what is WANTED can be had of what is LEFT."""
    return min(1.0, left / wanted) if wanted > ACTIVE else 1.0


def _takers(processes: float) -> float:
    """Among how many a card is divided, if switching takes its part as they do."""
    if processes <= 1:
        return 1.0
    return processes / (1 - min(1.0, processes - 1) * SWITCHING / WHOLE)


def _coarser(bins: Sequence[float]) -> list[float]:
    """Bins of presence as those of counted work."""
    return [sum(bins[at : at + FINER]) / FINER for at in range(0, len(bins), FINER)]


def _together(bins: Iterable[Sequence[float]]) -> list[float]:
    """The sum over shares for each bin; empty where nobody did anything."""
    return list(map(sum, zip(*filter(None, bins), strict=True)))


def _mean(bins: Sequence[float]) -> float:
    return sum(bins) / len(bins) if bins else 0.0
