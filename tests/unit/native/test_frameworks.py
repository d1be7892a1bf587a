"""The calls of real frameworks' allocators, in their order: what each holds is counted, once, on its card.

Two cards with a share of each, 4 and 2 GiB. All on the simulated driver.
"""

import sys

import pytest

from tests.unit.native.in_share import (
    CALLS,
    CONTEXT_MIB,
    GIB,
    UUID,
    add_share,
    booked,
    each_time_told,
    ends,
    oracle,
    two_cards,
)

pytestmark = pytest.mark.native

PROGRAM = f"""
{CALLS}
MIB, FILE_DESCRIPTOR, ZERO = 1 << 20, 1, c_uint64(0)

class Properties(ctypes.Structure):
    "Of physical memory; of a pool, with what follows."
    _fields_ = [("kind", c_int), ("handles", c_int), ("location", c_int), ("card", c_int)]
    _fields_ += [("windows", c_void_p), ("rest", ctypes.c_ubyte * 64)]

class Access(ctypes.Structure):
    _fields_ = [("location", c_int), ("card", c_int), ("flags", c_int)]

class Team(ctypes.Structure):
    _fields_ = [("cards", c_uint), ("size", c_size_t), ("handles", c_uint64), ("flags", c_uint64)]

def refused(name, *arguments):
    return getattr(cuda, name)(*arguments) == 2

def size(mib):
    return c_size_t(mib * MIB)

def allocate(mib):
    at = c_uint64()
    call("cuMemAlloc_v2", byref(at), size(mib))
    return at

def create(mib, card=0):
    handle, wanted = c_uint64(), Properties(1, FILE_DESCRIPTOR, 1, card)
    call("cuMemCreate", byref(handle), size(mib), byref(wanted), ZERO)
    return handle

def reserve(mib):
    at = c_uint64()
    call("cuMemAddressReserve", byref(at), size(mib), c_size_t(0), ZERO, ZERO)
    return at.value

both = (Access * 2)(Access(1, 0, 3), Access(1, 1, 3))

def map_at(at, mib, handle):
    call("cuMemMap", c_uint64(at), size(mib), c_size_t(0), handle, ZERO)
    call("cuMemSetAccess", c_uint64(at), size(mib), both, c_size_t(2))

def unmap(at, mib):
    call("cuMemUnmap", c_uint64(at), size(mib))

def release(handle):
    call("cuMemRelease", handle)

def pool(card=0):
    new, forever = c_void_p(), c_uint64(2**64 - 1)
    call("cuMemPoolCreate", byref(new), byref(Properties(1, 0, 1, card)))
    call("cuMemPoolSetAttribute", new, 4, byref(forever))
    call("cuMemPoolSetAccess", new, both, c_size_t(2))
    return new

def take(mib, of, stream=None):
    at = c_uint64()
    call("cuMemAllocFromPoolAsync", byref(at), size(mib), of, stream)
    return at

call("cuInit", 0)
contexts = [made("cuDevicePrimaryCtxRetain", card) for card in range(2)]
call("cuCtxSetCurrent", contexts[0])
"""


@pytest.fixture
def cards(tmp_path):
    """The node's file; its cards can multicast."""
    file, other = two_cards(tmp_path)
    file.write_text(file.read_text().replace('computeCapability: "8.6"', 'computeCapability: "9.0"'))
    add_share(tmp_path / "shares", UUID, 4 * GIB)
    add_share(tmp_path / "shares", other, 2 * GIB, other)
    return file


@pytest.fixture
def start(tmp_path, limited, cards):
    return lambda program, *words: limited(
        tmp_path / "shares", sys.executable, "-c", PROGRAM + program, *words, HAMI_SIM_FILE=str(cards)
    )


@pytest.fixture
def sums(tmp_path, programs, cards):
    """MiB beyond the contexts, by card, on which the ledgers and the driver agree."""

    def ask(processes=1):
        by_driver = oracle(programs, tmp_path / "state", cards)[-2:]
        shares = sorted((tmp_path / "shares").iterdir(), reverse=True)
        assert [booked(each.parent, each.name) for each in shares] == by_driver
        return [(each >> 20) - processes * CONTEXT_MIB for each in by_driver]

    return ask


@pytest.fixture
def held(start, sums):
    """What a program holds each time that it tells."""

    return lambda program: each_time_told(start(program), sums)


def test_pytorch_expandable_segments_grow_shrink_and_grow_again(held):
    """Physical memory is mapped piece by piece behind one address, reached by all cards."""
    program = """
segment = reserve(8 << 10)
pieces = {}
def grow(number):
    pieces[number] = create(20)
    map_at(segment + number * 20 * MIB, 20, pieces[number])
for number in range(10): grow(number)
tell()
for number in (2, 3, 9):
    unmap(segment + number * 20 * MIB, 20)
    release(pieces.pop(number))
tell()
grow(2)
number = 10
while True:
    wanted = Properties(1, FILE_DESCRIPTOR, 1, 0)
    if refused("cuMemCreate", byref(more := c_uint64()), size(20), byref(wanted), ZERO): break
    map_at(segment + number * 20 * MIB, 20, more)
    pieces[number] = more
    number += 1
tell()
unmap(segment, 8 << 10)
for handle in pieces.values(): release(handle)
call("cuMemAddressFree", c_uint64(segment), size(8 << 10))
tell()
"""
    assert held(program) == [[200, 0], [140, 0], [(4096 - CONTEXT_MIB) // 20 * 20, 0], [0, 0]]


def test_vllm_sleeps_and_leaves_its_memory_to_others_until_it_wakes(held):
    program = """
weights = reserve(2 << 10)
def wake():
    handle = create(2 << 10)
    map_at(weights, 2 << 10, handle)
    return handle
def sleep(handle):
    unmap(weights, 2 << 10)
    release(handle)
handle = wake()
tell()
sleep(handle)
tell()
other = allocate(3 << 10)
wanted = Properties(1, 0, 1, 0)
assert refused("cuMemCreate", byref(handle), size(2 << 10), byref(wanted), ZERO)
tell()
call("cuMemFree_v2", other)
sleep(wake())
tell()
"""
    assert held(program) == [[2048, 0], [0, 0], [3072, 0], [0, 0]]


def test_nccl_registers_buffers_with_peers_and_a_switch(held):
    """ncclMemAlloc on each card, user buffers registered in a multicast object, all undone."""
    program = """
import os
buffers = []
for card in range(2):
    handle, at = create(512, card), reserve(512)
    map_at(at, 512, handle)
    buffers.append(at)
tell()
imported = []
for at in buffers:
    call("cuMemRetainAllocationHandle", byref(handle := c_uint64()), c_void_p(at))
    call("cuMemExportToShareableHandle", byref(there := c_int()), handle, FILE_DESCRIPTOR, ZERO)
    release(handle)
    call("cuMemImportFromShareableHandle", byref(peer := c_uint64()), c_void_p(there.value), FILE_DESCRIPTOR)
    os.close(there.value)
    map_at(mapped := reserve(512), 512, peer)
    imported.append((mapped, peer))
call("cuMulticastCreate", byref(team := c_uint64()), byref(Team(2, 512 * MIB, FILE_DESCRIPTOR, 0)))
for card in range(2): call("cuMulticastAddDevice", team, card)
for card, at in enumerate(buffers):
    call("cuMulticastBindAddr_v2", team, card, c_size_t(0), c_uint64(at), size(512), ZERO)
map_at(switch := reserve(512), 512, team)
tell()
for card in range(2): call("cuMulticastUnbind", team, card, c_size_t(0), size(512))
unmap(switch, 512)
release(team)
for at in buffers:
    call("cuMemRetainAllocationHandle", byref(handle := c_uint64()), c_void_p(at))
    release(handle)
    unmap(at, 512)
    release(handle)
tell()
for mapped, peer in imported:
    unmap(mapped, 512)
    release(peer)
tell()
"""
    assert held(program) == [[512, 512], [512, 512], [512, 512], [0, 0]]


def test_rmm_primes_a_pool_and_trims_it(held):
    program = """
primed = pool()
call("cuMemFreeAsync", take(1024, primed), None)
call("cuCtxSynchronize")
tell()
at = take(256, primed), take(512, primed)
tell()
more = take(1024, primed)
tell()
for each in (*at, more): call("cuMemFreeAsync", each, None)
call("cuCtxSynchronize")
call("cuMemPoolTrimTo", primed, size(256))
tell()
call("cuMemPoolDestroy", primed)
tell()
"""
    assert held(program) == [[1024, 0], [1024, 0], [1792, 0], [256, 0], [0, 0]]


def test_xla_preallocates_and_a_library_beside_it_gets_what_its_pool_does_not_use(held):
    program = """
preallocated = pool()
call("cuMemFreeAsync", take(3072, preallocated), None)
call("cuCtxSynchronize")
tensor = take(512, preallocated)
tell()
scratch = allocate(2048)
tell()
call("cuMemFreeAsync", tensor, None)
call("cuMemFree_v2", scratch)
call("cuCtxSynchronize")
step, grown = 3072, []
while step >= 256:  # as its other allocator backs off
    if refused("cuMemAlloc_v2", byref(at := c_uint64()), size(step)): step //= 2
    else: grown.append(at)
tell()
"""
    first, second, third = held(program)
    assert (first, second) == ([3072, 0], [2560, 0])
    assert third == [4096 - CONTEXT_MIB, 0]


def test_ddp_copies_between_cards_whichever_is_current(held):
    program = """
can = c_int()
for card in range(2):
    call("cuDeviceCanAccessPeer", byref(can), card, 1 - card)
    call("cuCtxSetCurrent", contexts[card])
    call("cuCtxEnablePeerAccess", contexts[1 - card], 0)
    assert can.value == 1
theirs = allocate(512)
stream = made("cuStreamCreate", 0)
call("cuCtxSetCurrent", contexts[0])
ours = allocate(1024)
call("cuMemcpyPeerAsync", theirs, contexts[1], ours, contexts[0], size(1), None)
call("cuMemcpyPeer", ours, contexts[0], theirs, contexts[1], size(1))
pooled = pool(card=1)
bucket = take(256, pooled), take(128, pooled, stream)
call("cuMemAllocAsync", byref(at := c_uint64()), size(64), stream)
tell()
assert refused("cuMemAllocFromPoolAsync", byref(c_uint64()), size(1024), pooled, None)
assert refused("cuMemAllocAsync", byref(c_uint64()), size(1024), stream)
more = allocate(1024)
tell()
call("cuMemFreeAsync", at, None)
for each in bucket: call("cuMemFreeAsync", each, stream)
for each in (theirs, ours, more): call("cuMemFree_v2", each)
call("cuStreamSynchronize", stream)
call("cuCtxSynchronize")
call("cuMemPoolDestroy", pooled)
tell()
"""
    assert held(program) == [[1024, 960], [2048, 960], [0, 0]]


def test_memory_that_another_process_opens_on_another_card_stays_its_makers(start, sums):
    maker = start("""
call("cuCtxSetCurrent", contexts[1])
handle = (ctypes.c_ubyte * 64)()
call("cuIpcGetMemHandle", handle, allocate(512))
print(bytes(handle).hex(), flush=True)
sys.stdin.read()
""")
    taker = start(
        """
class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_ubyte * 64)]
handle = Handle.from_buffer_copy(bytes.fromhex(sys.argv[1]))
call("cuIpcOpenMemHandle_v2", byref(at := c_uint64()), handle, 1)
tell()
call("cuIpcCloseMemHandle", at)
tell()
""",
        maker.stdout.readline().strip(),
    )
    for _ in range(2):
        assert taker.stdout.readline() == "told\n"
        assert sums(processes=2) == [0, 512]
        taker.stdin.write("\n")
        taker.stdin.flush()
    assert ends(taker) == ends(maker) == (0, "", "")
