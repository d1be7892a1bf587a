"""Pools of CUDA 13, which may hold managed memory or the host's: what of them is charged, and to which card.

Managed memory moves to a card that works on it, so it is charged wherever it prefers to be, as
cuMemAllocManaged is. All on the simulated driver, which does not move it.
"""

import sys

import pytest

from tests.unit.native.in_share import CONTEXT_MIB, GIB, add_share, ends, two_cards

pytestmark = pytest.mark.native

PINNED, MANAGED = 1, 2
NOWHERE, ON_CARD, ON_HOST, ON_NUMA_NODE = range(4)
"""The preferred place of a pool: none, card 0, the host, memory node 0 of the host."""

PROGRAM = """
import ctypes, sys
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p
from tests.gpu.cuda import Card, CudaError

class Location(ctypes.Structure):
    _fields_ = [("type", c_int), ("id", c_int)]

class Properties(ctypes.Structure):
    _fields_ = [("kind", c_int), ("handles", c_int), ("at", Location)]
    _fields_ += [("windows", c_void_p), ("most", c_size_t), ("rest", ctypes.c_ubyte * 56)]

def pool_of(how, kind, place):
    pool, at = c_void_p(), Location(place, 0)
    if how == "created":
        card.call("cuMemPoolCreate", byref(pool), byref(Properties(kind, 0, at)))
    elif how == "default":
        card.call("cuMemGetDefaultMemPool", byref(pool), byref(at), kind)
    else:
        created = c_void_p()
        card.call("cuMemPoolCreate", byref(created), byref(Properties(kind, 0, at)))
        card.call("cuMemSetMemPool", byref(at), kind, created)
        card.call("cuMemGetMemPool", byref(pool), byref(at), kind)
        assert pool.value == created.value
    return pool

def take(size, pool):
    pointer = c_uint64()
    card.call("cuMemAllocFromPoolAsync", byref(pointer), c_size_t(size), pool, None)
    return pointer

def taken(before, after):
    return (before[0] - after[0]) >> 20

card = Card()
"""

TAKES_AND_FREES = (
    PROGRAM
    + """
pool = pool_of(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
before = card.free_and_total()
pointer = take(1 << 30, pool)
print(taken(before, card.free_and_total()))
try:
    take(before[0] - (1 << 30) + 1, pool)
    print("granted")
except CudaError as refused:
    print("refused", refused.code)
card.call("cuMemFreeAsync", pointer, None)
card.synchronize()
print(taken(before, card.free_and_total()))
"""
)


@pytest.fixture
def says(limited):
    """What a program says that runs in shares."""

    def run(shares, program, *arguments, **environment):
        code, out, err = ends(
            limited(shares, sys.executable, "-c", program, *arguments, PYTHONPATH=".", **environment)
        )
        assert code == 0, err
        return out.split("\n")[:-1]

    return run


@pytest.mark.parametrize("how", ["created", "default", "made current"])
@pytest.mark.parametrize("place", [NOWHERE, ON_CARD, ON_HOST, ON_NUMA_NODE])
def test_managed_memory_of_a_pool_is_charged_wherever_it_prefers_to_be(share, says, how, place):
    assert says(share, TAKES_AND_FREES, how, MANAGED, place) == ["1024", "refused 2", "0"]


@pytest.mark.parametrize("how", ["created", "default", "made current"])
@pytest.mark.parametrize("place", [ON_HOST, ON_NUMA_NODE])
def test_other_memory_of_the_host_is_not(share, says, how, place):
    assert says(share, TAKES_AND_FREES, how, PINNED, place) == ["0", "granted", "0"]


@pytest.mark.parametrize("how", ["created", "default", "made current"])
def test_memory_of_a_card_is_charged_by_whatever_name_its_pool_was_found(share, says, how):
    assert says(share, TAKES_AND_FREES, how, PINNED, ON_CARD) == ["1024", "refused 2", "0"]


def test_what_does_not_fit_a_share_that_oversubscribes_is_served_from_the_host(tmp_path, says):
    shares = add_share(tmp_path / "shares", "one", 10 * GIB, more="oversubscribe=1\n")
    assert says(shares, TAKES_AND_FREES, "created", MANAGED, NOWHERE) == ["1024", "granted", "0"]


ON_THE_OTHER_CARD = (
    PROGRAM
    + """
before = card.free_and_total()
pool = pool_of("created", 2, 0)
second = Card(1)
there = second.free_and_total()
take(1 << 30, pool)
print(taken(there, second.free_and_total()))
context = c_void_p()
card.call("cuDevicePrimaryCtxRetain", byref(context), 0)
card.call("cuCtxSetCurrent", context)
print(taken(before, card.free_and_total()))
"""
)


def test_managed_memory_without_a_place_is_charged_to_the_card_that_first_asks_for_it(tmp_path, says):
    cards, other = two_cards(tmp_path)
    shares = add_share(tmp_path / "shares", "one", 10 * GIB)
    add_share(shares, "two", 2 * GIB, uuid=other)
    assert says(shares, ON_THE_OTHER_CARD, HAMI_SIM_FILE=str(cards)) == ["1024", "0"]


def test_a_pool_of_another_process_gives_nothing_and_costs_nothing(share, says):
    """Memory is not allocated from a pool that was imported, and what its maker has is not charged here."""
    (before, code, after) = says(share, IMPORTS)
    assert (before, code) == (after, "refused 1")
    assert int(before) == 10240 - CONTEXT_MIB - 1024


IMPORTS = (
    PROGRAM
    + """
made, imported, descriptor = c_void_p(), c_void_p(), c_int()
card.call("cuMemPoolCreate", byref(made), byref(Properties(1, 1, Location(1, 0))))
take(1 << 30, made)
card.call("cuMemPoolExportToShareableHandle", byref(descriptor), made, 1, c_uint64(0))
card.call("cuMemPoolImportFromShareableHandle", byref(imported), c_void_p(descriptor.value), 1, c_uint64(0))
print(card.free_and_total()[0] >> 20)
try:
    take(1 << 30, imported)
except CudaError as refused:
    print("refused", refused.code)
card.call("cuMemPoolTrimTo", imported, c_size_t(0))
print(card.free_and_total()[0] >> 20)
"""
)
