"""The CUDA driver API through ctypes, as far as the work of these tests needs it.

Nothing here knows whether the driver is NVIDIA's or the simulated one. The kernel is PTX of our own: it takes
its time in nanoseconds, which the simulated driver believes, and in loops, which a real card runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import byref, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from itertools import pairwise
from statistics import mean, median
from typing import Any

SUCCESS, OUT_OF_MEMORY = 0, 2
CALIBRATIONS = 50

PTX = b"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry busy_ns(.param .u64 nanoseconds, .param .u64 loops)
{
    .reg .pred again;
    .reg .u64 left;
    .reg .f32 value;
    ld.param.u64 left, [loops];
    mov.f32 value, 0f3F800000;
    setp.eq.u64 again, left, 0;
    @again bra done;
next:
    fma.rn.f32 value, value, 0f3F7FFFFF, 0f33800000;
    fma.rn.f32 value, value, 0f3F7FFFFF, 0f33800000;
    fma.rn.f32 value, value, 0f3F7FFFFF, 0f33800000;
    fma.rn.f32 value, value, 0f3F7FFFFF, 0f33800000;
    sub.u64 left, left, 1;
    setp.ne.u64 again, left, 0;
    @again bra next;
    setp.lt.f32 again, value, 0f00000000;
    @again trap;
done:
    ret;
}
\0"""


# Watches the clock for PARAM 2 ns and notes up to PARAM 3 gaps of more than 20 us: begin, end; then zero.
GAPS = b"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry gaps(.param .u64 notes, .param .u64 nanoseconds, .param .u64 most)
{
    .reg .pred is;
    .reg .u64 at, before, now, passed, end, left;
    ld.param.u64 at, [notes];
    cvta.to.global.u64 at, at;
    ld.param.u64 left, [most];
    ld.param.u64 end, [nanoseconds];
    mov.u64 before, %globaltimer;
    add.u64 end, end, before;
next:
    mov.u64 now, %globaltimer;
    sub.u64 passed, now, before;
    setp.lt.u64 is, passed, 20000;
    @is bra short;
    setp.eq.u64 is, left, 0;
    @is bra short;
    st.global.u64 [at], before;
    st.global.u64 [at+8], now;
    add.u64 at, at, 16;
    sub.u64 left, left, 1;
short:
    mov.u64 before, now;
    setp.lt.u64 is, now, end;
    @is bra next;
    mov.u64 now, 0;
    st.global.u64 [at], now;
    ret;
}
\0"""


class CudaError(Exception):
    """A call of the driver failed; `code` is the CUresult."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name}: CUDA error {code}")
        self.code = code


class LaunchConfig(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = [
        ("grid", c_uint * 3),
        ("block", c_uint * 3),
        ("shared", c_uint),
        ("stream", c_void_p),
        ("attributes", c_void_p),
        ("count", c_uint),
    ]


class IpcHandle(ctypes.Structure):
    """CUipcMemHandle."""

    _fields_ = [("bytes", ctypes.c_ubyte * 64)]


class _RuntimeTable(ctypes.Structure):
    """The simulated driver's private table, in place of those by which the CUDA runtime loads its kernels."""

    _fields_ = [("size", c_size_t), ("load", ctypes.CFUNCTYPE(c_int, c_size_t))]


class Card:
    """One card with its primary context current on this thread, and the kernel loaded."""

    def __init__(self, index: int = 0) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)
        context, module = c_void_p(), c_void_p()
        self.call("cuDevicePrimaryCtxRetain", byref(context), index)
        self.call("cuCtxSetCurrent", context)
        self.call("cuModuleLoadData", byref(module), PTX)
        self.kernel = c_void_p()
        self.call("cuModuleGetFunction", byref(self.kernel), module, b"busy_ns")
        self._loops_of_us = 0.0

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the driver; CudaError when it does not succeed."""
        code = getattr(self.library, name)(*arguments)
        if code != SUCCESS:
            raise CudaError(name, code)

    def free_and_total(self) -> tuple[int, int]:
        """Bytes that cuMemGetInfo tells."""
        free, total = c_size_t(), c_size_t()
        self.call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value, total.value

    def allocate(self, size: int) -> int:
        """Take device memory; CudaError(OUT_OF_MEMORY) when there is none."""
        pointer = c_uint64()
        self.call("cuMemAlloc_v2", byref(pointer), c_size_t(size))
        return pointer.value

    def free(self, pointer: int) -> None:
        """Give device memory back."""
        self.call("cuMemFree_v2", c_uint64(pointer))

    def hand_over(self, pointer: int) -> str:
        """What another process needs to open this memory."""
        handle = IpcHandle()
        self.call("cuIpcGetMemHandle", byref(handle), c_uint64(pointer))
        return bytes(handle).hex()

    def open(self, told: str) -> int:
        """Open another process's memory."""
        pointer, handle = c_uint64(), IpcHandle.from_buffer_copy(bytes.fromhex(told))
        self.call("cuIpcOpenMemHandle_v2", byref(pointer), handle, c_uint(1))
        return pointer.value

    def load_unseen(self, size: int) -> None:
        """Load code past all entry points, as the CUDA runtime does; on a simulated card only."""
        table = ctypes.POINTER(_RuntimeTable)()
        self.call("cuGetExportTable", byref(table), b"hami-sim-runtime")
        code = table.contents.load(size)
        if code != SUCCESS:
            raise CudaError("load", code)

    def stream(self) -> c_void_p:
        """A new stream that does not wait for the default one."""
        stream = c_void_p()
        self.call("cuStreamCreate", byref(stream), 1)
        return stream

    def synchronize(self) -> None:
        """Wait for all work of the context."""
        self.call("cuCtxSynchronize")

    def arguments(self, microseconds: float) -> Any:
        """Kernel parameters for work of so many microseconds of device time."""
        values = (c_uint64(round(microseconds * 1000)), c_uint64(round(microseconds * self._loops_of_us)))
        pointers = (c_void_p * 2)(*(ctypes.cast(byref(value), c_void_p) for value in values))
        pointers.keep = values
        return pointers

    def launcher(
        self, microseconds: float, stream: c_void_p | None = None, how: str = "cuLaunchKernel"
    ) -> Callable[[], None]:
        """A function that launches such work once, by the entry point HOW."""
        function = getattr(self.library, how)
        parameters = self.arguments(microseconds)
        given: tuple[Any, ...]
        if how.startswith("cuLaunchKernelEx"):
            given = (byref(LaunchConfig((1, 1, 1), (32, 1, 1), 0, stream)), self.kernel, parameters, None)
        else:
            shape = tuple(c_uint(each) for each in (1, 1, 1, 32, 1, 1, 0))
            given = (self.kernel, *shape, stream or c_void_p(), parameters)
            given += () if "Cooperative" in how else (c_void_p(),)

        def launch() -> None:
            code = function(*given)
            if code != SUCCESS:
                raise CudaError(how, code)

        return launch

    def graph_launcher(self, microseconds: float, nodes: int) -> Callable[[], None]:
        """A function that launches a graph of so many kernels of that length, captured from a stream."""
        stream, graph, executable = self.stream(), c_void_p(), c_void_p()
        self.call("cuStreamBeginCapture_v2", stream, 0)
        launch = self.launcher(microseconds, stream)
        for _ in range(nodes):
            launch()
        self.call("cuStreamEndCapture", stream, byref(graph))
        self.call("cuGraphInstantiateWithFlags", byref(executable), graph, c_uint64(0))
        return lambda: self.call("cuGraphLaunch", executable, stream)

    def device_time(self, work: Callable[[], None]) -> float:
        """Milliseconds between two events around WORK on the default stream."""
        begin, end, elapsed = c_void_p(), c_void_p(), c_float()
        for event in (begin, end):
            self.call("cuEventCreate", byref(event), c_int(0))
        self.call("cuEventRecord", begin, None)
        work()
        self.call("cuEventRecord", end, None)
        self.call("cuEventSynchronize", end)
        self.call("cuEventElapsedTime", byref(elapsed), begin, end)
        return elapsed.value

    def calibrate(self, loops_of_us: float = 0.0) -> float:
        """Find out how many loops take a microsecond here, or take it as given; returns it.

        To be done with the card to oneself and without a limit: until the card's clock has come up and two
        looks agree. On a simulated card any number is right.
        """
        self._loops_of_us = loops_of_us or 100.0
        if loops_of_us:
            return loops_of_us
        for _ in range(CALIBRATIONS):
            launch = self.launcher(20_000)
            launch()
            wrong = max(self.device_time(launch), 0.001) / 20.0
            self._loops_of_us /= wrong
            if abs(wrong - 1) < 0.002:
                break
        return self._loops_of_us

    def event_costs(self, microseconds: float) -> dict[str, float]:
        """Microseconds of a kernel back to back, and between events in several ways; medians, and one mean.

        What is learnt of short work is a mean of measurements behind little other work.
        """
        launch, rounds = self.launcher(microseconds), 200

        def many(count: int) -> Callable[[], None]:
            return lambda: [launch() for _ in range(count)] and None

        def behind(count: int) -> float:
            many(count)()
            return self.device_time(launch)

        def measured(measure: Callable[[], float]) -> list[float]:
            self.synchronize()
            return [1000 * measure() for _ in range(rounds)]

        return {
            "back to back": median(measured(lambda: self.device_time(many(20)) / 20)),
            "idle stream": median(measured(lambda: self.device_time(launch))),
            "busy stream": median(measured(lambda: behind(20))),
            "behind three": median(measured(lambda: behind(3))),
            "behind three, mean": mean(measured(lambda: behind(3))),
            "nothing": median(measured(lambda: self.device_time(lambda: None))),
        }

    def slices(self, microseconds: float, most: int = 4096) -> tuple[list[float], list[float]]:
        """Watch the card's clock for so long: how long this program ran at a time, and then did not."""
        module, kernel = c_void_p(), c_void_p()
        self.call("cuModuleLoadData", byref(module), GAPS)
        self.call("cuModuleGetFunction", byref(kernel), module, b"gaps")
        notes = (c_uint64 * (2 * most + 2))()
        there = self.allocate(ctypes.sizeof(notes))
        values = (c_uint64(there), c_uint64(round(microseconds * 1000)), c_uint64(most))
        pointers = (c_void_p * 3)(*(ctypes.cast(byref(value), c_void_p) for value in values))
        shape = tuple(c_uint(each) for each in (1, 1, 1, 1, 1, 1, 0))
        self.call("cuLaunchKernel", kernel, *shape, c_void_p(), pointers, c_void_p())
        self.synchronize()
        self.call("cuMemcpyDtoH_v2", notes, c_uint64(there), c_size_t(ctypes.sizeof(notes)))
        gaps = []
        for begin, end in zip(notes[::2], notes[1::2], strict=True):
            if not begin:
                break
            gaps.append((begin, end))
        runs = [(after[0] - before[1]) / 1000 for before, after in pairwise(gaps)]
        return runs, [(end - begin) / 1000 for begin, end in gaps]
