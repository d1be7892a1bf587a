"""Killed at whichever write, or out of space from there on, the plugin finds back and leaves nothing over."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[3]
MEMORY = "/dev/shm"  # hundreds of attempts


def test_killed_or_without_space_before_and_after_every_write_the_next_plugin_converges() -> None:
    where = MEMORY if Path(MEMORY).is_dir() else None
    with tempfile.TemporaryDirectory(dir=where, prefix="hami-crash-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.crash_points", folder],
            cwd=CHECKOUT,
            env={"PYTHONPATH": "src:."},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["wrong"] == []
    calls = {name: {call.split()[0] for call in found} for name, found in report["points"].items()}
    assert calls["prepare"] == {
        *("open", "fchmod", "rename", "exchange", "unlink", "mkdir", "chmod", "posix_fallocate")
    }
    assert calls["unprepare"] == {"unlink", "rmdir", "open", "fchmod", "exchange"}
    assert sum(map(len, report["points"].values())) > 80
