"""The layout of a share's ledger file, as in native/include/ledger.h, and what it says now."""

from __future__ import annotations

import struct

MAGIC = 0x48414D49_00000001
HEADER = 4096
SLOTS = 1024
SLOT_BYTES = 64
SIZE = HEADER + SLOTS * SLOT_BYTES
"""Bytes of the whole file; as many zero bytes are an empty ledger."""


def used(data: bytes) -> int:
    """Bytes that all slots hold. A dead process's slot counts until somebody reaps it.

    Raises ValueError when DATA is no ledger of this version.
    """
    (magic,) = struct.unpack_from("<Q", data)
    if len(data) != SIZE or magic not in (0, MAGIC):
        raise ValueError("not a ledger of this version")
    return sum(struct.unpack_from("<Q", data, HEADER + slot * SLOT_BYTES)[0] for slot in range(SLOTS))
