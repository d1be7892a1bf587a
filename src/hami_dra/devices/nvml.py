"""NVML below a driver root, and what pynvml's answers have in common."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pynvml

from hami_dra.devices.driver_root import DriverRoot
from hami_dra.model.errors import DriverError

GONE = (pynvml.NVMLError_GpuIsLost, pynvml.NVMLError_Unknown, pynvml.NVMLError_ResetRequired)
"""What calls for a card fail with that fell off the bus or waits for a reset."""
MEMINFO = Path("/proc/meminfo")
_GIB = 1 << 30


class Memory(NamedTuple):
    """In bytes."""

    total: int
    used: int


@contextmanager
def started(root: DriverRoot) -> Iterator[None]:
    """NVML started for the block; what goes wrong in it is a DriverError that names the library.

    It is counted: while `nvidia_health` keeps it started, a start here is no work.
    """
    library = root.required_library("libnvidia-ml.so.1")
    try:
        # glibc answers pynvml's own load of "libnvidia-ml.so.1" with the library that has this SONAME.
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        pynvml.nvmlInit()
    except (OSError, pynvml.NVMLError) as problem:
        raise DriverError(f"NVML of {root.on_host(library)} does not start: {problem}") from problem
    try:
        yield
    except pynvml.NVMLError as problem:
        raise DriverError(f"NVML of {root.on_host(library)} failed: {problem}") from problem
    finally:
        pynvml.nvmlShutdown()


def memory(handle: Any, version: int | None = None) -> Memory:
    """Of a card or an instance. A card that works in the host's memory (GB10) has none to tell: it is the
    host's then, in whole GiB, for what a kernel keeps of it differs by version. Raises NVMLError."""
    try:
        found = pynvml.nvmlDeviceGetMemoryInfo(handle, version=version)
    except pynvml.NVMLError_NotSupported:
        known = {name: int(kib) << 10 for name, kib in re.findall(r"(\w+): +(\d+) kB", MEMINFO.read_text())}
        return Memory(known["MemTotal"] // _GIB * _GIB, known["MemTotal"] - known["MemAvailable"])
    return Memory(int(found.total), int(found.used))


def text(value: str | bytes) -> str:
    """A string of NVML: pynvml's older versions answer bytes."""
    return value.decode() if isinstance(value, bytes) else value
