"""The native code for the other architecture: it builds with all warnings, and limits in an emulator."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.native.in_share import CONTEXT_MIB
from tests.unit.native.simulated import A10, ROOT

pytestmark = [pytest.mark.native, pytest.mark.slow]

AARCH64 = 183
"""e_machine in an ELF's head."""
LIBC = Path("/usr/aarch64-linux-gnu")
BUILD = ROOT / "native" / "build" / "aarch64"

emulated = pytest.mark.skipif(
    not shutil.which("qemu-aarch64") or not (LIBC / "lib" / "libc.so.6").exists(),
    reason="needs qemu-user and libc6-arm64-cross (Debian packages)",
)


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """All of it, and the test programs that an emulator can run."""
    flags = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS")}
    compiler = f"{sys.executable} -m ziglang cc -target aarch64-linux-gnu.2.17"
    make = ["make", "-j2", "--silent", "-C", str(ROOT / "native"), "OUT=build/aarch64", f"CC={compiler}"]
    programs = [f"build/aarch64/tests/{name}" for name in ("policy", "lookup", "arguments", "unchanged")]
    for what in (["all"], programs):  # the first begins anew if the folder is another compiler's
        command = [*make, f"PYTHON={sys.executable}", *what]
        done = subprocess.run(command, env=flags, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_limiter_and_the_simulated_driver_build_for_aarch64() -> None:
    for library in ("libvgpu.so", "sim/libcuda.so.1", "sim/libnvidia-ml.so.1", "sim/nvidia-smi"):
        assert machine(BUILD / library) == AARCH64
    exported = subprocess.run(
        ["objdump", "-T", BUILD / "libvgpu.so"], capture_output=True, text=True, check=True
    ).stdout
    for version in ("GLIBC_2.17", "GLIBC_2.34"):
        assert any(version in line and line.endswith(" dlsym") for line in exported.splitlines()), exported


def machine(file: Path) -> int:
    """The architecture that an ELF is for."""
    (number,) = struct.unpack_from("<H", file.read_bytes(), 18)
    return int(number)


def emulate(
    shares: Path | None, program: str | Path, *arguments: object, driver: Path = BUILD / "sim"
) -> subprocess.CompletedProcess[str]:
    """Run a program of the build, or another; the limiter is preloaded when there are SHARES."""
    inside = {"LD_LIBRARY_PATH": driver, "LIMITER": BUILD / "libvgpu.so"}
    environment = {"PATH": os.environ["PATH"], "HAMI_SIM_FILE": str(A10)}
    if shares:
        inside["LD_PRELOAD"] = BUILD / "libvgpu.so"
        environment |= {"HAMI_SHARES_DIR": str(shares), "HAMI_SIM_STATE": str(shares.parent / "state")}
    settings = [word for key, value in inside.items() for word in ("-E", f"{key}={value}")]
    return subprocess.run(
        ["qemu-aarch64", "-L", LIBC, *settings, BUILD / program, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@emulated
def test_a_program_on_aarch64_gets_its_share_and_is_refused_more(share: Path) -> None:
    done = emulate(share, "sim/hami-fill", "--total", "11Gi")
    assert f"allocated {10240 - CONTEXT_MIB} MiB" in done.stdout, done.stderr
    assert "refused: CUDA_ERROR_OUT_OF_MEMORY" in done.stdout
    assert "/  10240MiB" in emulate(share, "sim/nvidia-smi").stdout
    free = emulate(share.parent / "none", "sim/hami-fill", "--total", "11Gi")
    assert "refused" not in free.stdout, free.stdout


@emulated
def test_what_a_child_takes_on_aarch64_is_free_when_it_has_ended(share: Path, tmp_path: Path) -> None:
    source, program = ROOT / "native" / "tests" / "small_driver.c", tmp_path / "program"
    compiler = (sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.17", "-o")
    subprocess.run([*compiler, program, source, "-ldl"], check=True)
    subprocess.run([*compiler, tmp_path / "libcuda.so.1", "-DDRIVER", "-shared", source], check=True)
    done = emulate(share, program, driver=tmp_path)
    assert (done.stdout, done.stderr) == ("0 0 2 0 0 0 0\n", "")


@emulated
@pytest.mark.parametrize(("program", "said"), [("lookup", "found"), ("arguments", "as the driver")])
def test_every_way_to_the_driver_leads_through_the_limiter_on_aarch64(
    share: Path, program: str, said: str
) -> None:
    done = emulate(share, f"tests/{program}")
    assert (done.returncode, done.stdout) == (0, f"{said}\n"), done.stderr


@emulated
def test_limits_ledger_budget_and_charges_keep_their_promises_on_aarch64(tmp_path: Path) -> None:
    done = emulate(None, "tests/policy", tmp_path)
    assert (done.returncode, done.stdout) == (0, "policy: as promised\n"), done.stderr


@emulated
def test_a_program_without_a_gpu_is_not_changed_on_aarch64(share: Path) -> None:
    plain = emulate(None, "tests/unchanged", "alone")
    limited = emulate(share, "tests/unchanged", "alone")
    assert plain.returncode == limited.returncode == 7, plain.stderr
    assert (limited.stdout, limited.stderr) == (plain.stdout, plain.stderr)
