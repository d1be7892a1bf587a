"""Scenarios of dynamic MIG, simulated at NVML: `python -m tests.contract.dynamic_mig SCENARIO FOLDER`.

Each is a process of its own, see `tests.support.mig_node`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hami_dra.devices import nvidia_partitions
from hami_dra.devices.driver_root import DriverRoot
from hami_dra.devices.nvidia import NvidiaBackend
from hami_dra.node import inventory
from tests.support.cards import share
from tests.support.mig_host import A30
from tests.support.mig_node import (
    ALL,
    HALF,
    ONE_SIX,
    OTHER_HALF,
    Node,
    cut_by_hand,
    forget_instances,
    instances,
    partition,
)


def published(folder: Path) -> None:
    with Node(folder) as node:
        specs = node.slices(2)
        (counters,) = [spec["sharedCounters"] for spec in specs if "sharedCounters" in spec]
        (devices,) = [spec["devices"] for spec in specs if "devices" in spec]
        assert {spec["pool"]["resourceSliceCount"] for spec in specs} == {2}
        assert counters == [
            {"name": "hami-gpu-1", "counters": {f"slice-{at}": {"value": "1"} for at in range(4)}}
        ]
        names = [device["name"] for device in devices]
        assert names[:2] == ["hami-gpu-0", "hami-mig-1-1g-6gb-0"]
        assert "hami-gpu-1" not in names, "a card in MIG mode is never had whole beside its slices"
        half = devices[names.index(OTHER_HALF)]
        assert half["consumesCounters"] == [
            {"counterSet": "hami-gpu-1", "counters": {"slice-2": {"value": "1"}, "slice-3": {"value": "1"}}}
        ]
        assert not half.get("allowMultipleAllocations")
        assert half["capacity"]["memory"] == {"value": "12Gi"}
        assert half["attributes"]["profile"] == {"string": "2g.12gb"}
        assert "consumesCounters" not in devices[0]


def made_and_destroyed(folder: Path) -> None:
    with Node(folder) as node:
        first, second = node.claim("a", partition(OTHER_HALF)), node.claim("b", partition(ONE_SIX))
        assert instances() == []
        assert node.prepare(first) == ""
        assert instances() == [(2, 2, True)]
        nodes = node.device_nodes(first)
        assert nodes == ["/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap10", "/dev/nvidia-caps/nvidia-cap11"]
        assert node.prepare(first) == "", "again, as kubelet does"
        assert node.prepare(second) == ""
        assert instances() == [(1, 1, True), (2, 2, True)]
        assert node.unprepare(first) == ""
        assert instances() == [(1, 1, True)], "the other claim keeps its own"
        assert node.unprepare(first) == ""
        assert node.unprepare(second) == ""
        assert instances() == []
        assert not list((folder / "cdi").iterdir())


def beside_a_share(folder: Path) -> None:
    """The other card is shared under the limiter as ever."""
    with Node(folder) as node:
        body = node.claim("a", share("10Gi", "50"))
        assert node.prepare(body) == ""
        assert len(list((folder / "state/shares").iterdir())) == 1
        half = node.claim("b", partition(HALF))
        assert node.prepare(half) == ""
        assert len(list((folder / "state/shares").iterdir())) == 1, "an instance is held by the hardware"
        assert node.unprepare(half) == ""
        assert len(list((folder / "state/shares").iterdir())) == 1


def rebuilt(folder: Path) -> None:
    with Node(folder) as node:
        body = node.claim("a", partition(HALF))
        node.prepare(body)
    assert instances() == [(0, 2, True)], "a running Pod keeps it while the plugin is away"
    forget_instances()
    shutil.rmtree(folder / "cdi")
    with node:
        assert instances() == [(0, 2, True)]
        assert node.device_nodes(body)[0] == "/dev/nvidia1"
        assert node.unprepare(body) == ""
        assert instances() == []


def without_device_nodes(folder: Path) -> None:
    """The driver is slow to make them: no container may start without, and kubelet asks again."""
    with Node(folder) as node:
        body = node.claim("a", partition(HALF))
        (folder / "root/dev/nvidia-caps/nvidia-cap11").unlink()
        assert "/dev/nvidia-caps has no node for it yet" in node.prepare(body)
        (folder / "root/dev/nvidia-caps/nvidia-cap11").touch()
        assert node.prepare(body) == ""
        assert node.device_nodes(body)[2] == "/dev/nvidia-caps/nvidia-cap11"


def given_away_twice(folder: Path) -> None:
    with Node(folder) as node:
        first, second = node.claim("a", partition(HALF)), node.claim("b", partition(ALL))
        assert node.prepare(first) == ""
        said = node.prepare(second)
        assert "hami-mig-1-2g-12gb-0, which is given away as well, are cut from the same slices" in said
        assert instances() == [(0, 2, True)]


def cut_by_an_administrator(folder: Path) -> None:
    node = Node(folder)
    os.environ["LD_LIBRARY_PATH"] = ""
    NvidiaBackend(DriverRoot(folder / "root", Path("/"))).discover()  # loads the library
    cut_by_hand(1, 2, 2)
    with node:
        (spec,) = node.slices(1)
        assert [device["name"] for device in spec["devices"]] == ["hami-gpu-0", "hami-mig-1-1-0"]
        assert spec["devices"][1]["allowMultipleAllocations"] is True
        body = node.claim("a", share("10Gi", "50", device="hami-mig-1-1-0"))
        assert node.prepare(body) == ""
        assert node.unprepare(body) == ""
        assert instances() == [(2, 2, True)], "it is not ours to destroy"


def cut_by_hand_beside_ours(folder: Path) -> None:
    with Node(folder) as node:
        body = node.claim("a", partition(HALF))
        node.prepare(body)
        cut_by_hand(1, 2, 2)
        assert instances() == [(0, 2, True), (2, 2, True)]
        assert node.plugin
        node.plugin.watch.poll()
        offered = [device.name for device in node.plugin.watch.inventory.devices if device.shared]
        assert offered == ["hami-gpu-0", "hami-mig-1-2-0"], "a Pod's own instance is not for others to share"
        assert node.unprepare(body) == ""
        assert instances() == [(2, 2, True)]


def cut_by_hand_and_restarted(folder: Path) -> None:
    """What is cut by hand takes the card away from us, and no Pod's instance from it."""
    with Node(folder) as node:
        body = node.claim("a", partition(HALF))
        node.prepare(body)
    cut_by_hand(1, 2, 2)
    with node:
        assert instances() == [(0, 2, True), (2, 2, True)]
        other = node.claim("b", share("1Gi", "5"))
        assert node.prepare(other) == ""
        assert instances() == [(0, 2, True), (2, 2, True)]
        assert node.unprepare(body) == ""


def left_by_a_crash(folder: Path) -> None:
    """Between the note and the instance, between the instance and its compute instance."""
    with Node(folder) as node:
        body = node.claim("a", partition(HALF))
        node.prepare(body)
    forget_instances(half=True)
    noted = json.loads(node.note.read_text())
    node.note.write_text(json.dumps([*noted, [A30["uuid"], 14, 3]]))
    with node:
        assert instances() == [(0, 2, True)]
        assert json.loads(node.note.read_text()) == noted


def note_after_a_power_cut(folder: Path) -> None:
    """Nothing is synced, so that any file may be empty or full of zeros then. The instances are gone."""
    with Node(folder) as node:
        body = node.claim("a", partition(HALF))
        assert node.prepare(body) == ""
    for content in (b"", bytes(40), b"{}", b"[1]"):
        forget_instances()
        node.note.write_bytes(content)
        with node:
            assert instances() == [(0, 2, True)]
    with node:
        assert node.unprepare(body) == ""
        assert instances() == []


def lost(folder: Path) -> None:
    """The card falls off under a claim: claims of the other card come and go all the same."""
    with Node(folder) as node:
        gone = node.claim("gone", partition(HALF))
        early, late = (node.claim(name, share("1Gi", "5")) for name in ("early", "late"))
        assert [node.prepare(gone), node.prepare(early)] == ["", ""]
        (folder / "sim.faults").write_text(f"lost {A30['uuid']}\n")
        assert node.prepare(late) == ""
        assert node.unprepare(early) == ""
        assert node.prepare(gone) != ""
        assert node.unprepare(gone) == ""
        assert node.unprepare(late) == ""


def cannot_be_made(folder: Path) -> None:
    """Somebody cuts the card in the very place of a claim: only that claim waits, on this card as well."""
    inventory.POLL_S = 3600.0  # the plugin has not looked since
    with Node(folder) as node:
        stuck = node.claim("stuck", partition(HALF))
        early, late = (node.claim(name, share("1Gi", "5")) for name in ("early", "late"))
        beside = node.claim("beside", partition(OTHER_HALF))
        assert node.prepare(early) == ""
        cut_by_hand(1, 0, 2)
        assert "not ours" in node.prepare(stuck)
        assert node.prepare(late) == ""
        assert node.prepare(beside) == ""
        assert instances() == [(0, 2, True), (2, 2, True)]
        assert node.unprepare(early) == ""
        assert node.unprepare(beside) == ""
        assert instances() == [(0, 2, True)]
        assert "not ours" in node.prepare(stuck)
        assert node.unprepare(stuck) == ""
        assert instances() == [(0, 2, True)]


def destroyed_while_looked_for(folder: Path) -> None:
    """A claim is given back while the plugin asks the driver what there is."""
    inventory.POLL_S = 3600.0
    with Node(folder) as node:
        body = node.claim("a", partition(HALF))
        node.prepare(body)
        assert node.plugin
        existing = nvidia_partitions._existing

        def and_then_destroyed(handle: Any, card: str) -> Iterator[Any]:
            found = list(existing(handle, card))
            nvidia_partitions._existing = existing
            assert node.unprepare(body) == ""
            return iter(found)

        nvidia_partitions._existing = and_then_destroyed
        node.plugin.watch.poll()
        assert instances() == []
        assert not node.plugin.watch.inventory.problems


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
