"""Programs of the simulated driver that hand memory to each other: what they run, and how to talk to them."""

import sys

from tests.unit.native.in_share import ends

PROGRAM = """
import ctypes, os, sys
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p
from tests.gpu.cuda import Card, CudaError

FILE_DESCRIPTOR = 1
card = Card()

class Properties(ctypes.Structure):
    _fields_ = [("type", c_int), ("handles", c_int), ("location", c_int), ("id", c_int)]
    _fields_ += [("windows", c_void_p), ("flags", c_uint64)]

class Pointer:
    "Memory of cuMemAlloc, handed over by IPC."

    def __init__(self, size=0, told=None):
        self.own = told is None
        if self.own:
            self.at = card.allocate(size)
        else:
            self.at = card.open(told)

    def told(self):
        return card.hand_over(self.at)

    def free(self):
        card.call("cuMemFree_v2" if self.own else "cuIpcCloseMemHandle", c_uint64(self.at))

class Mapping:
    "Physical memory that is mapped and its handle released, handed over by a file descriptor."

    def __init__(self, size=0, told=None):
        self.size, handle = size, c_uint64()
        if told is None:
            wanted = Properties(1, FILE_DESCRIPTOR, 1, 0)
            card.call("cuMemCreate", byref(handle), c_size_t(size), byref(wanted), c_uint64(0))
            there = c_int()
            card.call("cuMemExportToShareableHandle", byref(there), handle, FILE_DESCRIPTOR, c_uint64(0))
            self.descriptor = there.value
        else:
            path, size = told.split(",")
            self.size, self.descriptor = int(size), open(path, "rb")
            number = c_void_p(self.descriptor.fileno())
            card.call("cuMemImportFromShareableHandle", byref(handle), number, FILE_DESCRIPTOR)
        at = c_uint64()
        size = c_size_t(self.size)
        card.call("cuMemAddressReserve", byref(at), size, c_size_t(0), c_uint64(0), c_uint64(0))
        card.call("cuMemMap", at, size, c_size_t(0), handle, c_uint64(0))
        card.call("cuMemRelease", handle)
        self.at = at

    def told(self):
        return f"/proc/{os.getpid()}/fd/{self.descriptor},{self.size}"

    def free(self):
        card.call("cuMemUnmap", self.at, c_size_t(self.size))

class PoolProperties(ctypes.Structure):
    _fields_ = [("type", c_int), ("handles", c_int), ("location", c_int), ("id", c_int)]
    _fields_ += [("windows", c_void_p), ("most", c_size_t), ("rest", ctypes.c_ubyte * 56)]

class Pooled:
    "Memory of a pool, of which both the pool and the pointer are handed over."

    def __init__(self, size=0, told=None):
        pool, at = c_void_p(), c_uint64()
        if told is None:
            wanted, there = PoolProperties(1, FILE_DESCRIPTOR, 1, 0), c_int()
            card.call("cuMemPoolCreate", byref(pool), byref(wanted))
            card.call("cuMemPoolExportToShareableHandle", byref(there), pool, FILE_DESCRIPTOR, c_uint64(0))
            card.call("cuMemAllocFromPoolAsync", byref(at), c_size_t(size), pool, None)
            data = (ctypes.c_ubyte * 64)()
            card.call("cuMemPoolExportPointer", data, at)
            self.said = f"/proc/{os.getpid()}/fd/{there.value},{bytes(data).hex()}"
        else:
            path, data = told.split(",")
            data = (ctypes.c_ubyte * 64).from_buffer_copy(bytes.fromhex(data))
            with open(path, "rb") as there:
                number = c_void_p(there.fileno())
                import_pool = "cuMemPoolImportFromShareableHandle"
                card.call(import_pool, byref(pool), number, FILE_DESCRIPTOR, c_uint64(0))
            card.call("cuMemPoolImportPointer", byref(at), pool, data)
            card.call("cuMemPoolTrimTo", pool, c_size_t(0))
        self.pool, self.at = pool, at

    def told(self):
        return self.said

    def free(self):
        card.call("cuMemFreeAsync", self.at, None)
        card.synchronize()
        card.call("cuMemPoolDestroy", self.pool)

def fill(step=16 << 20):
    got = []
    try:
        while True:
            got.append(card.allocate(step))
    except CudaError as refused:
        assert refused.code == 2, refused
    for each in got:
        card.free(each)
    return len(got) * step

kind = {"pointer": Pointer, "mapping": Mapping, "pooled": Pooled}[sys.argv[1]]
held = {}
for line in sys.stdin:
    verb, *rest = line.split()
    try:
        if verb == "make":
            held["own"] = kind(size=int(rest[0]))
            print(held["own"].told(), flush=True)
        elif verb == "take":
            held["theirs"] = kind(told=rest[0])
            print("has it", flush=True)
        elif verb == "free":
            held.pop(rest[0]).free()
            print("freed", flush=True)
        elif verb == "fill":
            print(fill(), flush=True)
    except CudaError as error:
        print("error", error.code, flush=True)
"""


class Partner:
    """A process that makes memory, takes another's, frees and fills, as it is told."""

    def __init__(self, start, shares, kind, group=0, **environment):
        environment |= {"PYTHONPATH": ".", "HAMI_SIM_GROUP": str(group)}
        self._process = start(shares, sys.executable, "-c", PROGRAM, kind, **environment)
        self.pid = self._process.pid

    def _said(self, *words):
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def makes(self, size):
        """Makes SIZE bytes; what another process needs to take them, or the error."""
        return self._said("make", size)

    def takes(self, told):
        """Opens another's memory: "has it", or the error."""
        return self._said("take", told)

    def frees(self, which):
        """Gives up its "own" or "theirs"."""
        assert self._said("free", which) == "freed"

    def can_have(self):
        """Bytes that it gets until it is refused, and gives back."""
        return int(self._said("fill"))

    def is_killed(self):
        self._process.kill()
        ends(self._process)
