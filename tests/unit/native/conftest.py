"""What several native tests start with."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hami_dra import native_files
from tests.unit.native.compute import Node
from tests.unit.native.in_share import GIB, add_share, oracle
from tests.unit.native.simulated import ROOT

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="session")
def programs() -> Path:
    """The C test programs and the wrong limiters, built with the host's compiler."""
    flags = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS")}
    command = ["make", "-j2", "--silent", "-C", str(ROOT / "native"), "tests", "OUT=build/check", "CC=gcc"]
    built = subprocess.run(command, env=flags, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return ROOT / "native" / "build" / "check" / "tests"


@pytest.fixture
def by_the_driver(programs: Path, tmp_path: Path) -> Callable[[], tuple[list[int], int]]:
    """The most that each group of processes held at any instant, and what is held of the only card now."""

    def ask() -> tuple[list[int], int]:
        *most, held = oracle(programs, tmp_path / "state")
        return most, held

    return ask


@pytest.fixture
def prompt() -> Iterator[None]:
    """What the test starts goes before the other work of the machine, where that is allowed."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    yield
    os.setpriority(os.PRIO_PROCESS, 0, before)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """Folder with one share of 10 GiB of the guide's card."""
    return add_share(tmp_path / "shares", "one", 10 * GIB)


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Start]:
    """Start a program of the simulated driver under the limiter; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(shares: Path, program: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        sim = native_files.find("sim/libcuda.so.1").parent
        path = sim / program if (sim / program).exists() else program
        process = subprocess.Popen(
            [path, *map(str, arguments)],
            env={
                "PATH": os.environ["PATH"],
                "LD_LIBRARY_PATH": str(sim),
                "LD_PRELOAD": str(native_files.find("libvgpu.so")),
                "HAMI_SIM_FILE": "tests/guide/gpus-a10.yaml",
                "HAMI_SIM_STATE": str(tmp_path / "state"),
                "HAMI_SHARES_DIR": str(shares),
                **environment,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node with one simulated card, on which shares compute."""
    simulated = Node(tmp_path)
    yield simulated
    simulated.close()
