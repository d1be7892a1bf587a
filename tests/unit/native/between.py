"""Programs of the simulated driver that hand memory to each other: what they run, and how to talk to them."""

import sys

from tests.unit.native.in_share import ends

PROGRAM = """
import contextlib, ctypes, os, socket, sys, threading
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

class Passed:
    "A descriptor that other processes get through a socket, until it is closed here."

    def __init__(self, handle):
        there = c_int()
        card.call("cuMemExportToShareableHandle", byref(there), handle, FILE_DESCRIPTOR, c_uint64(0))
        self.descriptor, self.name = there.value, f"hami-{os.getpid()}-{there.value}"
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind("\\0" + self.name)
        self.socket.listen()
        threading.Thread(target=self.passes_it_on, daemon=True).start()

    def passes_it_on(self):
        with contextlib.suppress(OSError):
            while True:
                with self.socket.accept()[0] as other:
                    socket.send_fds(other, [b"it"], [self.descriptor])

    def close(self):
        if self.descriptor is not None:
            self.socket.shutdown(socket.SHUT_RDWR)
            os.close(self.descriptor)
        self.descriptor = None

def receive(name):
    with socket.socket(socket.AF_UNIX) as maker:
        maker.connect("\\0" + name)
        return socket.recv_fds(maker, 2, 1)[1][0]

def imported(name):
    descriptor, handle = receive(name), c_uint64()
    card.call("cuMemImportFromShareableHandle", byref(handle), c_void_p(descriptor), FILE_DESCRIPTOR)
    os.close(descriptor)
    return handle

def physical(size):
    handle, wanted = c_uint64(), Properties(1, FILE_DESCRIPTOR, 1, 0)
    card.call("cuMemCreate", byref(handle), c_size_t(size), byref(wanted), c_uint64(0))
    return handle

class Mapping:
    "Physical memory that is mapped and its handle released, handed over by a file descriptor."

    def __init__(self, size=0, told=None):
        self.passed = None
        if told is None:
            self.size, handle = size, physical(size)
            self.passed = Passed(handle)
        else:
            name, size = told.split(",")
            self.size, handle = int(size), imported(name)
        at = c_uint64()
        size = c_size_t(self.size)
        card.call("cuMemAddressReserve", byref(at), size, c_size_t(0), c_uint64(0), c_uint64(0))
        card.call("cuMemMap", at, size, c_size_t(0), handle, c_uint64(0))
        card.call("cuMemRelease", handle)
        self.at = at

    def told(self):
        return f"{self.passed.name},{self.size}"

    def close(self):
        if self.passed:
            self.passed.close()

    def unmap(self):
        card.call("cuMemUnmap", self.at, c_size_t(self.size))

    def free(self):
        self.close()
        self.unmap()

class TeamProperties(ctypes.Structure):
    _fields_ = [("cards", ctypes.c_uint), ("size", c_size_t), ("handles", c_uint64), ("flags", c_uint64)]

class Multicast:
    "A multicast object, to which each process binds memory of its own and then releases that."

    def __init__(self, size=0, told=None):
        self.passed, self.at, self.object = None, 0, c_uint64()
        if told is None:
            self.size, wanted = size, TeamProperties(1, 2 * size, FILE_DESCRIPTOR, 0)
            card.call("cuMulticastCreate", byref(self.object), byref(wanted))
            card.call("cuMulticastAddDevice", self.object, 0)
            self.passed = Passed(self.object)
        else:
            name, size = told.split(",")
            self.at = self.size = int(size)
            self.object = imported(name)
        memory, at, size = physical(self.size), c_size_t(self.at), c_size_t(self.size)
        card.call("cuMulticastBindMem", self.object, at, memory, c_size_t(0), size, c_uint64(0))
        card.call("cuMemRelease", memory)

    def told(self):
        return f"{self.passed.name},{self.size}"

    def close(self):
        self.passed.close()

    def unbind(self):
        card.call("cuMulticastUnbind", self.object, 0, c_size_t(self.at), c_size_t(self.size))

    def free(self):
        card.call("cuMemRelease", self.object)
        if self.passed:
            self.passed.close()

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

kind = {"pointer": Pointer, "mapping": Mapping, "multicast": Multicast, "pooled": Pooled}[sys.argv[1]]
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
            print("done", flush=True)
        elif verb in ("unmap", "unbind", "close"):
            getattr(held[rest[0]], verb)()
            print("done", flush=True)
        elif verb == "receive":
            held["descriptor"] = receive(rest[0].split(",")[0])
            print("done", flush=True)
        elif verb == "drop":
            os.close(held.pop("descriptor"))
            print("done", flush=True)
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
        assert self._said("free", which) == "done"

    def does(self, *words):
        """Unmaps, unbinds or closes its "own" or "theirs"; receives a descriptor, and drops it."""
        assert self._said(*words) == "done"

    def can_have(self):
        """Bytes that it gets until it is refused, and gives back."""
        return int(self._said("fill"))

    def is_killed(self):
        self._process.kill()
        ends(self._process)
