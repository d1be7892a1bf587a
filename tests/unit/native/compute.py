"""Programs that compute under the limiter on the simulated driver, and what they got."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hami_dra import native_files
from hami_dra.model import ledger
from tests.unit.native.in_share import UUID
from tests.unit.native.simulated import A10, ROOT

FOREVER = 600.0


class Node:
    """A simulated node whose one card is shared; one share is one container here."""

    def __init__(self, folder: Path) -> None:
        self.shares = folder / "shares"
        self._containers = folder / "containers"
        self._state = folder / "state"
        self._programs: list[subprocess.Popen[str]] = []

    def close(self) -> None:
        """End every program that still runs."""
        for program in self._programs:
            end(program)

    def share(self, name: str, cores: int, **more: object) -> str:
        """Make a share, or change its limits as the node's plugin does: by rename."""
        own = self.shares / name
        if not own.exists():
            own.mkdir(parents=True)
            (own / "ledger").write_bytes(bytes(ledger.SIZE))
            inside = self._containers / name
            inside.mkdir(parents=True)
            (inside / name).symlink_to(own)
        lines = {"version": 1, "share": name, "device": UUID, "memory": 4 << 30, "cores": cores} | more
        fresh = own / ".limits"
        fresh.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        fresh.rename(own / "limits")
        return name

    def start(self, share: str | None, *command: str) -> subprocess.Popen[str]:
        """Start a program in the container of SHARE, or without the limiter."""
        sim = native_files.find("sim/libcuda.so.1").parent
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(sim),
            "HAMI_SIM_FILE": str(A10),
            "HAMI_SIM_STATE": str(self._state),
        }
        if share:
            environment["LD_PRELOAD"] = str(native_files.find("libvgpu.so"))
            environment["HAMI_SHARES_DIR"] = str(self._containers / share)
        program = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._programs.append(program)
        return program

    def work(self, share: str | None, kind: str, seconds: float) -> subprocess.Popen[str]:
        """Start a program that computes until SECONDS are over or `end`; returns when it does."""
        command = (sys.executable, "-m", "tests.gpu.work", kind, "--seconds", str(seconds))
        process = self.start(share, *command)
        assert process.stdout
        assert process.stdout.readline() == "started\n", process.communicate()[1]
        return process

    def python(self, share: str | None, code: str, *within: str) -> subprocess.CompletedProcess[str]:
        """Run CODE, in which `card` is the card, by a command or directly."""
        prologue = "import os, threading\nfrom tests.gpu.cuda import *\ncard = Card()\n"
        process = self.start(share, *within, sys.executable, "-c", prologue + code)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess((), process.returncode, out, err)

    def accounted(self, share: str) -> float:
        """Seconds of device time that the share's ledger tells."""
        return ledger.header((self.shares / share / "ledger").read_bytes()).compute_ns / 1e9

    def pace(self, share: str, seconds: float) -> float:
        """The fraction of the card that the share is charged for in the next SECONDS."""
        begin, before = time.monotonic(), self.accounted(share)
        time.sleep(seconds)
        return (self.accounted(share) - before) / (time.monotonic() - begin)

    def reaches(self, share: str, condition: Callable[[float], bool], seconds: float = 0.4) -> float:
        """The share's pace once it meets the condition; fails when it has not within two minutes."""
        deadline = time.monotonic() + 120
        while not condition(pace := self.pace(share, seconds)):
            assert time.monotonic() < deadline, f"{share} still goes at {pace:.3f}"
        return pace


def end(program: subprocess.Popen[str]) -> None:
    """SIGKILL, and nothing left of it."""
    program.kill()
    if program.stdout and not program.stdout.closed:
        program.communicate()


def result(process: subprocess.Popen[str]) -> dict[str, float]:
    """What a program of `Node.work` says at its end."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    said: dict[str, float] = json.loads(out.splitlines()[-1])
    return said
