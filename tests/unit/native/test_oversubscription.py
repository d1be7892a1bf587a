"""Shares that oversubscribe: what does not fit is served from the host's memory, and stays there.

On the simulated driver, where managed memory moves by prefetches alone.
"""

import sys

import pytest

from tests.unit.native.in_share import CONTEXT_MIB, GIB, add_share, ends, oracle

pytestmark = pytest.mark.native

PROGRAM = """
import ctypes, sys
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p

class Location(ctypes.Structure):
    _fields_ = [("type", c_int), ("id", c_int)]

cuda = ctypes.CDLL("libcuda.so.1")

def call(name, *arguments):
    code = getattr(cuda, name)(*arguments)
    assert code == 0, (name, code)

def take(size):
    at = c_uint64()
    call("cuMemAllocManaged", byref(at), c_size_t(size), 1)
    return at.value

def prefetch(name, pointers, size, place):
    size, card, location = c_size_t(size), place - 1, Location(2 - place, 0)
    if "Batch" in name:
        many = len(pointers)
        arrays = (c_uint64 * many)(*pointers), (c_size_t * many)(*[size] * many)
        where = byref(location), byref(c_size_t()), c_size_t(1)
        call(name, *arrays, c_size_t(many), *where, c_uint64(0), None)
    elif "_v2" in name:
        for each in pointers:
            call(name, c_uint64(each), size, location, 0, None)
    else:
        for each in pointers:
            call(name, c_uint64(each), size, card, None)

call("cuInit", 0)
context = c_void_p()
call("cuCtxCreate_v2", byref(context), 0, 0)
"""

NAMES = [
    name + suffix
    for name in (
        "cuMemPrefetchAsync",
        "cuMemPrefetchAsync_v2",
        "cuMemPrefetchBatchAsync",
        "cuMemDiscardAndPrefetchBatchAsync",
    )
    for suffix in ("", "_ptsz")
]
HOST, CARD = 0, 1


@pytest.fixture
def held(tmp_path, limited, programs):
    """The most that a program held of the card at any instant, in MiB; its share has 2 GiB."""

    def run(program, *arguments):
        shares = add_share(tmp_path / "shares", "one", 2 * GIB, more="oversubscribe=1\n")
        code, _, err = ends(limited(shares, sys.executable, "-c", PROGRAM + program, *arguments))
        assert code == 0, err
        return oracle(programs, tmp_path / "state")[0] >> 20

    return run


@pytest.mark.parametrize("name", NAMES)
def test_a_prefetch_brings_nothing_to_the_card_beyond_the_share(held, name):
    program = """
fits, beyond = take(1 << 30), take(1 << 30)
inside = beyond + (512 << 20)
prefetch(sys.argv[1], [fits, beyond, inside], 1 << 20, 1)
prefetch(sys.argv[1], [fits], 1 << 20, 0)
prefetch(sys.argv[1], [fits], 1 << 20, 1)
for each in (fits, beyond):
    call("cuMemFree_v2", c_uint64(each))
again = take(1 << 30)
prefetch(sys.argv[1], [again], 1 << 20, 1)
"""
    assert held(program, name) == 1024 + CONTEXT_MIB


def test_what_was_served_from_the_host_is_freed_by_either_call_and_the_rest_stays_there(held):
    program = """
fits, beyond, later, rest = [take(1 << 30) for _ in range(4)]
call("cuMemFree_v2", c_uint64(beyond))
call("cuMemFreeAsync", c_uint64(later), None)
prefetch("cuMemPrefetchAsync", [fits, rest], 1 << 30, 1)
"""
    assert held(program) == 1024 + CONTEXT_MIB


def test_advice_is_taken_for_what_fits_and_changes_nothing_for_the_rest(held):
    program = """
for each in (take(1 << 30), take(1 << 30)):
    for advice in range(1, 7):
        call("cuMemAdvise", c_uint64(each), c_size_t(1 << 30), advice, 0)
        call("cuMemAdvise_v2", c_uint64(each), c_size_t(1 << 30), advice, Location(1, 0))
assert cuda.cuMemAdvise(c_uint64(1 << 20), c_size_t(1), 3, 0) == 1
"""
    assert held(program) == 1024 + CONTEXT_MIB


def test_what_was_served_in_a_context_ends_with_it(held):
    """Its address may be given out again, for memory that may move."""
    program = """
take(1 << 30), take(1 << 30)
call("cuCtxDestroy_v2", context)
call("cuCtxCreate_v2", byref(context), 0, 0)
held = take(1 << 30)
call("cuMemPrefetchAsync", c_uint64(held), c_size_t(1 << 30), -1, None)
call("cuMemPrefetchAsync", c_uint64(held), c_size_t(1 << 30), 0, None)
"""
    assert held(program) == 1024 + CONTEXT_MIB
