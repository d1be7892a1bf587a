"""A simulated node for tests: its file, its state and the environment of programs that use it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
BUILD = ROOT / "native" / "build" / "sim"
A10 = ROOT / "tests" / "guide" / "gpus-a10.yaml"
TRIES = 8
Measured = TypeVar("Measured")


def attempts(measure: Callable[[], Measured], fair: Callable[[Measured], bool]) -> list[Measured]:
    """Measure again until a result is FAIR, at most TRIES times; all results, the fair one last.

    For what a busy machine keeps programs from: it gives them less than they may take, never more.
    """
    results: list[Measured] = []
    while not results or (len(results) < TRIES and not fair(results[-1])):
        results.append(measure())
    return results


def eventually(measure: Callable[[], Measured], fair: Callable[[Measured], bool]) -> Measured:
    """The first result that is FAIR; the last one when none was for a minute."""
    deadline = time.monotonic() + 60
    while not fair(result := measure()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return result


class SimulatedNode:
    """One simulated node; programs started through it share its cards."""

    def __init__(self, folder: Path, config: str) -> None:
        self.file = folder / "gpus.yaml"
        self.file.write_text(config)
        self.environment = {
            **os.environ,
            "HAMI_SIM_FILE": str(self.file),
            "HAMI_SIM_STATE": str(folder / "state"),
            "LD_LIBRARY_PATH": str(BUILD),
        }

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start one of the built programs."""
        program = str(BUILD / command[0])
        return subprocess.Popen(
            [program, *command[1:]],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one of the built programs to its end."""
        process = self.start(*command, **environment)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def python(self, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python code that loads the simulated libraries by name."""
        return subprocess.run(
            [sys.executable, "-c", code],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def query(self, field: str) -> list[str]:
        """One field of nvidia-smi, one entry for each card, without units."""
        result = self.run("nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits")
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    def hold(self, size: str, *options: str) -> subprocess.Popen[str]:
        """A program that holds `size` of a card until it is killed; returns when it holds it."""
        process = self.start("hami-fill", "--total", size, "--hold", "3600", *options)
        assert process.stdout
        for line in process.stdout:
            if line.strip() == "OK":
                return process
        raise AssertionError(f"could not hold {size}")

    def end(self, process: subprocess.Popen[str]) -> None:
        """SIGKILL, and no trace of the process left."""
        process.kill()
        process.communicate()

    def wait_for(self, field: str, expected: str) -> None:
        """Wait until the first card's field has the value."""
        until(
            lambda: self.query(field)[0] == expected, lambda: f"{field} {expected}, not {self.query(field)}"
        )
