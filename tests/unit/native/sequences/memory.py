"""Plain memory and arrays, and filling up to refusal."""

import ctypes
from ctypes import byref, c_int, c_size_t, c_uint64

from tests.unit.native.sequences import contexts
from tests.unit.native.sequences.driver import MIB, call, chance, made, said, size


class Shape(ctypes.Structure):
    _fields_ = (("width", c_size_t), ("height", c_size_t), ("format", c_int), ("channels", ctypes.c_uint))


def allocate():
    way = chance.randint(0, 3)
    if way < 2:
        at = made("cuMemAlloc_v2", c_size_t(size()))
    elif way == 2:
        at = made("cuMemAllocManaged", c_size_t(size()), 1)
    else:
        width, height = c_size_t(chance.randint(1, 5000)), c_size_t(chance.randint(1, 2000))
        at = made("cuMemAllocPitch_v2", byref(c_size_t()), width, height, 4)
    if at:
        contexts.ends_with["cuMemFree_v2"].append((at, contexts.lives_in()))


def free():
    contexts.free("cuMemFree_v2")


def array():
    shape = Shape(chance.randint(1, 4000), chance.randint(1, 2000), 0x20, chance.choice([1, 2, 4]))
    new = made("cuArrayCreate_v2", byref(shape))
    if new:
        contexts.ends_with["cuArrayDestroy"].append((new, contexts.lives_in()))


def free_array():
    contexts.free("cuArrayDestroy")


def fill():
    step, got = 256 * MIB, []
    while step > MIB:
        at = made("cuMemAlloc_v2", c_size_t(step))
        if at:
            got.append(at)
        else:
            step //= 2
    for each in got:
        call("cuMemFree_v2", c_uint64(each))
    said[:] = [f"filled with {len(got)}"]


OPENS = [allocate, allocate, array]
CLOSES = [free, free, free_array]
SELDOM = [fill]
