"""The layout of a share's ledger file, as in native/include/ledger.h, and what it says now.

A file is read while processes write it: each number is whole, but they need not be of one moment.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from operator import sub

MAGIC = 0x48414D49_00000001
HEADER = 4096
SLOTS = 1024
SLOT_BYTES = 64
UNIT = 512
"""`used` and `pending` are multiples of it."""
SIZE = HEADER + SLOTS * SLOT_BYTES
"""Bytes of the whole file; as many zero bytes are an empty ledger."""

_HEADER = struct.Struct("<QQIIQQQQQ")
_HINT = struct.Struct("<QII")
_SLOT = struct.Struct("<QQIIQQQQQ")
HINT_AT = _HEADER.size
"""Offset of the hint, the only part that the node's agent writes."""
PRESENCE_AT = 1024
"""Offset of the ring of bins that tell when the share was on the card."""
PRESENCE_BINS = 256
PRESENCE_SHIFT = 20
"""A bin is so many nanoseconds, as a power of two."""
PRESENCE_BYTES = 8 * PRESENCE_BINS
_PRESENCE = struct.Struct(f"<{PRESENCE_BINS}Q")
_PRESENCE_UNITS = 1024
ACTIVITY_AT = 48
"""Offset of eight bytes that differ whenever a compute counter of any slot has changed."""


@dataclass(frozen=True)
class Header:
    """What all processes of a share have in common. Bytes and nanoseconds; times are CLOCK_MONOTONIC."""

    magic: int
    context_bytes: int
    high: int
    paid_rate: int
    paid_until: int
    compute_ns: int
    throttled_ns: int
    activity: int
    counted_ns: int


@dataclass(frozen=True)
class Hint:
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
    counted_ns: int
    measured_ns: int


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


def presence(ring: bytes, bins: range) -> list[float]:
    """How many processes of the share were measured on the card in each of BINS, on average of the bin.

    RING: the bytes at PRESENCE_AT. BINS: numbers in a row, CLOCK_MONOTONIC >> PRESENCE_SHIFT, of
    the newest PRESENCE_BINS.
    """
    begin = bins.start % PRESENCE_BINS
    in_order = (2 * _PRESENCE.unpack(ring))[begin : begin + len(bins)]
    empty = range(bins.start << PRESENCE_SHIFT, bins.stop << PRESENCE_SHIFT, 1 << PRESENCE_SHIFT)
    counts = map(sub, in_order, empty)  # a word of another round of the ring is far below zero, or above
    return [count / _PRESENCE_UNITS if 0 <= count < 1 << PRESENCE_SHIFT else 0.0 for count in counts]


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
    """Bytes that all slots hold. ValueError as for `slots`."""
    return sum(slot.used for slot in slots(data))
