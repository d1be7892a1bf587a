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


FOREIGN = b"\1" + bytes(ledger.SIZE - 1)


@pytest.mark.parametrize("data", [b"", bytes(ledger.SIZE - 1), b"\xff" * ledger.SIZE, FOREIGN])
def test_a_file_that_is_no_ledger_is_not_believed(data):
    with pytest.raises(ValueError, match="not a ledger"):
        ledger.slots(data)


def test_rings_that_are_cut_off_are_not_believed():
    with pytest.raises(ValueError, match="not a ledger"):
        ledger.rings(bytes(ledger.RINGS_END - 1), 0, 4)


def write_bin(data: bytearray, ring_at: int, number: int, units: int) -> None:
    """A word of the ring that begins at RING_AT."""
    count = ledger.COUNTED_BINS if ring_at == ledger.COUNTED_AT else ledger.PRESENCE_BINS
    at = ring_at + 8 * (number % count)
    data[at : at + 8] = (number << 20 | units).to_bytes(8, "little")


def test_the_rings_are_read_for_the_time_that_was_asked_for_and_no_earlier_one():
    data = bytearray(ledger.RINGS_END)
    for number, units in ((500, 1 << 16), (501, 1 << 17), (502 - ledger.COUNTED_BINS, 1 << 17)):
        write_bin(data, ledger.COUNTED_AT, number, units)
    for number, units in ((1000, 1024), (1003, 512), (1004 - ledger.PRESENCE_BINS, 1024)):
        write_bin(data, ledger.PRESENCE_AT, number, units)
    counted, presence = ledger.rings(bytes(data), 503 << ledger.COUNTED_SHIFT, 4)
    assert counted == (0.0, 0.5, 1.0, 0.0)
    assert presence == (0.0, 0.0, 1.0, 0.0, 0.0, 0.5, 0.0, 0.0)
    assert ledger.rings(bytes(data), 600 << ledger.COUNTED_SHIFT, 4) == ((), ())


def table(*entries: ledger.Excess) -> list[ledger.Excess]:
    return [*entries, *[ledger.NO_EXCESS] * (ledger.EXCESSES - len(entries))]


def written(before: list[ledger.Excess], *wanted: ledger.Excess) -> list[ledger.Excess]:
    """The table after all changes; between two of them no process is counted twice that was not before."""

    def twice(entries: list[ledger.Excess]) -> int:
        processes = [(each.slot, each.pid) for each in entries if each.pid]
        return len(processes) - len(set(processes))

    after = list(before)
    for place, entry in ledger.changes(before, wanted):
        after[place] = entry
        assert twice(after) <= twice(before)
    return after


A, B, C = (ledger.Excess(slot, 7, ledger.UNIT) for slot in range(3))
LARGER = ledger.Excess(0, 7, 3 * ledger.UNIT)


def test_what_the_agent_booked_counts_for_the_process_in_the_slot_and_for_no_other():
    data = bytearray(example(used=3 << 30, pid=7))
    entries = (ledger.Excess(0, 7, 1 << 20), ledger.Excess(0, 8, 1 << 30), ledger.Excess(1, 7, 1 << 30))
    data[ledger.EXCESS_AT : ledger.EXCESS_AT + 3 * ledger.EXCESS_BYTES] = b"".join(
        each.pack() for each in entries
    )
    assert ledger.used(bytes(data)) == 3 << 30
    for count in (3, 2**32 - 1):
        data[ledger.EXCESS_COUNT_AT : ledger.EXCESS_COUNT_AT + 4] = count.to_bytes(4, "little")
        assert ledger.used(bytes(data)) == (3 << 30) + (1 << 20)


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        ([], [], []),
        ([], [A, B], [A, B]),
        ([A, B], [B], [ledger.NO_EXCESS, B]),
        ([A, B], [B, C], [C, B]),
        ([A, B], [LARGER, B], [LARGER, B]),
        ([A, A, LARGER], [A], [A]),
        ([A, B], [], []),
    ],
)
def test_entries_of_the_table_stay_where_they_are(before, wanted, after):
    assert written(table(*before), *wanted) == table(*after)


def test_where_there_are_more_than_places_the_largest_are_kept():
    many = [ledger.Excess(slot, 7, (1 + slot % 7) * ledger.UNIT) for slot in range(100)]
    kept = sorted(each.held for each in written(table(), *many))
    assert kept == sorted(each.held for each in many)[-ledger.EXCESSES :]
