"""What the processes of a share hold and did: read from its ledger with pread, past no lock of a workload.

A slot whose lock nobody holds belongs to a dead process: what it held is free, what it did was done. What the
agent books is written with pwrite: a container can truncate its ledger, and a mapping would end the plugin.
It can also take a lease on it, for which others would wait 45 s to open it: they do not (O_NONBLOCK). And
it can lock so many pieces of it that each question for a lock takes a millisecond.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hami_dra.model import ledger

PATIENCE_S = 0.25
"""CPU time for the locks of one ledger; 1024 of them take 0.016 s (a busy build machine)."""


@dataclass(frozen=True)
class Reading:
    """A ledger at one moment. SLOTS: all that were ever taken; LIVING: those of the living, by number.

    EXCESS: all entries of the agent's table, those of the dead as well. `compute_ns` and `throttled_ns` only
    grow, whatever becomes of the processes. DAMAGED: it cannot be read, and nothing else here means anything.
    """

    compute_ns: int
    throttled_ns: int
    slots: tuple[ledger.Slot, ...] = ()
    living: Mapping[int, ledger.Slot] = field(default_factory=dict)
    excess: tuple[ledger.Excess, ...] = ()
    damaged: bool = False

    @property
    def used(self) -> int:
        """Bytes that living processes hold together: what they booked, and what the agent booked for them."""
        return sum(
            slot.used + ledger.excess_of(number, slot, self.excess) for number, slot in self.living.items()
        )


def read(path: Path) -> Reading:
    """Read the ledger at PATH. OSError: the share is gone. ValueError: not a ledger of this version, or one
    that its container has filled with locks.

    Its tail, of slots that nobody ever took, is not read: few shares have more than a handful of processes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        head = os.pread(descriptor, ledger.HEAD_BYTES, 0)
        header = ledger.header(head)
        taken = os.pread(descriptor, header.high * ledger.SLOT_BYTES, ledger.HEADER)
        if os.fstat(descriptor).st_size != ledger.SIZE:
            raise ValueError(f"{path} is not as long as a ledger")
        slots = ledger.taken(taken)
        living = _living(descriptor, slots)
        table = _table(descriptor, ledger.excess_count(head))
        excess = tuple(each for each in table if each.pid)
        return Reading(header.compute_ns, header.throttled_ns, tuple(slots), living, excess)
    finally:
        os.close(descriptor)


def book(path: Path, wanted: Iterable[ledger.Excess]) -> None:
    """Let the agent's table in the ledger at PATH say what is WANTED. OSError as for `read`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if os.fstat(descriptor).st_size != ledger.SIZE:
            return  # cut short by its container, which gets no memory any more
        table = _table(descriptor, ledger.EXCESSES)
        for place, entry in ledger.changes(table, wanted):
            _write(descriptor, place, entry)
            table[place] = entry
        count = max((place + 1 for place, entry in enumerate(table) if entry.pid), default=0)
        os.pwrite(descriptor, count.to_bytes(4, "little"), ledger.EXCESS_COUNT_AT)
    finally:
        os.close(descriptor)


def _write(descriptor: int, place: int, entry: ledger.Excess) -> None:
    """While the rest is half written, the pid is 0."""
    start, data = ledger.EXCESS_AT + place * ledger.EXCESS_BYTES, entry.pack()
    os.pwrite(descriptor, bytes(4), start + 4)
    os.pwrite(descriptor, data[:4], start)
    os.pwrite(descriptor, data[8:], start + 8)
    os.pwrite(descriptor, data[4:8], start + 4)


def _table(descriptor: int, count: int) -> list[ledger.Excess]:
    """The first COUNT entries of the agent's table."""
    return ledger.excesses(os.pread(descriptor, count * ledger.EXCESS_BYTES, ledger.EXCESS_AT))


def _living(descriptor: int, slots: Iterable[ledger.Slot]) -> dict[int, ledger.Slot]:
    living, end = {}, time.thread_time() + PATIENCE_S
    for number, slot in enumerate(slots):
        if slot.pid and ledger.is_taken(descriptor, number, 1):
            living[number] = slot
        if time.thread_time() > end:
            raise ValueError("its locks take too long to look through")
    return living
