"""Which part of the time measured around their work was the shares' own: activities -> parts. Pure.

Without MPS a card runs one process at a time and switches every few milliseconds, so that the time between
two events of a process has other tenants' slices in it. No container can see that; the agent can, which knows
what all shares of a card did in the same moments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import mul, sub
from typing import NamedTuple

from hami_dra.model import ledger

WHOLE = 1000
ACTIVE = 0.002
SWITCHING = 70
"""Thousandths that a card loses while several compute: an H100 switches for 0.15 ms after 2.09 ms."""
SLICED = 1 + 2 * SWITCHING / WHOLE
"""What known work takes of a card where others compute as well: each of its slices is two switches."""
SLICE = 2.09e6 / (1 << ledger.PRESENCE_SHIFT)
"""Bins of presence that a tenant has the card before another has its turn: 2.09 ms on an H100."""
TURNS = 5
"""So many turns after work began, nobody can tell whose slice it is."""
FINER = 1 << (ledger.COUNTED_SHIFT - ledger.PRESENCE_SHIFT)
"""Bins of presence in one of counted work."""

Bins = Sequence[float]
Presence = Mapping[str, Bins]
Runs = Sequence[tuple[int, int]]


class Activity(NamedTuple):
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
    begun = {name: list(_begun(presence)) for name, presence in measured.items() if not all(presence)}
    turns = _turns(measured, begun, crowd)
    parts = {name: min(1.0, sum(own) / sum(measured[name])) for name, own in turns.items()}
    parts |= dict.fromkeys(shares.keys() - measured.keys(), _even([_mean(crowd) + 1])[0])
    if not known:
        return parts
    least = _turns(measured, begun, [each + 1 for each in crowd])
    wanted = _coarser(_together(turns.values())) or [1.0] * len(known)
    # Most shares have no known work of their own, and all of those the same beside them.
    left = {own: _left_beside(own, known, wanted) for own in {share.counted for share in shares.values()}}
    fitting = {own: _fitting(left[own], wanted) for own in {shares[name].counted for name in measured}}
    for name, share in shares.items():
        if not left[share.counted]:
            continue
        if name in measured:
            own = max(sum(least[name]), sum(map(mul, turns[name], fitting[share.counted])))
            parts[name] = min(1.0, own / sum(share.presence))
        else:
            parts[name] *= _mean(left[share.counted])
    return parts


def _turns(measured: Presence, begun: Mapping[str, Runs], crowd: Bins) -> dict[str, list[float]]:
    """What each of those MEASURED has of the card in each bin, if a CROWD of them takes turns.

    They divide it evenly, but work that waited for its turn begins with a slice, which the others lack.
    """
    even = _even(crowd)
    lacking = [1 - own for own in even]
    gains = {name: _first_slices(measured[name], runs, lacking) for name, runs in begun.items() if runs}
    gained = _together(gains.values())
    if not gained:
        return {name: list(map(mul, presence, even)) for name, presence in measured.items()}
    nothing = [0.0] * len(gained)
    return {
        name: _with_slices(presence, crowd, even, gains.get(name, nothing), gained)
        for name, presence in measured.items()
    }


def _with_slices(presence: Bins, crowd: Bins, even: Bins, gains: Bins, gained: Bins) -> list[float]:
    """What a share has of the card: its even part and its own GAINS, less its part of what others GAINED."""
    turns = []
    for there, everybody, part, gain, gain_of_all in zip(presence, crowd, even, gains, gained, strict=True):
        turn = there * part + gain
        if 0 < there < everybody:
            turn -= (gain_of_all - gain) * there / (everybody - there)
        turns.append(turn if turn > 0 else 0.0)
    return turns


def _begun(presence: Bins) -> Iterator[tuple[int, int]]:
    """The first bin of each work that was there without a break, and the one behind it.

    But not of what was there in the first bin of all: nobody knows when that began.
    """
    there = bytes(map(bool, presence)) + b"\0"
    end = there.index(0)
    while (begin := there.find(1, end)) >= 0:
        end = there.index(0, begin)
        yield begin, end


def _first_slices(presence: Bins, runs: Runs, lacking: Bins) -> list[float]:
    """What a share has in each bin of the part that is LACKING, as its work in these RUNS began with a slice.

    Then the others have theirs, and so on: the shorter work is, the more of the time between its events is
    its own, up to all of it.
    """
    gains = [0.0] * len(presence)
    for begin, end in runs:
        others = max(lacking[begin:end])
        if others < ACTIVE:
            continue
        lacks = list(map(mul, presence[begin:end], lacking[begin:end]))
        beside, turn = sum(lacks) / others, SLICE / max(ACTIVE, 1 - others)
        phase = min(SLICE, beside % turn) if beside < TURNS * turn else SLICE / 2
        part = phase / beside
        gains[begin:end] = [lack * part for lack in lacks]
    return gains


def _left_beside(own: Bins, known: Bins, wanted: Bins) -> list[float]:
    """What KNOWN work leaves of a card in each bin beside that which is a share's OWN; empty if all is.

    Where the rest is WANTED, other work is SLICED. What is more than a bin holds is told early: it is done
    later.
    """
    others = list(map(sub, known, own)) if own else known
    if not any(others):
        return []
    left, later = [], 0.0
    for amount, rest in zip(others, wanted, strict=True):
        room = 1 - later - (amount * SLICED if rest > ACTIVE else amount)
        left.append(room if room > 0 else 0.0)
        later = -room if room < 0 else 0.0
    return left


def _fitting(left: Bins, wanted: Bins) -> list[float]:
    """Which part of what is WANTED can be had of what is LEFT; for each bin of presence."""
    return [
        part
        for free, rest in zip(left, wanted, strict=False)
        for part in (free / rest if rest > ACTIVE and rest > free else 1.0,) * FINER
    ]


def _even(crowd: Bins) -> list[float]:
    """What each of a CROWD of processes has of a card, if switching takes its part as they do."""
    lost, all_lost = SWITCHING / WHOLE, 1 - SWITCHING / WHOLE
    return [
        1.0 if processes <= 1 else (all_lost if processes > 2 else 1 - (processes - 1) * lost) / processes
        for processes in crowd
    ]


def _coarser(bins: Bins) -> list[float]:
    """Bins of presence as those of counted work."""
    return [sum(bins[at : at + FINER]) / FINER for at in range(0, len(bins), FINER)]


def _together(bins: Iterable[Bins]) -> list[float]:
    """The sum over shares for each bin; empty where nobody did anything."""
    return list(map(sum, zip(*filter(None, bins), strict=True)))


def _mean(bins: Bins) -> float:
    return sum(bins) / len(bins) if bins else 0.0
