"""What several native tests start with."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.native.simulated import ROOT


@pytest.fixture(scope="session")
def programs() -> Path:
    """The C test programs and the wrong limiters, built with the host's compiler."""
    flags = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS")}
    command = ["make", "-j2", "--silent", "-C", str(ROOT / "native"), "tests", "OUT=build/check", "CC=gcc"]
    built = subprocess.run(command, env=flags, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return ROOT / "native" / "build" / "check" / "tests"


@pytest.fixture
def prompt() -> Iterator[None]:
    """What the test starts goes before the other work of the machine, where that is allowed."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    yield
    os.setpriority(os.PRIO_PROCESS, 0, before)
