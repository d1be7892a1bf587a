"""Physical memory: handles, mappings, descriptors."""

import ctypes
import os
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p

from tests.unit.native.sequences.driver import MIB, Location, call, chance, made, on_a_card, pages, said, some

DESCRIPTOR = 1
ZERO = c_uint64(0)


class Properties(ctypes.Structure):
    _fields_ = (
        *(("kind", c_int), ("handles", c_int), ("at", Location)),
        *(("windows", c_void_p), ("flags", c_uint64)),
    )


handles, mappings, descriptors = [], [], []
"""Each with its bytes."""


def create(bytes_):
    return made("cuMemCreate", c_size_t(bytes_), byref(Properties(1, DESCRIPTOR, on_a_card())), ZERO)


def physical():
    bytes_ = pages()
    new = create(bytes_)
    if new:
        handles.append((new, bytes_))


def release_handle():
    each = some(handles)
    if each and call("cuMemRelease", c_uint64(each[0])):
        handles.remove(each)


def map_it():
    each = some(handles)
    if not each:
        return
    bytes_ = c_size_t(each[1])
    at = made("cuMemAddressReserve", bytes_, ZERO, ZERO, ZERO)
    if call("cuMemMap", c_uint64(at), bytes_, ZERO, c_uint64(each[0]), ZERO):
        mappings.append((at, each[1]))


def unmap():
    each = some(mappings)
    if each and call("cuMemUnmap", c_uint64(each[0]), c_size_t(each[1])):
        call("cuMemAddressFree", c_uint64(each[0]), c_size_t(each[1]))
        mappings.remove(each)


def retain_handle():
    each = some(mappings)
    if not each:
        return
    new = made("cuMemRetainAllocationHandle", c_void_p(each[0] + chance.randrange(each[1])))
    if new:
        handles.append((new, each[1]))


def export():
    each, there = some(handles), c_int()
    if not each or len(descriptors) > 8:
        return
    if call("cuMemExportToShareableHandle", byref(there), c_uint64(each[0]), DESCRIPTOR, ZERO):
        descriptors.append((there.value, each[1]))
        if chance.randint(0, 3) == 0:
            descriptors.append((os.dup(there.value), each[1]))


def import_it():
    each = some(descriptors)
    if not each:
        return
    new = made("cuMemImportFromShareableHandle", c_void_p(each[0]), DESCRIPTOR)
    if new:
        handles.append((new, each[1]))


def close():
    each = some(descriptors)
    if each:
        os.close(each[0])
        descriptors.remove(each)
        said.append("close")


def end():
    for kind, end_one in ((descriptors, close), (mappings, unmap), (handles, release_handle)):
        while kind:
            end_one()


def look_once_more():
    """At the next of these calls, the limiter sees which descriptors are closed."""
    new = create(2 * MIB)
    if new:
        call("cuMemRelease", c_uint64(new))


OPENS = [physical, map_it, retain_handle, export, import_it]
CLOSES = [release_handle, unmap, close]
SELDOM = []
