"""What NVML says of (simulated) cards: figures, processes, and a card that is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hami_dra import native_files
from tests.support.limited import A10, CONTEXT, ROOT, SimulatedShares

pytestmark = pytest.mark.native
GIB = 1024**3
OTHER = "GPU-00000000-0000-0000-0000-000000000002"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SimulatedShares]:
    made = SimulatedShares(tmp_path)
    yield made
    made.close()


def read(node: SimulatedShares, script: str) -> list[Any]:
    """Run SCRIPT, which prints JSON, in a process of its own with `readings` and `fault`."""
    library = node.state / "root/usr/lib64/libnvidia-ml.so.1"
    library.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(native_files.find("sim/libnvidia-ml.so.1"), library)
    head = f"""
        import dataclasses, json
        from pathlib import Path
        from hami_dra.devices.driver_root import DriverRoot
        from hami_dra.devices.nvidia_readings import NvidiaReadings
        root = Path({str(node.state / "root")!r})
        readings = NvidiaReadings(DriverRoot(root, root))
        def show(items):
            print(json.dumps([dataclasses.asdict(item) for item in items]))
        def fault(line):
            Path({str(node.state / "sim.faults")!r}).write_text(line)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(script)],
        env=os.environ | node.environment | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_card_tells_its_memory_heat_and_power(node: SimulatedShares) -> None:
    node.hide("1Gi")
    ((card,),) = read(node, "show(readings.cards())")
    assert (card["uuid"], card["index"], card["product"]) == (A10, 0, "NVIDIA A10")
    assert card["memory_used"] == GIB + CONTEXT
    assert card["memory"] == 23028 * 1024**2
    assert card["healthy"]
    assert 20 < card["temperature"] < 100
    assert 5 < card["power"] < 400
    assert card["utilization"] == 0


def test_processes_are_told_with_what_they_hold(node: SimulatedShares) -> None:
    hidden = node.hide("1Gi")
    ((process,),) = read(node, "show(readings.processes())")
    assert process == {"uuid": A10, "pid": hidden.pid, "memory": GIB + CONTEXT}


def test_a_lost_card_stays_as_not_healthy_until_it_is_back(node: SimulatedShares) -> None:
    script = f"""
        show(readings.cards())
        fault("lost {A10}")
        show(readings.cards())
        show(readings.processes())
        fault("")
        show(readings.cards())
    """
    before, lost, processes, after = read(node, script)
    assert before[0]["healthy"]
    assert lost == [
        before[0] | dict.fromkeys(lost[0].keys() - {"uuid", "index", "product"}) | {"healthy": False}
    ]
    assert processes == []
    assert after[0]["healthy"]


def test_a_card_that_is_taken_out_leaves_the_others_what_is_theirs(tmp_path: Path) -> None:
    """NVML counts anew when a card is gone: the second card has the first one's number then."""
    one = (ROOT / "tests/guide/gpus-a10.yaml").read_text()
    entry = one.partition("gpus:\n")[2]
    second = entry.replace(A10, OTHER).replace("minor: 0", "minor: 1").replace("65:01", "66:01")
    (tmp_path / "two.yaml").write_text(one + second)
    node = SimulatedShares(tmp_path, tmp_path / "two.yaml")
    script = """
        import pynvml
        show(readings.cards())
        by_index = pynvml.nvmlDeviceGetHandleByIndex
        pynvml.nvmlDeviceGetCount = lambda: 1
        pynvml.nvmlDeviceGetHandleByIndex = lambda index: by_index(index + 1)
        show(readings.cards())
    """
    before, after = read(node, script)
    assert [(card["uuid"], card["index"], card["healthy"]) for card in before] == [
        (A10, 0, True),
        (OTHER, 1, True),
    ]
    assert [(card["uuid"], card["index"], card["healthy"]) for card in after] == [
        (A10, 0, False),
        (OTHER, 1, True),
    ]


def test_a_card_that_works_in_the_hosts_memory_has_as_much_as_the_host(node: SimulatedShares) -> None:
    """As a GB10, whose NVML answers that it does not support the question."""
    meminfo = node.state / "meminfo"
    meminfo.write_text("MemTotal:       125506464 kB\nMemFree: 1 kB\nMemAvailable:   100000000 kB\n")
    script = f"""
        import pynvml
        from hami_dra.devices import nvml
        from hami_dra.devices.nvidia import NvidiaBackend
        def unsupported(*_, **__):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        pynvml.nvmlDeviceGetMemoryInfo = unsupported
        nvml.MEMINFO = Path({str(meminfo)!r})
        backend = NvidiaBackend(DriverRoot(root, root))
        (card,) = backend.discover()
        offered = {{each.name: each.value for each in card.capacities}}
        print(json.dumps([offered["memory"], backend.health([card]), backend.usage([card])[0].memory]))
        show(readings.cards())
    """
    (memory, problems, used), (card,) = read(node, script)
    assert (memory, problems, used) == (119 * GIB, [], 25506464 * 1024)
    assert (card["memory"], card["memory_used"], card["healthy"]) == (memory, used, True)
