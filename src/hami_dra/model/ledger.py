"""The layout of a share's ledger file, as in native/include/ledger.h, and what it says now.

A file is read while processes write it: each number is whole, but they need not be of one moment.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

MAGIC = 0x48414D49_00000001
HEADER = 4096
SLOTS = 1024
SLOT_BYTES = 64
UNIT = 512
"""`used` and `pending` are multiples of it."""
SIZE = HEADER + SLOTS * SLOT_BYTES
"""Bytes of the whole file; as many zero bytes are an empty ledger."""

_HEADER = struct.Struct("<QQIIQQQQ8x")
_HINT = struct.Struct("<QII")
_SLOT = struct.Struct("<QQIIQQQ16x")
_EXCESS_COUNT = struct.Struct("<I")
_EXCESS = struct.Struct("<IIQ")
HINT_AT = _HEADER.size
"""Offset of the hint. It and the excesses are what the node's agent writes."""
EXCESS_COUNT_AT = 80
"""Offset of how many entries of the table of excesses are looked at."""
HEAD_BYTES = EXCESS_COUNT_AT + 4
"""All of the header that comes before its large tables."""
EXCESS_AT = 3072
"""Offset of the table of excesses."""
EXCESSES = 64
EXCESS_BYTES = _EXCESS.size
"""Of one entry: slot, pid, bytes, with nothing between them."""
COUNTED_AT = 512
"""Offset of the ring of longer bins that tell how much work of known cost was done; the next follows it."""
COUNTED_BINS = 64
COUNTED_SHIFT = 21
PRESENCE_AT = 1024
"""Offset of the ring of bins that tell when the share was on the card."""
PRESENCE_BINS = 256
PRESENCE_SHIFT = 20
"""A bin is so many nanoseconds, as a power of two."""
RINGS_END = PRESENCE_AT + 8 * PRESENCE_BINS
"""Of what a look at what a share did lately reads: the header and both rings."""
_PRESENCE_UNITS = 1024
_COUNTED_UNITS = (1 << COUNTED_SHIFT) // 16
_F_OFD_GETLK = 36
_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of 64-bit Linux: type, whence, start, length, pid."""
_TAG_SHIFT = 20
"""Below it a word of a ring tells how much, above it which bin that was."""
ACTIVITY_AT = 48
"""Offset of eight bytes that differ whenever a compute counter of any slot has changed."""

Bins = tuple[float, ...]


class Header(NamedTuple):
    """What all processes of a share have in common. Bytes and nanoseconds; times are CLOCK_MONOTONIC."""

    magic: int
    context_bytes: int
    high: int
    paid_rate: int
    paid_until: int
    compute_ns: int
    throttled_ns: int
    activity: int


class Hint(NamedTuple):
    """How the agent wants a share to compute: `rate` and `part` in thousandths, 0: nothing to say."""

    at: int
    rate: int = 0
    part: int = 0

    def pack(self) -> bytes:
        """The bytes at HINT_AT."""
        return _HINT.pack(self.at, self.rate, self.part)


@dataclass(frozen=True)
class Slot:
    """What one process holds and did. `pid` is in its own PID namespace, `active_s` CLOCK_MONOTONIC."""

    used: int
    pending: int
    pid: int
    active_s: int
    refused: int
    compute_ns: int
    throttled_ns: int


@dataclass(frozen=True, order=True)
class Excess:
    """Bytes that a process holds beyond the `used` of its slot, as the agent booked them. PID 0: no entry."""

    slot: int
    pid: int
    held: int

    def pack(self) -> bytes:
        """The bytes of an entry."""
        return _EXCESS.pack(self.slot, self.pid, self.held)


NO_EXCESS = Excess(0, 0, 0)


def header(data: bytes) -> Header:
    """Read the header from the beginning of a ledger. ValueError: not a ledger of this version."""
    if len(data) < _HEADER.size:
        raise ValueError("not a ledger of this version")
    found = Header(*_HEADER.unpack_from(data))
    if found.magic not in (0, MAGIC) or found.high > SLOTS:
        raise ValueError("not a ledger of this version")
    return found


def hint(data: bytes) -> Hint:
    """The agent's last word."""
    return Hint(*_HINT.unpack_from(data, HINT_AT))


def excess_count(data: bytes) -> int:
    """How many entries of the table count, at most; from the first HEAD_BYTES. ValueError as for `header`."""
    if len(data) < HEAD_BYTES:
        raise ValueError("not a ledger of this version")
    return min(int(_EXCESS_COUNT.unpack_from(data, EXCESS_COUNT_AT)[0]), EXCESSES)


def excesses(table: bytes) -> list[Excess]:
    """Entries from their bytes, which begin at EXCESS_AT in the file; those that are whole."""
    whole = len(table) // EXCESS_BYTES * EXCESS_BYTES
    return [Excess(*words) for words in _EXCESS.iter_unpack(table[:whole])]


def changes(table: Sequence[Excess], wanted: Iterable[Excess]) -> list[tuple[int, Excess]]:
    """What to write into TABLE, in this order, so that it says what is WANTED: (place, entry).

    Entries stay where they are, and what goes goes first: at no moment is anything counted twice. Where there
    are more than places, the largest are kept.
    """
    largest = sorted(wanted, key=lambda each: -each.held)[:EXCESSES]
    left = {(each.slot, each.pid): each for each in largest}
    gone, changed, free = [], [], []
    for place, entry in enumerate(table):
        new = left.pop((entry.slot, entry.pid), None)
        if new is None:
            free.append(place)
            if entry.pid:
                gone.append((place, NO_EXCESS))
        elif new != entry:
            changed.append((place, new))
    return gone + changed + list(zip(free, left.values(), strict=False))


def rings(data: bytes, last: int, count: int) -> tuple[Bins, Bins]:
    """What a share did before LAST, in ns of CLOCK_MONOTONIC, from the first RINGS_END bytes of its ledger.

    In each of the COUNT bins of 2 ** COUNTED_SHIFT ns that were over by then, oldest first, the part of a
    card's time that its work of known cost took; and in each of the shorter bins of 2 ** PRESENCE_SHIFT ns in
    the same time, how many of its processes were measured on the card, on average. No bins: nothing in any.
    """
    if len(data) < RINGS_END:
        raise ValueError("not a ledger of this version")
    first, finer = (last >> COUNTED_SHIFT) - count, 1 << (COUNTED_SHIFT - PRESENCE_SHIFT)
    counted = _amounts(data[COUNTED_AT:PRESENCE_AT], first, count, _COUNTED_UNITS)
    presence = _amounts(data[PRESENCE_AT:RINGS_END], first * finer, count * finer, _PRESENCE_UNITS)
    return counted, presence


def _amounts(ring: bytes, first: int, count: int, units: int) -> Bins:
    """What the words of a RING say of COUNT bins from the FIRST on, no more than it has; UNITS fill a bin."""
    if ring == bytes(len(ring)):
        return ()
    begin = 8 * first % len(ring)
    in_order = (ring + ring)[begin : begin + 8 * count]
    # All words at once, as one number; from one of another round of the ring, some of the tag is left.
    untagged = int.from_bytes(in_order, "little") ^ _tags(first, count)
    words = struct.unpack(f"<{count}Q", untagged.to_bytes(8 * count, "little"))
    beyond = 1 << _TAG_SHIFT
    amounts = tuple([each / units if each < beyond else 0.0 for each in words])
    return amounts if any(amounts) else ()


@lru_cache(maxsize=4)
def _tags(first: int, count: int) -> int:
    """The tags of the words of COUNT bins from the FIRST on, as one number: the same for all shares."""
    tags = (number << _TAG_SHIFT for number in range(first, first + count))
    return int.from_bytes(struct.pack(f"<{count}q", *tags), "little")


def slots(data: bytes) -> list[Slot]:
    """The slots that were ever taken; a dead process's slot tells its last until somebody takes it.

    Raises ValueError when DATA is no ledger of this version.
    """
    if len(data) != SIZE:
        raise ValueError("not a ledger of this version")
    return taken(data[HEADER : HEADER + header(data).high * SLOT_BYTES])


def taken(data: bytes) -> list[Slot]:
    """Read slots from their bytes alone, which begin at HEADER in the file."""
    return [_slot(words) for words in _SLOT.iter_unpack(data[: len(data) // SLOT_BYTES * SLOT_BYTES])]


def _slot(words: tuple[int, ...]) -> Slot:
    """The first two words count whole units; flags of the limiter are in their low bits."""
    used, pending, *others = words
    return Slot(used // UNIT * UNIT, pending // UNIT * UNIT, *others)


def used(data: bytes) -> int:
    """Bytes that all slots hold, with what the agent booked for them. ValueError as for `slots`."""
    found = slots(data)
    table = excesses(data[EXCESS_AT : EXCESS_AT + excess_count(data) * EXCESS_BYTES])
    beyond = sum(excess_of(number, slot, table) for number, slot in enumerate(found))
    return sum(slot.used for slot in found) + beyond


def excess_of(number: int, slot: Slot, table: Iterable[Excess]) -> int:
    """Bytes that count for the process in the slot of that NUMBER."""
    return sum(each.held for each in table if each.pid and (each.slot, each.pid) == (number, slot.pid))


def is_taken(descriptor: int, first: int = 0, count: int = SLOTS) -> bool:
    """Whether a living process has one of COUNT slots from FIRST on of an open ledger: it holds the slot's
    lock, which the kernel drops when it ends. Asking takes no lock."""
    start, length = HEADER + first * SLOT_BYTES, count * SLOT_BYTES
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    kind: int = _FLOCK.unpack(fcntl.fcntl(descriptor, _F_OFD_GETLK, asked))[0]
    return kind != fcntl.F_UNLCK
