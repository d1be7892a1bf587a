"""What programs find by name and version of drivers that are unlike the simulated one."""

import re
import subprocess
import sys

import pytest

from tests.unit.native.in_share import ends
from tests.unit.native.simulated import ROOT

pytestmark = pytest.mark.native

BEGIN = """
import ctypes, os
driver, limiter, libc = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL(os.environ["LD_PRELOAD"]), ctypes.CDLL(None)

def of_limiter(symbol):
    return ctypes.cast(limiter[symbol], ctypes.c_void_p).value
"""
PER_THREAD = 2


def before(name, number):
    """The version of a function before that of a number."""
    return name if number == "2" else f"{name}_v{int(number) - 1}"


ASKED = [
    ("cuMemAlloc", 12000, 0, "cuMemAlloc_v2"),
    ("cuMemAlloc", 3010, 0, "cuMemAlloc"),
    ("cuMemAllocAsync", 12000, 0, "cuMemAllocAsync"),
    ("cuMemAllocAsync", 12000, PER_THREAD, "cuMemAllocAsync_ptsz"),
    ("cuGraphInstantiate", 12000, 0, None),
    ("cuMemAlloc", 99000, 0, None),
    ("cuMemcpyHtoD", 12000, 0, None),
]
"""Name, version of CUDA, flags; what is found: a symbol of the limiter, or what the driver gave."""

NATIVE = ROOT / "native"
HOOKS = re.findall(r"^(?:CUDA|NVML)\((\w+),", (NATIVE / "src" / "hooks.def").read_text(), re.MULTILINE)
WRAPPED = re.findall(r"(cu\w+)_v(\d)$", "\n".join(HOOKS), re.MULTILINE)
SINCE = dict(
    re.findall(r"^SYMBOL\((\w+), (\d+)\)", (NATIVE / "sim" / "cuda_symbols.def").read_text(), re.MULTILINE)
)
ASKED += [
    each
    for name, number in WRAPPED
    if int(since := SINCE.get(symbol := f"{name}_v{number}", "0")) > 4000
    and name not in ("cuGraphInstantiate", "cuGetProcAddress")
    for each in ((name, int(since), 0, symbol), (name, int(since) - 10, 0, before(name, number)))
]
"""And each version that came after CUDA 4, with the one before it."""

SYMBOLS = [symbol for _, _, _, symbol in ASKED if symbol] + ["cuGraphInstantiate", "cuGraphInstantiate_v2"]


@pytest.fixture
def run(limited, share, tmp_path):
    """Run a program with a driver of a few functions, all of them with a version, under the limiter."""
    source = ROOT / "native" / "tests" / "small_driver.c"
    name = ("-Wl,-soname,libcuda.so.1", "-Wl,--default-symver")
    command = ["gcc", "-D_GNU_SOURCE", "-DDRIVER", "-shared", "-fPIC", *name, "-o", tmp_path / "libcuda.so.1"]
    subprocess.run([*command, source], check=True)

    def start(code):
        return ends(limited(share, sys.executable, "-c", BEGIN + code, LD_LIBRARY_PATH=str(tmp_path)))

    return start


def test_addresses_that_only_the_driver_knows_are_exchanged_by_name_and_version(run):
    code, out, err = run(
        f"""
for name, version, flags, symbol in {ASKED!r}:
    found = ctypes.c_void_p()
    rest = (version, ctypes.c_uint64(flags), None)
    assert driver.cuGetProcAddress_v2(name.encode(), ctypes.byref(found), *rest) == 0
    limiters = [each for each in {SYMBOLS!r} if of_limiter(each) == found.value]
    print(name, version, flags, limiters[0] if limiters else None)
"""
    )
    assert code == 0, err
    assert out.splitlines() == [" ".join(map(str, asked)) for asked in ASKED]


def test_a_version_of_a_function_is_the_limiters_where_the_driver_has_it(run):
    code, out, err = run(
        """
libc.dlvsym.restype = ctypes.c_void_p
libc.dlvsym.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
found = libc.dlvsym(driver._handle, b"cuMemAlloc_v2", b"libcuda.so.1")
print(found == of_limiter("cuMemAlloc_v2"), libc.dlvsym(driver._handle, b"cuMemAlloc_v2", b"other"))
print(libc.dlvsym(driver._handle, b"cuMemAlloc_v3", b"libcuda.so.1") is not None)
"""
    )
    assert (code, out) == (0, "True None\nTrue\n"), err


def test_what_a_driver_lacks_is_not_found(run):
    """A program that is linked to a newer one reaches the limiter's functions whatever this driver has."""
    code, out, err = run(
        f"""
for symbol in {HOOKS!r}:
    if not hasattr(driver, symbol):
        print(symbol, getattr(limiter, symbol)(*[ctypes.c_uint64(0)] * 12))
"""
    )
    assert code == 0, err
    told = [line.split() for line in out.splitlines()]
    assert len(told) > 100
    assert [each for each in told if each[1] != ("13" if each[0].startswith("nvml") else "500")] == []
