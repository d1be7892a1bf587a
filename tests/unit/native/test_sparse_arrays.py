"""Sparse arrays hold what is mapped into their parts, also without its handle. On the simulated driver."""

import sys

import pytest

from tests.unit.native.in_share import CALLS, CONTEXT_MIB, booked, each_time_told

pytestmark = pytest.mark.native

CONTEXT = CONTEXT_MIB << 20
MIB = 1 << 20

PROGRAM = f"""
{CALLS}
SPARSE, FLOAT, MAP, UNMAP, ARRAY, MIPMAP, LEVEL, MIPTAIL = 0x40, 0x20, 1, 2, 0, 1, 0, 1

class Shape(ctypes.Structure):
    _fields_ = [*((name, c_size_t) for name in ("width", "height", "depth")),
                *((name, c_uint) for name in ("format", "channels", "flags"))]

class Part(ctypes.Structure):
    _fields_ = [("kind", c_int), ("array", c_void_p), ("what", c_int), ("where", c_uint64 * 4),
                ("do", c_int), ("handles", c_int), ("memory", c_uint64), ("offset", c_uint64),
                ("cards", c_uint), ("flags", c_uint), ("reserved", c_uint * 2)]

class Memory(ctypes.Structure):
    _fields_ = [*((name, c_int) for name in ("type", "handles", "place", "card")), ("rest", c_uint64 * 2)]

def memory(mib):
    return made("cuMemCreate", c_size_t(mib << 20), byref(Memory(1, 0, 1, 0)), c_uint64(0))

def sparse(name="cuArray3DCreate_v2", *more):
    return made(name, byref(Shape(1024, 1024, 0, FLOAT, 4, SPARSE)), *more)

def ask(do, array, at, held=None, kind=ARRAY, what=LEVEL):
    # Level, layer, offsets and extents of 32 bits each; or layer, offset and size.
    where = (0, at, 0, 1 << 32 | 1) if what == LEVEL else (0, at << 20, 1 << 20, 0)
    part = Part(kind, array.value, what, (c_uint64 * 4)(*where), do, 0, held.value if held else 0, 0, 1, 0)
    return cuda.cuMemMapArrayAsync(byref(part), 1, None)

def puts(array, at, mib, **where):
    held = memory(mib)
    assert ask(MAP, array, at, held, **where) == 0
    call("cuMemRelease", held)

call("cuInit", 0)
call("cuCtxSetCurrent", made("cuDevicePrimaryCtxRetain", 0))
"""


@pytest.fixture
def held(share, limited, by_the_driver):
    """MiB beyond the context that ledger and driver say, each time that the program tells."""

    def look():
        assert booked(share) == by_the_driver()[1]
        return (booked(share) - CONTEXT) // MIB

    return lambda program: each_time_told(limited(share, sys.executable, "-c", PROGRAM + program), look)


def test_an_array_holds_what_is_mapped_into_it_until_it_ends(held):
    program = """
array = sparse()
tell()
puts(array, 0, 64)
puts(array, 1, 128)
tell()
call("cuArrayDestroy", array)
tell()
"""
    assert held(program) == [0, 192, 0]


def test_a_part_lets_go_when_it_is_unmapped_or_mapped_anew(held):
    program = """
array = sparse()
puts(array, 0, 64)
puts(array, 1, 128)
puts(array, 0, 32)
tell()
assert ask(UNMAP, array, 1) == 0
tell()
assert ask(UNMAP, array, 0) == 0
tell()
"""
    assert held(program) == [160, 32, 0]


def test_the_tail_of_a_mipmapped_array_holds_memory_too(held):
    program = """
array = sparse("cuMipmappedArrayCreate", 4)
puts(array, 0, 64, kind=MIPMAP)
puts(array, 0, 32, kind=MIPMAP, what=MIPTAIL)
tell()
assert ask(UNMAP, array, 0, kind=MIPMAP, what=MIPTAIL) == 0
tell()
call("cuMipmappedArrayDestroy", array)
tell()
"""
    assert held(program) == [96, 64, 0]


def test_what_the_driver_refuses_changes_nothing(held):
    program = """
array = sparse()
puts(array, 0, 64)
assert ask(MAP, array, 0) != 0  # no memory
tell()
call("cuArrayDestroy", array)
tell()
"""
    assert held(program) == [64, 0]


def test_the_handle_alone_and_the_array_alone_keep_it_counted(held):
    program = """
array, kept = sparse(), memory(64)
assert ask(MAP, array, 0, kept) == 0
tell()
assert ask(UNMAP, array, 0) == 0
tell()
call("cuMemRelease", kept)
tell()
"""
    assert held(program) == [64, 64, 0]


def test_an_array_ends_with_its_context_and_lets_go_of_what_it_holds(held):
    program = """
own = made("cuCtxCreate_v2", 0, 0)
array, other = sparse(), sparse("cuMipmappedArrayCreate", 4)
puts(array, 0, 64)
puts(other, 0, 32, kind=MIPMAP)
tell()
call("cuCtxDestroy_v2", own)
tell()
"""
    assert held(program) == [96 + CONTEXT_MIB, 0]


def test_an_array_of_a_green_context_ends_with_the_primary(held):
    program = """
green = made("cuGreenCtxCreate", None, 0, 1)
call("cuCtxSetCurrent", made("cuCtxFromGreenCtx", green))
puts(sparse(), 0, 64)
call("cuCtxSetCurrent", None)
call("cuGreenCtxDestroy", green)
tell()
call("cuDevicePrimaryCtxRelease_v2", 0)
tell()
"""
    assert held(program) == [64, -CONTEXT_MIB]
