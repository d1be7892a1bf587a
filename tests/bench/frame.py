"""What a subject gives and gets: rows of the table, and programs run in front of the same driver."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hami_dra import native_files
from hami_dra.model import ledger

ROOT = Path(__file__).parents[2]
CARDS = ROOT / "tests" / "guide" / "gpus-a10.yaml"
UUID = "GPU-f1c7d08c-ae21-13e7-0de0-9eb14ff71eaf"
GIB = 1 << 30

WITHOUT, OURS, PEER = "without", "ours", "peer"


@dataclass(frozen=True)
class Row:
    """One line of the table; figures as text with their unit, empty where there is none."""

    what: str
    goal: str = ""
    without: str = ""
    ours: str = ""
    peer: str = ""


def limiter_environment(shares: Path) -> dict[str, str]:
    """Our limiter, for a container whose shares are in this folder."""
    return {"LD_PRELOAD": str(native_files.find("libvgpu.so")), "HAMI_SHARES_DIR": str(shares)}


def peer_environment(library: Path, memory: int, cores: int, folder: Path) -> dict[str, str]:
    """HAMi-core, by its own variables: `memory` in bytes, `cores` in percent, its state in this folder."""
    return {
        "LD_PRELOAD": str(library),
        "CUDA_REDIRECT": str(library),
        "CUDA_DEVICE_MEMORY_LIMIT": f"{memory >> 20}m",
        "CUDA_DEVICE_SM_LIMIT": str(cores),
        "CUDA_DEVICE_MEMORY_SHARED_CACHE": str(folder / "cache"),
        "LIBCUDA_LOG_LEVEL": "0",
    }


class Bench:
    """One run: `full` asks for the long version, `peer` is a library to be preloaded in place of ours."""

    def __init__(self, folder: Path, *, full: bool, peer: Path | None) -> None:
        self.folder = folder
        self.full = full
        self.peer = peer

    @property
    def variants(self) -> tuple[str, ...]:
        """What is measured in this run, in the order of the table's columns."""
        return (WITHOUT, OURS, PEER) if self.peer else (WITHOUT, OURS)

    def environment(self, variant: str, share: Share) -> dict[str, str]:
        """The environment of a program in a container of SHARE, by VARIANT."""
        sim = native_files.find("sim/libcuda.so.1").parent
        common = {
            **os.environ,
            "LD_LIBRARY_PATH": str(sim),
            "HAMI_SIM_FILE": str(CARDS),
            "HAMI_SIM_STATE": str(self.folder / "state"),
            "PYTHONPATH": str(ROOT),
        }
        if variant == OURS:
            return common | limiter_environment(share.container)
        if variant == PEER:
            assert self.peer
            return common | peer_environment(self.peer, share.memory, share.cores, share.container)
        return common

    def start(self, variant: str, share: Share, *command: str, group: int = 0) -> subprocess.Popen[str]:
        """Start a program; GROUP: see `most_held`."""
        return subprocess.Popen(
            command,
            env=self.environment(variant, share) | {"HAMI_SIM_GROUP": str(group)},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def most_held(self, group: int) -> int:
        """The most bytes of the first card that programs of the group held at any instant of this run."""
        program, native = "build/check/tests/oracle", ROOT / "native"
        make = ["make", "--silent", "-C", native, "OUT=build/check", "CC=gcc", program]
        subprocess.run(make, check=True)
        command = [native / program, CARDS, self.folder / "state"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return int(said.splitlines()[group])

    def run(self, variant: str, share: Share, *command: str) -> str:
        """Run a program to its end; its output's last line. RuntimeError when it fails."""
        return finish(self.start(variant, share, *command))

    @contextmanager
    def share(self, *, memory: int = 10 * GIB, cores: int = 0, priority: int = 1) -> Iterator[Share]:
        """A container's share for as long as the block lasts; PRIORITY 0 is high."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            share = Share(Path(folder), memory, cores, priority)
            share.make()
            yield share


@dataclass(frozen=True)
class Share:
    """One share in a container of its own; `container` is what the limiter is shown."""

    container: Path
    memory: int
    cores: int
    priority: int = 1

    def make(self) -> None:
        """Lay out the folder as the node's plugin does."""
        own = self.container / "one"
        own.mkdir()
        (own / "ledger").write_bytes(bytes(ledger.SIZE))
        self.change(self.cores)

    def change(self, cores: int) -> None:
        """Write its limits, by rename as the node's plugin does."""
        fresh = self.container / "one" / ".limits"
        fresh.write_text(
            f"version=1\nshare=one\ndevice={UUID}\nmemory={self.memory}\ncores={cores}\n"
            f"priority={self.priority}\n"
        )
        fresh.rename(fresh.with_name("limits"))


def finish(process: subprocess.Popen[str], timeout: float = 300) -> str:
    """Wait for a program, and kill it if it takes too long; its last line that is not of a log."""
    try:
        out, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with {process.returncode}: {out.strip()[-200:]}")
    lines = [line for line in out.splitlines() if line and not line.startswith("[")]
    return lines[-1] if lines else ""


def calls() -> str:
    """The C program that times single calls, built when it is older than its source."""
    source = Path(__file__).with_name("calls.c")
    program = ROOT / "native" / "build" / "bench-calls"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        command = [
            "cc",
            "-O2",
            "-D_GNU_SOURCE",
            f"-I{ROOT}/native/include",
            str(source),
            "-o",
            str(program),
            "-ldl",
        ]
        subprocess.run(command, check=True)
    return str(program)


def median(values: list[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def percentile(values: list[float], percent: float) -> float:
    """The value below which PERCENT of VALUES lie, nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * len(ordered)))]


PYTHON = sys.executable
