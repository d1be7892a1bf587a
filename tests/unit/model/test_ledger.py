import re

import pytest

from hami_dra.model import ledger
from tests.unit.native.simulated import ROOT

HEADER_FILE = ROOT / "native" / "include" / "ledger.h"


def example(**numbers: int) -> bytes:
    """A ledger with two slots ever taken; NUMBERS of the first slot by name, in the header's order."""
    names = re.findall(r"_Atomic uint(64|32)_t (\w+);", HEADER_FILE.read_text().split("ledger_slot;")[0])
    slot = b"".join(numbers.get(name, 0).to_bytes(int(bits) // 8, "little") for bits, name in names)
    data = bytearray(ledger.SIZE)
    data[0:8] = ledger.MAGIC.to_bytes(8, "little")
    data[16:20] = (2).to_bytes(4, "little")
    data[ledger.HEADER : ledger.HEADER + len(slot)] = slot
    return bytes(data)


def test_a_slot_is_read_as_the_limiter_writes_it():
    numbers = {name: (at + 1) * ledger.UNIT for at, name in enumerate(ledger.Slot.__dataclass_fields__)}
    first, second = ledger.slots(example(**numbers))
    assert first == ledger.Slot(**numbers)
    assert second == ledger.Slot(*(0 for _ in numbers))


def test_what_the_slots_hold_is_what_the_share_uses():
    assert ledger.used(example(used=3 << 30)) == 3 << 30


def test_the_limiters_flags_in_the_low_bits_are_not_bytes():
    assert ledger.used(example(used=(3 << 30) + 1, pending=(1 << 20) + 1)) == 3 << 30


def test_a_hint_is_read_back_as_it_was_written():
    data = bytearray(ledger.SIZE)
    said = ledger.Hint(at=7 << 40, rate=300, part=500)
    data[ledger.HINT_AT : ledger.HINT_AT + 16] = said.pack()
    assert ledger.hint(bytes(data)) == said


@pytest.mark.parametrize("data", [b"", bytes(ledger.SIZE - 1), b"\xff" * ledger.SIZE])
def test_a_file_that_is_no_ledger_is_not_believed(data):
    with pytest.raises(ValueError, match="not a ledger"):
        ledger.slots(data)


def test_presence_is_read_from_the_bins_that_were_asked_for_and_no_older_ones():
    ring = bytearray(ledger.PRESENCE_BYTES)
    for number, units in ((1000, 1024), (1001, 512), (1002 - ledger.PRESENCE_BINS, 1024)):
        word = number << ledger.PRESENCE_SHIFT | units
        at = 8 * (number % ledger.PRESENCE_BINS)
        ring[at : at + 8] = word.to_bytes(8, "little")
    assert ledger.presence(bytes(ring), range(999, 1003)) == [0.0, 1.0, 0.5, 0.0]
