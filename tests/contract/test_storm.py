"""Many claims through one plugin process: it grows in nothing. `HAMI_CYCLES=10000` for the whole storm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hami_dra.kube import RESOURCE_CLAIMS
from hami_dra.node.plugin import Config
from tests.contract.conftest import Add, Spawn
from tests.support.cards import claim, share
from tests.support.fake_kube import FakeKube
from tests.support.kube_server import serving
from tests.support.kubelet import Kubelet

pytestmark = pytest.mark.slow

CYCLES = int(os.environ.get("HAMI_CYCLES", "400"))
WARM_UP = 100
BYTES_A_CYCLE = 300
"""Above this, 10 000 cycles would be more than 3 MiB; below it, allocators breathe."""


def resident(pid: int) -> int:
    """Bytes of RSS."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) * 1024


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_memory_descriptors_and_threads_stay_as_they_are(
    spawn: Spawn, kube: FakeKube, folder: Path, config: Config, add: Add
) -> None:
    with serving(kube, folder):
        storm(spawn().pid, kube, config, add)


def storm(pid: int, kube: FakeKube, config: Config, add: Add) -> None:
    kubelet = Kubelet(config.registry)
    kubelet.register()

    def cycle(number: int) -> None:
        body = add(claim(f"c{number}", share("1Gi", "5"), share("1Gi", "5", "hami-gpu-1")))
        uid = body["metadata"]["uid"]
        assert kubelet.prepare(body)[uid].error == ""
        assert kubelet.unprepare(body)[uid].error == ""
        kube.delete(RESOURCE_CLAIMS, body["metadata"]["name"], "default")
        kube.calls.clear()
        kube.forget_history()

    for number in range(WARM_UP):
        cycle(number)
    before = resident(pid), descriptors(pid), threads(pid)
    for number in range(WARM_UP, WARM_UP + CYCLES):
        cycle(number)
    assert resident(pid) - before[0] <= max(2 << 20, BYTES_A_CYCLE * CYCLES)
    assert (descriptors(pid), threads(pid)) <= (before[1] + 2, before[2] + 1)
    assert not list((config.state / "shares").iterdir())
    assert not list(config.cdi.iterdir())
    kubelet.close()
