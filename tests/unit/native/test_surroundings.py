"""What a program does to itself, its descriptors, its root and its environment does not rid it of its limit.

By a driver that needs nothing of all that, so that only the limiter could be in the way.
"""

import shutil
import subprocess
import sys

import pytest

from tests.unit.native.in_share import ends
from tests.unit.native.simulated import ROOT

pytestmark = pytest.mark.native

BEGIN = """
import ctypes, os, resource, signal, sys, time
libc, driver = ctypes.CDLL(None, use_errno=True), ctypes.CDLL("libcuda.so.1")
shares = os.environ["HAMI_SHARES_DIR"]

def take():
    "6 GiB of the 10 there are."
    return driver.cuMemAlloc_v2(ctypes.byref(ctypes.c_uint64()), ctypes.c_size_t(6 << 30))

OPEN = {"x86_64": [2, 257, 437], "aarch64": [56, 437]}
FCNTL = {"x86_64": [72], "aarch64": [25]}

def refuse(calls, error):
    "A system call filter of the kind that sandboxes install."
    import platform, struct
    numbers = calls[platform.machine()]
    lines = [(0x20, 0, 0, 0)]
    lines += [(0x15, len(numbers) - i, 0, number) for i, number in enumerate(numbers)]
    lines += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | error)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    program = struct.pack("HxxxxxxP", len(lines), ctypes.addressof(code))
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
"""

DEEDS = {
    "another environment": 'os.environ["HAMI_SHARES_DIR"] = "/no/shares/here"',
    "no environment": "libc.clearenv()",
    "another root": 'os.chroot("/proc")',
    "shares that are gone": 'os.rename(shares, shares + ".gone")',
    "shares of somebody else": "os.chmod(shares, 0); os.setgid(65534); os.setuid(65534)",
    "no descriptors": "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
    "no address space": "resource.setrlimit(resource.RLIMIT_AS, (4096, 4096))",
    "nothing may be opened": "refuse(OPEN, 1)",
    "nothing is there to be opened": "refuse(OPEN, 2)",
    "nothing can be locked": "refuse(FCNTL, 38)",
    "descriptors closed by a daemon": "os.closerange(3, 4096); time.sleep(0.1)",
    "all descriptors given to others": "[os.dup2(1, other) for other in range(3, 32)]; time.sleep(0.1)",
    "all signals ignored": "[signal.signal(each, signal.SIG_IGN) for each in {*range(1, 32)} - {9, 19}]",
}


@pytest.fixture
def run(limited, tmp_path):
    """Run a program with a driver of a few functions under the limiter."""
    source = ROOT / "native" / "tests" / "small_driver.c"
    subprocess.run(
        ["gcc", "-DDRIVER", "-shared", "-fPIC", "-o", tmp_path / "libcuda.so.1", source], check=True
    )

    def start(shares, code):
        return ends(limited(shares, sys.executable, "-c", BEGIN + code, LD_LIBRARY_PATH=str(tmp_path)))

    return start


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
def test_what_a_program_did_before_it_used_the_card_gives_it_no_more_than_its_share(share, run, deed):
    code, out, err = run(share, deed + "\ndriver.cuInit(0); print(take(), take())")
    assert (code, out) in [(0, "0 2\n"), (0, "2 2\n")], err
    assert len(err.splitlines()) == (out == "2 2\n"), err


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
def test_what_a_program_does_when_it_has_used_the_card_gives_it_no_more_than_its_share(share, run, deed):
    code, out, err = run(share, "driver.cuInit(0); print(take())\n" + deed + "\nprint(take())")
    assert (code, out) == (0, "0\n2\n"), err
    assert len(err.splitlines()) <= 1, err


def test_a_sandbox_without_locks_is_named_as_the_reason(share, run):
    _, out, err = run(share, "refuse(FCNTL, 38); driver.cuInit(0); print(take())")
    assert (out, err.rstrip().rpartition("(")[2]) == ("2\n", "Function not implemented)")


def test_a_driver_that_is_opened_by_its_path_is_limited_where_no_other_is_to_be_found(
    share, run, limited, tmp_path
):
    elsewhere = shutil.move(tmp_path / "libcuda.so.1", tmp_path / "driver.so")
    code = BEGIN.replace("libcuda.so.1", str(elsewhere)) + "print(driver.cuInit(0), take(), take())"
    program = limited(share, sys.executable, "-c", code, LD_LIBRARY_PATH="")
    assert ends(program) == (0, "0 0 2\n", "")


def test_a_driver_that_does_not_begin_is_gone_when_it_is_closed_and_another_one_is_limited(
    share, run, tmp_path
):
    """As CUDA.jl tries a newer driver that it brings along: where it stays loaded, there is no other."""
    (tmp_path / "newer").mkdir()
    shutil.copy(tmp_path / "libcuda.so.1", tmp_path / "newer")
    code, out, err = run(
        share,
        f"""
import _ctypes
def is_loaded(path):
    with open("/proc/self/maps") as maps:
        return path in maps.read()
_ctypes.dlclose(driver._handle)
newer = ctypes.CDLL("{tmp_path}/newer/libcuda.so.1")
newer.cuMemAlloc_v2
print(newer.cuInit(1), is_loaded("newer/libcuda.so.1"))
_ctypes.dlclose(newer._handle)
driver = ctypes.CDLL("{tmp_path}/libcuda.so.1")
print(is_loaded("newer/libcuda.so.1"), driver.cuInit(0), take(), take())
""",
    )
    assert (code, out, err) == (0, "1 True\nFalse 0 0 2\n", "")


def test_a_driver_that_is_closed_after_a_look_and_opened_again_elsewhere_is_found_there(share, run):
    code, out, err = run(
        share,
        """
import _ctypes
def ranges():
    with open("/proc/self/maps") as maps:
        return [line.split()[0].split("-") for line in maps if "libcuda.so.1" in line]
driver.cuInit
for _ in range(2):
    where = [(int(start, 16), int(end, 16)) for start, end in ranges()]
    _ctypes.dlclose(driver._handle)
    for start, end in where if not ranges() else []:
        libc.mmap(ctypes.c_void_p(start), ctypes.c_size_t(end - start), 0, 0x32, -1, ctypes.c_long(0))
    driver = ctypes.CDLL("libcuda.so.1")
print(driver.cuInit(0), take(), take())
""",
    )
    assert (code, out, err) == (0, "0 0 2\n", "")


def test_a_thread_that_is_cancelled_in_a_call_of_the_driver_keeps_no_other_from_it(share, run):
    code, out, err = run(
        share,
        """
found, thread = ctypes.c_uint64(), ctypes.c_uint64()
driver.cuInit(0)
signal.alarm(30)
for call in driver.cuDevicePrimaryCtxRetain, driver.cuMemPoolTrimTo, driver.cuDeviceGraphMemTrim:
    assert libc.pthread_create(ctypes.byref(thread), None, call, ctypes.byref(found)) == 0
    assert libc.pthread_cancel(thread) == 0 and libc.pthread_join(thread, None) == 0
    print(call(ctypes.byref(found), 0))
""",
    )
    assert (code, out, err) == (0, "0\n0\n0\n", "")


def test_a_tool_may_make_calls_from_within_those_of_the_program(share, run):
    """As those that the driver tells of each call do when it begins or ends."""
    code, out, err = run(
        share,
        """
found = ctypes.c_void_p()
driver.cuInit(0)
driver.cuMemFree_v2(ctypes.c_uint64(1))  # so that waiting has a look at the pools
print(driver.cuDevicePrimaryCtxRetain(ctypes.byref(found), 0), driver.cuMemPoolTrimTo(found, 0))
print(driver.cuDeviceGraphMemTrim(0))
""",
    )
    assert (code, out, err) == (0, "0 0\n0\n", "")
