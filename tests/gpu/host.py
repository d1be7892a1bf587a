"""This machine's card, and programs on it with and without the limiter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hami_dra import native_files
from hami_dra.model import ledger
from hami_dra.node.arbiter_loop import Arbiter

ROOT = Path(__file__).parents[2]
QUERY = ("nvidia-smi", "--query-gpu=uuid,name,driver_version,memory.total", "--format=csv,noheader,nounits")


class NoGpuError(Exception):
    """There is nothing to test on; the text says why."""


class Host:
    """The first card of this machine, or a simulated one. Shares are folders below FOLDER."""

    def __init__(self, folder: Path, simulated: Path | None) -> None:
        self.shares = folder / "shares"
        self.shares.mkdir()
        self.simulated = simulated is not None
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "0"}
        if simulated:
            sim = native_files.find("sim/libcuda.so.1").parent
            self._environment |= {
                "LD_LIBRARY_PATH": str(sim),
                "PATH": f"{sim}:{os.environ['PATH']}",
                "HAMI_SIM_FILE": str(simulated),
                "HAMI_SIM_STATE": str(folder / "state"),
            }
        try:
            said = self.run(None, *QUERY)
        except (OSError, RuntimeError) as problem:
            raise NoGpuError(f"nvidia-smi does not answer ({problem}); see `hami doctor`") from problem
        self.uuid, self.name, self.driver, mib = (field.strip() for field in said.splitlines()[0].split(","))
        self.memory = int(mib) << 20
        self.loops_of_us = float(self.python(None, "print(card.calibrate())"))

    def describe(self) -> str:
        """Machine class, for the results page."""
        kind = "SIMULATED, a rehearsal: " if self.simulated else ""
        return f"{kind}{self.name}, driver {self.driver}, {self.memory >> 20} MiB, {os.cpu_count()} CPUs"

    @contextmanager
    def share(self, name: str, *, memory: int = 0, cores: int = 0) -> Iterator[str]:
        """A share in a container of its own; `memory` 0 is half of the card."""
        own = self.shares / name
        own.mkdir()
        (own / "ledger").write_bytes(bytes(ledger.SIZE))
        limits = f"version=1\nshare={name}\ndevice={self.uuid}\nmemory={memory or self.memory // 2}\n"
        (own / "limits").write_text(f"{limits}cores={cores}\n")
        container = self.shares.parent / f"container-{name}"
        container.mkdir()
        (container / name).symlink_to(own)
        try:
            yield name
        finally:
            for path in (container / name, own / "ledger", own / "limits"):
                path.unlink()
            container.rmdir()
            own.rmdir()

    def held(self, share: str) -> int:
        """Bytes that the share's ledger tells."""
        return ledger.used((self.shares / share / "ledger").read_bytes())

    def start(self, share: str | None, *command: str, **more: str) -> subprocess.Popen[str]:
        """Start a program in the container of SHARE, or without the limiter."""
        environment = self._environment | more
        if share:
            environment |= {
                "LD_PRELOAD": str(native_files.find("libvgpu.so")),
                "HAMI_SHARES_DIR": str(self.shares.parent / f"container-{share}"),
            }
        # Looked up in the changed PATH, which subprocess itself does not search.
        return subprocess.Popen(
            ["env", *command],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, share: str | None, *command: str, **more: str) -> str:
        """Run a program to its end; its output. RuntimeError with its last words when it fails."""
        process = self.start(share, *command, **more)
        out, err = process.communicate(timeout=600)
        if process.returncode:
            raise RuntimeError(
                (err or out).strip().splitlines()[-1] if err or out else str(process.returncode)
            )
        return out.strip()

    def python(self, share: str | None, code: str) -> str:
        """Run CODE, in which `card` is the card."""
        return self.run(share, sys.executable, "-c", f"from tests.gpu.cuda import *\ncard = Card()\n{code}")

    def work(self, share: str | None, kind: str, seconds: float) -> subprocess.Popen[str]:
        """Start a program of tests/gpu/work.py."""
        options = ("--seconds", str(seconds), "--loops-of-us", str(self.loops_of_us))
        return self.start(share, sys.executable, "-m", "tests.gpu.work", kind, *options)

    @contextmanager
    def arbiter(self) -> Iterator[None]:
        """The node's agent at work."""
        arbiter, stop = Arbiter(self.shares), threading.Event()
        thread = threading.Thread(target=arbiter.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            arbiter.close()


def part(process: subprocess.Popen[str]) -> float:
    """The part of the card's time that a program of `Host.work` got. RuntimeError when it failed."""
    out, err = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(err.strip().splitlines()[-1])
    said: dict[str, Any] = json.loads(out.splitlines()[-1])
    return float(said["device_share"])
