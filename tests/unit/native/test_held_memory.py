"""Memory that no handle and no mapping holds, but a descriptor, a second handle or a multicast object does.

It is counted for who made it until the last of them is gone, wherever that is. All on the simulated driver.
"""

import pytest

from tests.unit.native.between import Partner
from tests.unit.native.in_share import CONTEXT_MIB, GIB, booked
from tests.unit.native.simulated import A10, eventually

pytestmark = pytest.mark.native

CONTEXT = CONTEXT_MIB << 20
LIMIT = 10 * GIB


@pytest.fixture
def start(tmp_path, share, limited):
    """Start a process of the share, on a card that can multicast."""
    card = tmp_path / "gpus.yaml"
    card.write_text(A10.read_text().replace('computeCapability: "8.6"', 'computeCapability: "9.0"'))
    return lambda kind: Partner(limited, share, kind, HAMI_SIM_FILE=str(card))


@pytest.fixture
def is_held(share, by_the_driver):
    """Bytes beyond contexts that the ledger and the driver agree on."""

    def ask(processes):
        assert booked(share) == by_the_driver()[1]
        return booked(share) - processes * CONTEXT

    return ask


@pytest.fixture
def is_given_back(share, by_the_driver):
    """Whether ledger and driver come to this many bytes beyond contexts, without a call of any process."""

    def ask(held, processes):
        wanted = (held + processes * CONTEXT,) * 2
        return eventually(lambda: (booked(share), by_the_driver()[1]), lambda sums: sums == wanted) == wanted

    return ask


def test_memory_that_only_a_descriptor_holds_is_counted_until_that_is_closed(start, is_held, is_given_back):
    maker = start("mapping")
    maker.makes(3 * GIB)
    maker.does("unmap", "own")
    assert is_held(1) == 3 * GIB
    assert maker.can_have() == LIMIT - 3 * GIB - CONTEXT
    maker.does("close", "own")
    assert is_given_back(0, 1)
    assert maker.can_have() == LIMIT - CONTEXT


def test_a_descriptor_in_another_process_holds_it_too_and_its_end_needs_no_call_of_the_maker(
    start, is_held, is_given_back
):
    maker, other = start("mapping"), start("mapping")
    told = maker.makes(3 * GIB)
    other.does("receive", told)
    maker.frees("own")
    assert is_held(2) == 3 * GIB
    assert maker.can_have() == other.can_have() == LIMIT - 3 * GIB - 2 * CONTEXT
    other.does("drop")
    assert is_given_back(0, 2)


def test_a_descriptor_of_a_killed_process_holds_nothing(start, is_held):
    maker, other = start("mapping"), start("mapping")
    other.does("receive", maker.makes(3 * GIB))
    maker.frees("own")
    assert is_held(2) == 3 * GIB
    other.is_killed()
    assert eventually(maker.can_have, lambda bytes: bytes == LIMIT - CONTEXT) == LIMIT - CONTEXT
    assert is_held(1) == 0


def test_memory_that_was_imported_where_it_was_made_is_counted_once_and_until_both_are_gone(
    start, is_held, is_given_back
):
    maker = start("mapping")
    assert maker.takes(maker.makes(3 * GIB)) == "has it"
    assert is_held(1) == 3 * GIB
    maker.frees("own")
    assert is_held(1) == 3 * GIB
    maker.frees("theirs")
    assert is_given_back(0, 1)


def test_a_multicast_object_holds_what_is_bound_to_it(start, is_held, is_given_back):
    maker = start("multicast")
    maker.makes(3 * GIB)
    assert is_held(1) == 3 * GIB
    assert maker.can_have() == LIMIT - 3 * GIB - CONTEXT
    maker.does("close", "own")
    maker.does("unbind", "own")
    assert is_held(1) == 0
    maker.frees("own")
    maker.makes(2 * GIB)
    maker.frees("own")
    assert is_given_back(0, 1)


def two_that_bind(start, is_held):
    maker, taker = start("multicast"), start("multicast")
    assert taker.takes(maker.makes(3 * GIB)) == "has it"
    assert is_held(2) == 6 * GIB
    maker.frees("own")
    assert is_held(2) == 6 * GIB
    assert maker.can_have() == taker.can_have() == LIMIT - 6 * GIB - 2 * CONTEXT
    return maker, taker


def test_a_multicast_object_of_several_processes_holds_what_each_bound_until_all_have_let_go(
    start, is_held, is_given_back
):
    _, taker = two_that_bind(start, is_held)
    taker.frees("theirs")
    assert is_given_back(0, 2)


def test_a_multicast_object_ends_with_the_last_process_that_held_it(start, is_held):
    maker, taker = two_that_bind(start, is_held)
    taker.is_killed()
    assert eventually(maker.can_have, lambda bytes: bytes == LIMIT - CONTEXT) == LIMIT - CONTEXT
    assert is_held(1) == 0
