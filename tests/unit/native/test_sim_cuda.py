"""The simulated CUDA driver API, called through ctypes in a process of its own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.unit.native.simulated import A10, BUILD, ROOT, SimulatedNode

pytestmark = pytest.mark.native

PROLOGUE = """
import ctypes, os, sys, threading
from ctypes import byref, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
cu = ctypes.CDLL("libcuda.so.1")
MIB = 1 << 20
def ok(result):
    assert result == 0, result
def start():
    context = c_void_p()
    ok(cu.cuInit(0)); ok(cu.cuDevicePrimaryCtxRetain(byref(context), 0)); ok(cu.cuCtxSetCurrent(context))
    return context
def free():
    free, total = c_size_t(), c_size_t()
    ok(cu.cuMemGetInfo_v2(byref(free), byref(total)))
    return free.value // MIB
def kernel(name):
    module, function = c_void_p(), c_void_p()
    ok(cu.cuModuleLoadData(byref(module), b"any")); ok(cu.cuModuleGetFunction(byref(function), module, name))
    return function
def launch(function, stream=None, blocks=1):
    ok(cu.cuLaunchKernel(function, blocks, 1, 1, 1024, 1, 1, 0, stream, None, None))
def stream(flags=1):  # 1: it does not wait for the default stream
    made = c_void_p()
    ok(cu.cuStreamCreate(byref(made), flags))
    return made
def event():
    made = c_void_p()
    ok(cu.cuEventCreate(byref(made), 0))
    return made
def record(stream):
    made = event()
    ok(cu.cuEventRecord(made, stream))
    return made
def after(stream, event):
    ok(cu.cuStreamWaitEvent(stream, event, 0))
def passed(begin, end):
    ms = c_float()
    ok(cu.cuEventSynchronize(end)); ok(cu.cuEventElapsedTime(byref(ms), begin, end))
    return ms.value
gate = threading.Event()
@ctypes.CFUNCTYPE(None, c_void_p)
def until_open(_):
    gate.wait()
def hold(stream=None):  # the card waits until a host, however slow, has submitted what is measured
    ok(cu.cuLaunchHostFunc(stream, until_open, None))
"""


@pytest.fixture
def node(tmp_path: Path) -> SimulatedNode:
    return SimulatedNode(tmp_path, A10.read_text())


def passes(node: SimulatedNode, code: str) -> None:
    result = node.python(PROLOGUE + code)
    assert result.returncode == 0, result.stderr


def test_every_function_that_the_simulated_driver_exports_is_in_its_table() -> None:
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", str(BUILD / "libcuda.so.1")],
        capture_output=True,
        text=True,
        check=True,
    )
    exported = {line.split()[-1] for line in listed.stdout.splitlines() if " T " in line}
    table = (ROOT / "native" / "sim" / "cuda_symbols.def").read_text()
    assert set(re.findall(r"SYMBOL\((\w+),", table)) - {"name"} == exported


def test_proc_address_gives_the_function_of_the_asked_version_and_stream_kind(node: SimulatedNode) -> None:
    passes(
        node,
        """
def address(name, version, flags=0):
    function, status = c_void_p(), c_int(9)
    ok(cu.cuGetProcAddress_v2(name, byref(function), version, c_uint64(flags), byref(status)))
    return function.value, status.value
def symbol(name):
    return ctypes.cast(getattr(cu, name), c_void_p).value
assert address(b"cuMemAlloc", 12000) == (symbol("cuMemAlloc_v2"), 0)
assert address(b"cuCtxCreate", 11000) == (symbol("cuCtxCreate_v2"), 0)
assert address(b"cuCtxCreate", 12050) == (symbol("cuCtxCreate_v4"), 0)
assert address(b"cuLaunchKernel", 12000) == (symbol("cuLaunchKernel"), 0)
assert address(b"cuLaunchKernel", 12000, 2) == (symbol("cuLaunchKernel_ptsz"), 0)
assert address(b"cuMemcpyHtoD", 12000, 2) == (symbol("cuMemcpyHtoD_v2_ptds"), 0)
assert address(b"cuMemAllocAsync", 10000) == (None, 2)
assert address(b"cuNoSuchThing", 12000) == (None, 1)
""",
    )


def test_each_kind_of_allocation_takes_simulated_memory_and_gives_it_back(node: SimulatedNode) -> None:
    passes(
        node,
        """
start(); before = free(); p, pitch, stream = c_uint64(), c_size_t(), c_void_p()
ok(cu.cuMemAlloc_v2(byref(p), c_size_t(100 * MIB)))
assert free() == before - 100
ok(cu.cuMemFree_v2(p))
assert free() == before
ok(cu.cuMemAllocManaged(byref(p), c_size_t(64 * MIB), 1))
assert free() == before - 64
ok(cu.cuMemFree_v2(p))
ok(cu.cuMemAllocPitch_v2(byref(p), byref(pitch), c_size_t(1000), c_size_t(2048), 4))
assert pitch.value == 1024
assert free() == before - 2; ok(cu.cuMemFree_v2(p))
ok(cu.cuMemAllocAsync(byref(p), c_size_t(32 * MIB), stream)); assert free() == before - 32
ok(cu.cuMemFreeAsync(p, stream)); ok(cu.cuStreamSynchronize(stream)); assert free() == before
class Prop(ctypes.Structure):
    _fields_ = [("type", c_int), ("handle", c_int), ("location", c_int), ("id", c_int)]
    _fields_ += [("windows", c_void_p), ("flags", c_uint64)]
class Shape(ctypes.Structure):
    _fields_ = [("w", c_size_t), ("h", c_size_t), ("format", c_int), ("channels", c_uint)]
handle, range_ = c_uint64(), c_uint64()
ok(cu.cuMemCreate(byref(handle), c_size_t(20 * MIB), byref(Prop(1, 0, 1, 0)), c_uint64(0)))
assert free() == before - 20
ok(cu.cuMemAddressReserve(byref(range_), c_size_t(20 * MIB), c_size_t(0), c_uint64(0), c_uint64(0)))
ok(cu.cuMemMap(range_, c_size_t(20 * MIB), c_size_t(0), handle, c_uint64(0)))
ok(cu.cuMemRelease(handle)); assert free() == before - 20  # the mapping holds it
ok(cu.cuMemUnmap(range_, c_size_t(20 * MIB))); assert free() == before
array = c_void_p()
ok(cu.cuArrayCreate_v2(byref(array), byref(Shape(1024, 1024, 0x20, 4)))); assert free() == before - 16
ok(cu.cuArrayDestroy(array)); assert free() == before
ok(cu.cuMemAlloc_v2(byref(p), c_size_t(100 * MIB))); ok(cu.cuDevicePrimaryCtxRelease_v2(0))
start(); assert free() == before  # what a context held went with it
""",
    )


def test_what_was_copied_to_the_simulated_card_comes_back(node: SimulatedNode) -> None:
    passes(
        node,
        """
start(); p, q, back = c_uint64(), c_uint64(), ctypes.create_string_buffer(8)
ok(cu.cuMemAlloc_v2(byref(p), c_size_t(4 * MIB))); ok(cu.cuMemAlloc_v2(byref(q), c_size_t(4 * MIB)))
ok(cu.cuMemcpyHtoD_v2(p, b"12345678", c_size_t(8))); ok(cu.cuMemcpyDtoD_v2(q, p, c_size_t(8)))
ok(cu.cuMemsetD8_v2(q, 0x41, c_size_t(2))); ok(cu.cuMemcpyDtoH_v2(back, q, c_size_t(8)))
assert back.raw == b"AA345678", back.raw
""",
    )


def test_events_measure_what_kernels_took_on_the_simulated_clock(node: SimulatedNode) -> None:
    passes(
        node,
        """
start(); f = kernel(b"busy_us_700")
hold(); begin = record(None)
for _ in range(10): launch(f)
end = record(None); assert cu.cuEventQuery(end) == 600  # CUDA_ERROR_NOT_READY
gate.set(); assert abs(passed(begin, end) - 7) < 0.01, passed(begin, end)
""",
    )


FORK = """
start(); f, one, two = kernel(b"busy_us_7000"), stream(), stream()
hold(one); begin = record(one); after(two, begin)
"""


def test_kernels_of_two_streams_run_beside_each_other_on_the_simulated_card(node: SimulatedNode) -> None:
    passes(
        node,
        FORK
        + """
for each in one, two, one, two: launch(f, each)
ends = record(one), record(two)
gate.set(); took = [passed(begin, end) for end in ends]
assert all(abs(each - 14) < 0.1 for each in took), took
""",
    )


def test_kernels_that_fill_the_simulated_card_wait_for_each_other(node: SimulatedNode) -> None:
    passes(
        node,
        FORK
        + """
launch(f, one, 60); launch(f, two, 60)  # of 72 multiprocessors
ends = record(one), record(two)
gate.set(); took = sorted(passed(begin, end) for end in ends)
assert abs(took[0] - 7) < 0.1 and abs(took[1] - 14) < 0.1, took
""",
    )


def test_a_stream_waits_for_an_event_of_another_one_on_the_simulated_card(node: SimulatedNode) -> None:
    passes(
        node,
        FORK
        + """
launch(f, one); after(two, record(one)); launch(f, two); end = record(two)
gate.set(); assert abs(passed(begin, end) - 14) < 0.1, passed(begin, end)
""",
    )


def test_the_default_stream_waits_for_the_others_and_they_for_it_on_the_simulated_card(
    node: SimulatedNode,
) -> None:
    passes(
        node,
        FORK
        + """
waits = stream(0)
after(waits, begin); launch(f, waits); launch(f); launch(f, waits); end = record(waits)
launch(f, two); beside = record(two)  # is not held up by the default stream
gate.set(); took = passed(begin, end), passed(begin, beside)
assert abs(took[0] - 21) < 0.1 and abs(took[1] - 7) < 0.1, took
""",
    )


def test_a_function_of_the_host_holds_its_own_stream_only(node: SimulatedNode) -> None:
    passes(
        node,
        """
start(); f, held, other = kernel(b"busy_us_100"), stream(), stream()
hold(held); launch(f, held); launch(f, other)
ok(cu.cuStreamSynchronize(other)); assert cu.cuStreamQuery(held) == 600  # CUDA_ERROR_NOT_READY
gate.set(); ok(cu.cuStreamSynchronize(held))
""",
    )


def test_a_stream_that_waits_for_a_captured_event_is_captured_as_well(node: SimulatedNode) -> None:
    passes(
        node,
        """
start(); f, one, two, graph, count = kernel(b"any"), stream(), stream(), c_void_p(), c_size_t()
def captures(stream):
    status = c_int(); ok(cu.cuStreamIsCapturing(stream, byref(status))); return status.value
ok(cu.cuStreamBeginCapture_v2(one, 0)); assert captures(one) and not captures(two)
launch(f, one); after(two, record(one)); assert captures(two)
launch(f, two); after(one, record(two))
assert cu.cuStreamEndCapture(two, byref(graph)) == 903  # CUDA_ERROR_STREAM_CAPTURE_UNMATCHED
ok(cu.cuStreamEndCapture(one, byref(graph))); assert not captures(one) and not captures(two)
ok(cu.cuGraphGetNodes(graph, None, byref(count))); assert count.value == 4, count  # two of them events
""",
    )


def test_a_captured_graph_runs_again_at_each_launch(node: SimulatedNode) -> None:
    passes(
        node,
        """
start()
a, b, ms, p = c_void_p(), c_void_p(), c_float(), c_uint64()
s, g, x = c_void_p(), c_void_p(), c_void_p()
ok(cu.cuStreamCreate(byref(s), 1)); ok(cu.cuMemAlloc_v2(byref(p), c_size_t(4096)))
ok(cu.cuStreamBeginCapture_v2(s, 0))
launch(kernel(b"busy_us_3000"), s)
ok(cu.cuMemsetD8Async(p, 1, c_size_t(16), s))
assert cu.cuStreamSynchronize(s) == 900  # CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
ok(cu.cuStreamEndCapture(s, byref(g))); ok(cu.cuGraphInstantiateWithFlags(byref(x), g, c_uint64(0)))
ok(cu.cuEventCreate(byref(a), 0)); ok(cu.cuEventCreate(byref(b), 0))
hold(s); ok(cu.cuEventRecord(a, s))
ok(cu.cuGraphLaunch(x, s))
ok(cu.cuGraphLaunch(x, s))
ok(cu.cuEventRecord(b, s))
gate.set(); ok(cu.cuStreamSynchronize(s))
ok(cu.cuEventElapsedTime(byref(ms), a, b)); assert abs(ms.value - 6) < 0.01, ms.value
""",
    )


def test_a_capture_tells_its_graph_and_a_kernel_its_threads(node: SimulatedNode) -> None:
    """As the libraries of NVIDIA for Python ask before they add to a capture and before they launch."""
    passes(
        node,
        """
start()
s, g, at, status, count, threads = c_void_p(), c_void_p(), c_void_p(), c_int(9), c_size_t(9), c_int()
def told():
    ok(cu.cuStreamGetCaptureInfo_v3(s, byref(status), None, byref(at), None, None, byref(count)))
    return status.value
ok(cu.cuStreamCreate(byref(s), 0)); assert told() == 0
ok(cu.cuStreamBeginCapture_v2(s, 0)); assert (told(), count.value) == (1, 0)
ok(cu.cuStreamEndCapture(s, byref(g))); assert g.value == at.value and told() == 0
ok(cu.cuKernelGetAttribute(byref(threads), 0, kernel(b"any"), 0)); assert threads.value == 1024
""",
    )


def test_cuda_does_not_work_in_the_fork_of_a_program_that_used_it(node: SimulatedNode) -> None:
    passes(
        node,
        """
start(); before = free()
if os.fork() == 0:
    p = c_uint64()
    os._exit(cu.cuMemAlloc_v2(byref(p), c_size_t(MIB)))
assert os.waitstatus_to_exitcode(os.wait()[1]) == 3  # CUDA_ERROR_NOT_INITIALIZED
assert free() == before
p = c_uint64(); ok(cu.cuMemAlloc_v2(byref(p), c_size_t(MIB * 2))); assert free() == before - 2
""",
    )


def test_a_program_that_also_uses_nvml_sees_its_own_memory_there(node: SimulatedNode) -> None:
    passes(
        node,
        """
import pynvml as n
start(); n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0)
listed = n.nvmlDeviceGetComputeRunningProcesses(h)
assert [(p.pid, p.usedGpuMemory >> 20) for p in listed] == [(os.getpid(), 256)]
n.nvmlShutdown(); assert free() == 23028 - 256
""",
    )
