"""What the processes of a share hold and did: read from its ledger with pread, past no lock of a workload.

A slot whose lock nobody holds belongs to a dead process: what it held is free, what it did was done.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from hami_dra.model import ledger

_F_OFD_GETLK = 36
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid


@dataclass(frozen=True)
class Reading:
    """A ledger at one moment. SLOTS: all that were ever taken; LIVING: those of them with a living process.

    `compute_ns` and `throttled_ns` only grow, whatever becomes of the processes.
    """

    compute_ns: int
    throttled_ns: int
    slots: tuple[ledger.Slot, ...] = ()
    living: tuple[ledger.Slot, ...] = ()


def read(path: Path) -> Reading:
    """Read the ledger at PATH. OSError: the share is gone. ValueError: not a ledger of this version.

    Its tail, of slots that nobody ever took, is not read: few shares have more than a handful of processes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = ledger.header(os.pread(descriptor, ledger.HINT_AT, 0))
        taken = os.pread(descriptor, header.high * ledger.SLOT_BYTES, ledger.HEADER)
        if len(taken) != header.high * ledger.SLOT_BYTES:
            raise ValueError(f"{path} is shorter than a ledger")
        slots = ledger.taken(taken)
        living = tuple(slot for index, slot in enumerate(slots) if slot.pid and _locked(descriptor, index))
        return Reading(header.compute_ns, header.throttled_ns, tuple(slots), living)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, index: int) -> bool:
    """Whether a process holds the slot's lock: asking takes none."""
    start = ledger.HEADER + index * ledger.SLOT_BYTES
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, ledger.SLOT_BYTES, 0)
    kind: int = _FLOCK.unpack(fcntl.fcntl(descriptor, _F_OFD_GETLK, asked))[0]
    return kind != fcntl.F_UNLCK
