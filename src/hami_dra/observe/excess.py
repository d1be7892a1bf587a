"""What the driver holds for a process beyond what its limiter booked: how much of it the agent books. Pure.

The limiter sees what is allocated through the driver's entry points. The CUDA runtime loads its kernels past
them, and a driver takes larger pieces than it is asked for; the share shall pay for that as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from hami_dra.model.ledger import UNIT, Excess
from hami_dra.model.reading import DriverProcess
from hami_dra.observe.audit import Group

ROUNDS = 3
"""The least of so many rounds is booked: one round may see memory that was freed while it looked."""

_Key = tuple[str, tuple[tuple[int, int], ...]]
"""Card, and pid and start of each process: who is another process is another key."""


class Excesses:
    """Remembers the last rounds. A process is booked for the first time in its third."""

    def __init__(self) -> None:
        self._rounds: deque[Mapping[_Key, int]] = deque(maxlen=ROUNDS)

    def round(
        self, groups: Iterable[Group], again: Iterable[DriverProcess]
    ) -> dict[str, list[Excess]] | None:
        """What to book now, by share id. None, before there were enough rounds: what is booked stays.

        AGAIN: the driver's processes once more, read after the ledgers. Memory that was freed while they were
        read is in the first answer alone, and memory that was allocated then in the second: the smaller of
        the two has neither.
        """
        memory = {(each.uuid, each.pid): each.memory for each in again}
        judged = {_key(group): group for group in groups if group.slots and not group.trusted}
        self._rounds.append({key: max(0, _beyond(group, memory)) for key, group in judged.items()})
        if len(self._rounds) < ROUNDS:
            return None
        wanted: dict[str, list[Excess]] = {}
        for key, group in judged.items():
            excess = min(each.get(key, 0) for each in self._rounds)
            # Who of several has it cannot be told: containers of one image have about the same.
            part = excess // len(group.slots) // UNIT * UNIT
            for place in group.slots if part else ():
                wanted.setdefault(place.share_id, []).append(Excess(place.number, place.slot.pid, part))
        return wanted


def _key(group: Group) -> _Key:
    return group.device_uuid, tuple(sorted((each.pid, each.started) for each in group.processes))


def _beyond(group: Group, memory: Mapping[tuple[str, int], int]) -> int:
    held = (min(each.memory, memory.get((each.device_uuid, each.pid), 0)) for each in group.processes)
    return sum(held) - group.booked
