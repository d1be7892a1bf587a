"""A node's share folders, and programs of the simulated driver in them: with the limiter, or past it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from hami_dra import native_files
from hami_dra.model import ledger

ROOT = Path(__file__).parents[2]
A10 = "GPU-f1c7d08c-ae21-13e7-0de0-9eb14ff71eaf"
"""UUID of the guide's card."""
CONTEXT = 256 * 1024**2
"""Bytes that a context of the simulated driver takes."""


class SimulatedShares:
    """STATE: a plugin's state folder. Programs that were started are ended by `close`."""

    def __init__(self, state: Path, sim_file: Path = ROOT / "tests/guide/gpus-a10.yaml") -> None:
        self.state = state
        sim = native_files.find("sim/libcuda.so.1").parent
        self._programs = sim
        self.environment = {
            "PATH": os.environ["PATH"],
            "LD_LIBRARY_PATH": str(sim),
            "HAMI_SIM_FILE": str(sim_file),
            "HAMI_SIM_STATE": str(state / "sim"),
        }
        self._running: list[subprocess.Popen[str]] = []

    def add(self, share_id: str, memory: int = 10 * 1024**3, cores: int = 50, uuid: str = A10) -> Path:
        """Make the folder of a share."""
        folder = self.state / "shares" / share_id
        folder.mkdir(parents=True)
        limits = {"version": 1, "share": share_id, "device": uuid, "memory": memory, "cores": cores}
        (folder / "limits").write_text("".join(f"{key}={value}\n" for key, value in limits.items()))
        (folder / "ledger").write_bytes(bytes(ledger.SIZE))
        return folder

    def hold(self, share_id: str, size: str) -> subprocess.Popen[str]:
        """A process that holds SIZE under the limiter; returns when it has it."""
        alone = self.state / "containers" / share_id
        alone.mkdir(parents=True, exist_ok=True)
        if not (alone / share_id).exists():
            (alone / share_id).symlink_to(self.state / "shares" / share_id)
        limiter = {"LD_PRELOAD": str(native_files.find("libvgpu.so")), "HAMI_SHARES_DIR": str(alone)}
        return self._start(limiter, size)

    def hide(self, size: str) -> subprocess.Popen[str]:
        """A process that holds SIZE of the card past the limiter."""
        return self._start({}, size)

    def end(self, process: subprocess.Popen[str]) -> None:
        """SIGKILL."""
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()

    def close(self) -> None:
        """End what was started."""
        for process in self._running:
            self.end(process)

    def _start(self, more: dict[str, str], size: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [self._programs / "hami-fill", "--total", size, "--hold", "3600"],
            env=self.environment | more,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._running.append(process)
        assert process.stdout
        outcome = next(line for line in process.stdout if line.startswith(("OK", "refused")))
        assert outcome.strip() == "OK", f"could not hold {size}: {outcome}"
        return process
