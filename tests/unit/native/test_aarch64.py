"""The native code for the other architecture: it builds, with all warnings. Nothing is run."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.native.simulated import ROOT

pytestmark = [pytest.mark.native, pytest.mark.slow]

AARCH64 = 183
"""e_machine in an ELF's head."""


def test_the_limiter_and_the_simulated_driver_build_for_aarch64() -> None:
    out = ROOT / "native" / "build" / "aarch64"
    flags = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS")}
    compiler = f"{sys.executable} -m ziglang cc -target aarch64-linux-gnu.2.17"
    command = ["make", "--silent", "-C", str(ROOT / "native"), "all", "OUT=build/aarch64", f"CC={compiler}"]
    built = subprocess.run(
        [*command, f"PYTHON={sys.executable}"], env=flags, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    for library in ("libvgpu.so", "sim/libcuda.so.1", "sim/libnvidia-ml.so.1", "sim/nvidia-smi"):
        assert machine(out / library) == AARCH64
    exported = subprocess.run(
        ["objdump", "-T", out / "libvgpu.so"], capture_output=True, text=True, check=True
    ).stdout
    for version in ("GLIBC_2.17", "GLIBC_2.34"):
        assert any(version in line and line.endswith(" dlsym") for line in exported.splitlines()), exported


def machine(file: Path) -> int:
    """The architecture that an ELF is for."""
    (number,) = struct.unpack_from("<H", file.read_bytes(), 18)
    return int(number)
