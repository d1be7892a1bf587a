"""Sparse arrays, which hold what is mapped into their parts."""

import ctypes
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64

from tests.unit.native.sequences import contexts
from tests.unit.native.sequences.driver import call, chance, made, some
from tests.unit.native.sequences.physical import handles

SPARSE, FLOAT, MAP, UNMAP = 0x40, 0x20, 1, 2
ENDS = ("cuArrayDestroy", "cuMipmappedArrayDestroy")
"""By the kind of array."""


class Shape(ctypes.Structure):
    _fields_ = (
        *((name, c_size_t) for name in ("width", "height", "depth")),
        *((name, c_uint) for name in ("format", "channels", "flags")),
    )


class Part(ctypes.Structure):
    _fields_ = (
        *(("kind", c_int), ("array", c_uint64), ("what", c_int), ("where", c_uint64 * 4)),
        *(("do", c_int), ("handles", c_int), ("memory", c_uint64), ("offset", c_uint64)),
        *(("cards", c_uint), ("flags", c_uint), ("reserved", c_uint * 2)),
    )


def sparse():
    kind, shape = chance.randint(0, 1), Shape(1024, 1024, 0, FLOAT, 4, SPARSE)
    if kind:
        new = made("cuMipmappedArrayCreate", byref(shape), 4)
    else:
        new = made("cuArray3DCreate_v2", byref(shape))
    if new:
        contexts.ends_with[ENDS[kind]].append((new, contexts.lives_in(), kind))


def ask(do, memory=0):
    """For one of a few parts of an array; of mipmapped ones also in their tail."""
    # Arrays with memory of their own are among them, without a kind.
    array = some([each for name in ENDS for each in contexts.ends_with[name] if len(each) == 3])
    if not array or not contexts.current:
        return
    kind, at = array[2], chance.randint(0, 2)
    tail = kind and chance.randint(0, 1)
    # Layer, offset and size; or level, layer, offsets and extents of 32 bits each.
    where = (0, at << 20, 1 << 20, 0) if tail else (0, at, 0, 1 << 32 | 1)
    part = Part(kind, array[0], tail, (c_uint64 * 4)(*where), do, 0, memory, 0, 1)
    call("cuMemMapArrayAsync", byref(part), 1, None)


def map_part():
    each = some(handles)
    if each:
        ask(MAP, each[0])


def unmap_part():
    ask(UNMAP)


def free_sparse():
    contexts.free(chance.choice(ENDS))


OPENS = [sparse, map_part, map_part]
CLOSES = [unmap_part, free_sparse]
SELDOM = []
