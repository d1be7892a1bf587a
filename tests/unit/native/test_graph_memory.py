"""Memory of graphs whose nodes allocate."""

import sys

import pytest

from tests.unit.native.in_share import GIB, add_share, ends, two_cards

pytestmark = pytest.mark.native

BEGIN = """
import ctypes
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p
from tests.gpu.cuda import Card, CudaError

class Allocation(ctypes.Structure):
    _fields_ = [("type", c_int), ("handles", c_int), ("place", c_int), ("card", c_int)]
    _fields_ += [("rest", ctypes.c_ubyte * 72), ("access", c_void_p), ("count", c_size_t)]
    _fields_ += [("size", c_size_t), ("at", c_uint64)]

def left():
    return [each.free_and_total()[0] >> 30 for each in map(Card, range(2))]

def instantiate(*sizes):
    graph, node, executable = c_void_p(), c_void_p(), c_void_p()
    cards[0].call("cuGraphCreate", byref(graph), 0)
    for card, size in enumerate(sizes):
        wanted = Allocation(type=1, place=1, card=card, size=size << 30)
        cards[0].call("cuGraphAddMemAllocNode", byref(node), graph, None, c_size_t(0), byref(wanted))
    cards[0].call("cuGraphInstantiateWithFlags", byref(executable), graph, c_uint64(0))
    return executable

cards = [Card(0), Card(1)]
"""

PROGRAM = """
try:
    instantiate(3, 3)
except CudaError as refused:
    print(refused.code, *left())
instantiate(5, 1)
print(*left())
"""


CHILD = """
from ctypes import byref, c_size_t, c_uint64, c_void_p
from tests.gpu.cuda import Card, CudaError

card, at, child, graph, node, executable = Card(), c_uint64(), *[c_void_p() for _ in range(4)]
stream = card.stream()

def wrapped(size):
    card.call("cuStreamBeginCapture_v2", stream, 0)
    card.call("cuMemAllocAsync", byref(at), c_size_t(size << 30), stream)
    card.call("cuStreamEndCapture", stream, byref(child))
    card.call("cuGraphCreate", byref(graph), 0)
    card.call("cuGraphAddChildGraphNode", byref(node), graph, None, c_size_t(0), child)

wrapped(6)
card.call("cuGraphInstantiateWithFlags", byref(executable), graph, c_uint64(0))
card.call("cuGraphLaunch", executable, stream)
print(card.free_and_total()[0] >> 30)
wrapped(6)
try:
    card.call("cuGraphInstantiateWithFlags", byref(executable), graph, c_uint64(0))
except CudaError as refused:
    print(refused.code)
"""


def test_what_a_graph_within_a_graph_allocates_is_counted(share, limited):
    assert ends(limited(share, sys.executable, "-c", CHILD, PYTHONPATH=".")) == (0, "3\n2\n", "")


def test_a_graph_that_one_of_its_cards_refuses_takes_nothing_of_the_others(tmp_path, limited):
    cards, other = two_cards(tmp_path)
    shares = add_share(tmp_path / "shares", "one", 10 * GIB)
    add_share(shares, "two", 3 * GIB, uuid=other)
    program = limited(shares, sys.executable, "-c", BEGIN + PROGRAM, HAMI_SIM_FILE=str(cards), PYTHONPATH=".")
    assert ends(program) == (0, "2 9 2\n4 1\n", "")


CAPTURE = """
from ctypes import byref, c_size_t, c_uint64, c_void_p
from tests.gpu.cuda import Card
GIB = 1 << 30

card, at, other, graph, executable = Card(), c_uint64(), c_uint64(), c_void_p(), c_void_p()
before, stream = card.free_and_total()[0], card.stream()
card.call("cuStreamBeginCapture_v2", stream, 0)
for _ in range(100):
    card.call("cuMemAllocAsync", byref(at), c_size_t(2 * GIB), stream)
    card.call("cuMemAllocAsync", byref(other), c_size_t(GIB), stream)
    card.call("cuMemFreeAsync", at, stream)
    card.call("cuMemFreeAsync", other, stream)
card.call("cuStreamEndCapture", stream, byref(graph))
card.call("cuGraphInstantiateWithFlags", byref(executable), graph, c_uint64(0))
card.call("cuGraphLaunch", executable, stream)
card.synchronize()
print((before - card.free_and_total()[0]) // GIB)
card.call("cuGraphExecDestroy", executable)
card.call("cuDeviceGraphMemTrim", 0)
print(before - card.free_and_total()[0])
"""


def test_what_a_graph_frees_before_it_allocates_again_is_counted_once(tmp_path, limited):
    """As PyTorch captures a model with its asynchronous allocator."""
    shares = add_share(tmp_path / "shares", "one", 10 * GIB)
    assert ends(limited(shares, sys.executable, "-c", CAPTURE, PYTHONPATH=".")) == (0, "3\n0\n", "")


FULL = """
import sys
from ctypes import byref, c_size_t, c_uint64, c_void_p
from tests.gpu.cuda import Card

card, at, graph = Card(), c_uint64(), c_void_p()
stream, form = {"own": (card.stream(), ""), "per-thread": (None, "_ptsz")}[sys.argv[1]]
card.allocate(card.free_and_total()[0])
card.call("cuStreamBeginCapture_v2" + form, stream, 0)
card.call("cuMemAllocAsync" + form, byref(at), c_size_t(1 << 30), stream)
card.call("cuStreamEndCapture" + form, stream, byref(graph))
count = c_size_t()
card.call("cuGraphGetNodes", graph, None, byref(count))
print(count.value)
"""


@pytest.mark.parametrize("stream", ["own", "per-thread"])
@pytest.mark.parametrize("more", ["", "oversubscribe=1\n"])
def test_an_allocation_can_be_captured_while_the_share_is_full(tmp_path, limited, stream, more):
    shares = add_share(tmp_path / "shares", "one", 2 * GIB, more=more)
    program = limited(shares, sys.executable, "-c", FULL, stream, PYTHONPATH=".")
    assert ends(program) == (0, "1\n", "")


OUTLIVED = """
from ctypes import byref, c_size_t, c_uint64, c_void_p
from tests.gpu.cuda import Card
GIB = 1 << 30

card = Card()
before, stream = card.free_and_total()[0], card.stream()

def executable():
    at, graph, made = c_uint64(), c_void_p(), c_void_p()
    card.call("cuStreamBeginCapture_v2", stream, 0)
    card.call("cuMemAllocAsync", byref(at), c_size_t(3 * GIB), stream)
    card.call("cuStreamEndCapture", stream, byref(graph))
    card.call("cuGraphInstantiateWithFlags", byref(made), graph, c_uint64(0))
    return made, at

first, second = executable(), executable()
card.call("cuGraphLaunch", first[0], stream)
card.call("cuGraphExecDestroy", first[0])
card.call("cuDeviceGraphMemTrim", 0)
print((before - card.free_and_total()[0]) // GIB)
card.call("cuMemFree_v2", first[1])
card.call("cuDeviceGraphMemTrim", 0)
print((before - card.free_and_total()[0]) // GIB)
card.call("cuGraphLaunch", second[0], stream)
third = executable()
card.call("cuGraphLaunch", third[0], stream)
card.call("cuMemFree_v2", third[1])
card.call("cuGraphExecDestroy", third[0])
card.call("cuDeviceGraphMemTrim", 0)
print((before - card.free_and_total()[0]) // GIB)
card.call("cuMemFree_v2", second[1])
card.call("cuGraphExecDestroy", second[0])
card.call("cuDeviceGraphMemTrim", 0)
print(before - card.free_and_total()[0])
"""


@pytest.mark.parametrize("used", ["of executable graphs", "unfreed"])
def test_what_a_graph_allocated_and_did_not_free_outlives_it_beside_one_that_has_yet_to_run(
    share, limited, used
):
    """Whether or not the driver tells it as used by graphs."""
    program = limited(share, sys.executable, "-c", OUTLIVED, HAMI_SIM_GRAPH_USED=used, PYTHONPATH=".")
    assert ends(program) == (0, "6\n3\n3\n0\n", "")


def test_a_graph_that_has_no_room_on_its_second_card_uses_none_of_its_first(tmp_path, limited):
    """Of the simulated driver itself, without the limiter."""
    cards, _ = two_cards(tmp_path)
    program = """
executable = instantiate(1, 100)
try:
    cards[0].call("cuGraphLaunch", executable, None)
except CudaError as refused:
    print(refused.code)
used = c_uint64()
cards[0].call("cuDeviceGetGraphMemAttribute", 0, 0, byref(used))
print(used.value)
"""
    code, out, err = ends(
        limited(tmp_path / "none", sys.executable, "-c", BEGIN + program, HAMI_SIM_FILE=str(cards))
    )
    assert (code, out) == (0, "2\n0\n"), err
