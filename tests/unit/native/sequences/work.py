"""Kernels, behind which memory is freed later, and graphs that allocate."""

import ctypes
from ctypes import byref, c_size_t, c_uint64, c_void_p

from tests.unit.native.sequences import contexts
from tests.unit.native.sequences.driver import (
    MIB,
    PoolProperties,
    call,
    cards,
    chance,
    made,
    on_a_card,
    size,
    some,
)


class Node(ctypes.Structure):
    _fields_ = (
        *(("pool", PoolProperties), ("access", c_void_p), ("accesses", c_size_t)),
        *(("bytes", c_size_t), ("pointer", c_uint64)),
    )


IMAGE = b"\177ELF".ljust(40, b"\0") + (2 * MIB).to_bytes(24, "little")
"""Its sections are told to begin at 2 MiB, which is how large it is."""

graphs = []
"""Graph, executable, and the addresses that it allocates and does not free."""
living = set()
"""Such addresses, once launched; they outlive their graph."""


def work():
    """Some milliseconds."""
    if not contexts.current:
        return
    modules = contexts.ends_with["cuModuleUnload"]
    loaded = contexts.here(modules)[:1]
    if not loaded:
        module = made("cuModuleLoadData", IMAGE)
        if not module:
            return
        function = made("cuModuleGetFunction", c_void_p(module), b"busy_us_5000")
        loaded = [(module, contexts.lives_in(), function)]
        modules += loaded
    call("cuLaunchKernel", c_void_p(loaded[0][2]), 1, 1, 1, 1, 1, 1, 0, None, None, None)


def graph():
    if len(graphs) > 3 or not contexts.current:
        return
    new = c_void_p(made("cuGraphCreate", 0))
    left = set()
    for _ in range(chance.randint(1, 4)):
        wanted = Node(pool=PoolProperties(1, 0, on_a_card()), bytes=size())
        made("cuGraphAddMemAllocNode", new, None, c_size_t(0), byref(wanted))
        left.add(wanted.pointer)
        if chance.randint(0, 1):  # the next may have its place
            left.discard(wanted.pointer)
            made("cuGraphAddMemFreeNode", new, None, c_size_t(0), c_uint64(wanted.pointer))
    executable = made("cuGraphInstantiateWithFlags", new, c_uint64(0))
    if executable:
        graphs.append((new, c_void_p(executable), left))
    else:
        call("cuGraphDestroy", new)


def launch():
    each = some(graphs)
    if each and contexts.current and call("cuGraphLaunch", each[1], None):
        living.update(each[2])


def free_of_graph():
    if living and contexts.current:
        how = chance.choice([["cuMemFree_v2"], ["cuMemFreeAsync", None]])
        call(how[0], c_uint64(living.pop()), *how[1:])


def destroy_graph():
    each = some(graphs)
    if each and call("cuGraphExecDestroy", each[1]):
        call("cuGraphDestroy", each[0])
        graphs.remove(each)


def trim_graphs():
    for each in cards:
        call("cuDeviceGraphMemTrim", each)


def end():
    while graphs:
        destroy_graph()
    while living:
        call("cuMemFree_v2", c_uint64(living.pop()))
    trim_graphs()


OPENS = [work, work, graph, launch]
CLOSES = [destroy_graph, free_of_graph, trim_graphs]
SELDOM = []
