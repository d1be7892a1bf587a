"""A kernel that touches an illegal address: from then on each call in its context tells that error.

What the context holds stays counted until it ends. All on the simulated driver.
"""

import sys

import pytest

from tests.unit.native.in_share import CALLS, CONTEXT_MIB, booked, each_time_told

pytestmark = pytest.mark.native

FAULT = 700

PROGRAM = f"""
{CALLS}
def code(name, *arguments):
    return getattr(cuda, name)(*arguments)

def allocate(mib):
    at = c_uint64()
    call("cuMemAlloc_v2", byref(at), c_size_t(mib << 20))
    return at

def fails():
    module = made("cuModuleLoadData", b".version 6.0\\0")
    kernel = made("cuModuleGetFunction", module, b"fault")
    launch = "cuLaunchKernel", kernel, *[c_uint(1)] * 6, c_uint(0), None, None, None
    call(*launch)
    assert code("cuCtxSynchronize") == {FAULT}
    return launch

call("cuInit", 0)
"""


@pytest.fixture
def held(share, limited, by_the_driver):
    """MiB on which ledger and driver agree, each time that the program tells; it must end well."""

    def look():
        assert booked(share) == by_the_driver()[1]
        return booked(share) >> 20

    return lambda program: each_time_told(limited(share, sys.executable, "-c", PROGRAM + program), look)


def test_a_program_hears_of_a_fault_and_keeps_what_it_holds_until_its_context_ends(held):
    program = f"""
call("cuCtxSetCurrent", made("cuDevicePrimaryCtxRetain", 0))
stream, pool, pooled, at = made("cuStreamCreate", 0), c_void_p(), c_uint64(), allocate(1024)
call("cuDeviceGetDefaultMemPool", byref(pool), 0)
call("cuMemPoolSetAttribute", pool, 4, byref(c_uint64(2**64 - 1)))
call("cuMemAllocAsync", byref(pooled), c_size_t(512 << 20), stream)
tell()
launch = fails()
for calls in (
    ("cuMemAlloc_v2", byref(c_uint64()), c_size_t(1 << 30)),
    ("cuMemAllocAsync", byref(c_uint64()), c_size_t(1 << 20), stream),
    ("cuMemAllocAsync", byref(c_uint64()), c_size_t(1 << 30), stream),
    ("cuMemFreeAsync", pooled, stream),
    ("cuMemFree_v2", at),
    ("cuArrayCreate_v2", byref(c_void_p()), (c_uint64 * 3)(64, 64, 1 << 32 | 32)),
    ("cuCtxSetLimit", 2, c_size_t(1 << 30)),
    ("cuMemGetInfo_v2", byref(c_size_t()), byref(c_size_t())),
    ("cuStreamSynchronize", stream),
    *[launch] * 100,
):
    assert code(*calls) == {FAULT}, calls
tell()
assert code("cuDevicePrimaryCtxReset_v2", 0) == {FAULT}
tell()
call("cuCtxSetCurrent", made("cuDevicePrimaryCtxRetain", 0))
allocate(2048)
call("cuMemFreeAsync", pooled, None)
call("cuCtxSynchronize")
call("cuMemPoolTrimTo", pool, c_size_t(0))
tell()
"""
    before, after, reset, again = held(program)
    assert before == after == CONTEXT_MIB + 1024 + 512
    assert (reset, again) == (512, CONTEXT_MIB + 2048)


@pytest.mark.parametrize("end", ["cuCtxDestroy_v2", "cuCtxDestroy", "cuCtxDetach"])
def test_a_fault_in_one_context_leaves_others_alone_and_ends_with_its_own_which_tells_it_again(held, end):
    program = f"""
contexts = [made("cuCtxCreate_v2", 0, 0) for _ in range(2)]
allocate(1024)
fails()
tell()
call("cuCtxSetCurrent", contexts[0])
allocate(512)
call("cuCtxSynchronize")
call("cuCtxSetCurrent", contexts[1])
assert code("{end}", contexts[1]) == {FAULT}
tell()
"""
    assert held(program) == [2 * CONTEXT_MIB + 1024, CONTEXT_MIB + 512]


def test_a_context_with_a_fault_ends_with_its_last_use(held):
    program = f"""
context = made("cuCtxCreate_v2", 0, 0)
call("cuCtxAttach", byref(c_void_p()), 0)
fails()
for _ in range(2):
    assert code("cuCtxDetach", context) == {FAULT}
    tell()
"""
    assert held(program) == [CONTEXT_MIB, 0]


def test_a_green_context_with_a_fault_ends_the_primary_one_that_it_alone_kept_open(held):
    program = f"""
green = made("cuGreenCtxCreate", None, 0, 1)
call("cuCtxSetCurrent", made("cuCtxFromGreenCtx", green))
allocate(1024)
fails()
tell()
assert code("cuGreenCtxDestroy", green) == {FAULT}
tell()
"""
    assert held(program) == [CONTEXT_MIB + 1024, 0]
