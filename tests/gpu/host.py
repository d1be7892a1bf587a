"""This machine's card, and programs on it: without a limiter, in a container with ours, or with a peer's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hami_dra import native_files
from hami_dra.model import ledger
from hami_dra.model.reading import DriverProcess
from hami_dra.observe import ledgers
from hami_dra.observe.audit import grouped
from hami_dra.observe.excess import Excesses
from hami_dra.observe.processes import TenantProcess
from hami_dra.observe.shares import NodeShare
from tests.bench.frame import limiter_environment, peer_environment

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 90
QUERY = ("nvidia-smi", "--query-gpu=uuid,name,driver_version,memory.total", "--format=csv,noheader,nounits")


class NoGpuError(Exception):
    """There is nothing to test on; the text says why."""


@dataclass(frozen=True)
class Container:
    """What programs of one container have in their environment."""

    name: str
    environment: Mapping[str, str]


class Host:
    """The first card of this machine, or a simulated one. Shares are folders below FOLDER.

    `seconds` is how long one piece of work is looked at, `limits` the core limits that are tried, in percent,
    `peer` another limiter that is measured beside ours.
    """

    def __init__(
        self,
        folder: Path,
        simulated: Path | None,
        *,
        seconds: float,
        limits: tuple[int, ...],
        peer: Path | None,
    ) -> None:
        self.folder = folder
        self.shares = folder / "shares"
        self.shares.mkdir()
        self.simulated = simulated is not None
        self.seconds, self.limits, self.peer = seconds, limits, peer
        self.torch = not simulated and find_spec("torch") is not None
        self._lengths: dict[str, float] = {}
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
    def share(self, name: str, *, memory: int = 0, cores: int = 0) -> Iterator[Container]:
        """A share in a container of its own; `memory` 0 is half of the card."""
        own = self.shares / name
        own.mkdir()
        (own / "ledger").write_bytes(bytes(ledger.SIZE))
        limits = f"version=1\nshare={name}\ndevice={self.uuid}\nmemory={memory or self.memory // 2}\n"
        (own / "limits").write_text(f"{limits}cores={cores}\n")
        container = self.folder / f"container-{name}"
        container.mkdir()
        (container / name).symlink_to(own)
        try:
            yield Container(name, limiter_environment(container))
        finally:
            for path in (container / name, own / "ledger", own / "limits"):
                path.unlink()
            container.rmdir()
            own.rmdir()

    @contextmanager
    def peer_container(self, name: str, *, memory: int = 0, cores: int = 0) -> Iterator[Container]:
        """The same with the peer's limiter."""
        assert self.peer
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            limit = memory or self.memory // 2
            yield Container(name, peer_environment(self.peer, limit, cores, Path(folder)))

    def held(self, container: Container) -> int:
        """Bytes that the share's ledger tells of the living."""
        return ledgers.read(self.shares / container.name / "ledger").used

    def driver_bytes(self, pid: int) -> int:
        """Bytes that the driver says that a process holds; 0 for one that it does not list."""
        return sum(each.memory for each in self.driver_processes() if each.pid == pid)

    def driver_processes(self) -> list[DriverProcess]:
        """The processes that the driver lists."""
        query = ("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")
        rows = (line.split(",") for line in self.run(None, *query).splitlines() if line.strip())
        return [DriverProcess(self.uuid, int(pid), int(mib) << 20) for pid, mib in rows]

    def book(self, container: Container) -> None:
        """Let the node's agent look until it books what processes hold beyond their ledger."""
        path = self.shares / container.name / "ledger"
        excesses, wanted = Excesses(), None
        while wanted is None:
            listed = self.driver_processes()
            shares = [NodeShare(container.name, self.uuid, 0, 0, False, False, ledgers.read(path))]
            tenants = [
                TenantProcess(each.uuid, each.pid, 0, each.pid, each.memory, "", "") for each in listed
            ]
            groups = grouped(tenants, {"": shares}.__getitem__)
            wanted = excesses.round(groups, self.driver_processes())
        ledgers.book(path, wanted.get(container.name, []))

    def start(self, container: Container | None, *command: str, **more: str) -> subprocess.Popen[str]:
        """Start a program in CONTAINER, or without a limiter."""
        environment = self._environment | more | dict(container.environment if container else {})
        # Looked up in the changed PATH, which subprocess itself does not search; env becomes the program.
        return subprocess.Popen(
            ["env", *command],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, container: Container | None, *command: str, **more: str) -> str:
        """Run a program to its end; its output. RuntimeError with its last words when it fails."""
        return _finish(self.start(container, *command, **more))

    def start_python(self, container: Container | None, code: str) -> subprocess.Popen[str]:
        """Start CODE, in which `card` is the card."""
        code = f"from tests.gpu.cuda import *\ncard = Card()\n{code}"
        return self.start(container, sys.executable, "-X", "faulthandler", "-c", code)

    def python(self, container: Container | None, code: str) -> str:
        """Run CODE, in which `card` is the card."""
        return _finish(self.start_python(container, code))

    def told(self, process: subprocess.Popen[str]) -> str:
        """The next line of a program. RuntimeError with its last words when there is none."""
        assert process.stdout
        return process.stdout.readline().strip() or _finish(process)

    def work(self, container: Container | None, kind: str, seconds: float) -> subprocess.Popen[str]:
        """Start a program of tests/gpu/work.py."""
        options = ("--seconds", str(seconds), "--loops-of-us", str(self.loops_of_us))
        length = ("--length-us", str(self.length(kind)))
        return self.start(container, sys.executable, "-m", "tests.gpu.work", kind, *options, *length)

    def length(self, kind: str) -> float:
        """How long a piece of work takes when nothing is in its way, in microseconds; 0: as long as it says.

        To be found with the card to oneself; a simulated card believes what it is told.
        """
        if self.simulated:
            return 0.0
        if kind not in self._lengths:
            alone = ("--alone", "--loops-of-us", str(self.loops_of_us))
            said = self.run(None, sys.executable, "-m", "tests.gpu.work", kind, *alone)
            self._lengths[kind] = float(json.loads(said.splitlines()[-1])["length_us"])
        return self._lengths[kind]


def part(process: subprocess.Popen[str]) -> float:
    """The part of the card's time that a program of `Host.work` got. RuntimeError when it failed."""
    said: dict[str, Any] = json.loads(_finish(process).splitlines()[-1])
    return float(said["device_share"])


def _finish(process: subprocess.Popen[str]) -> str:
    """Wait for a program; its output. RuntimeError with its last words when it failed or took too long."""
    try:
        out, err = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise RuntimeError(f"not done in {TIMEOUT_S} s; {_last_words(out, err)}") from None
    if process.returncode:
        raise RuntimeError(f"exit {process.returncode}; {_last_words(out, err)}")
    return out.strip()


def _last_words(out: str, err: str) -> str:
    return " | ".join((out + err).strip().splitlines()[-5:]) or "it said nothing"
