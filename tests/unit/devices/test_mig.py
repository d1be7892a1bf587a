"""A card in MIG mode is published by its instances, simulated at NVML; never whole beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hami_dra.devices import nvidia_edits
from hami_dra.devices.driver_root import DriverRoot
from hami_dra.devices.nvidia_mig import Instance
from hami_dra.devices.vendor_cdi import VendorCdi
from tests.unit.devices.test_simulated import GUIDE, hami_slice

GI = 1 << 30


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated cards' memory goes with the test."""
    monkeypatch.setenv("HAMI_SIM_STATE", str(tmp_path / "state"))


def published(tmp_path: Path, instances: str) -> list[dict[str, Any]]:
    """The devices of a node with the guide's A10 and a card in MIG mode with these instances."""
    body = yaml.safe_load((GUIDE / "gpus-a10.yaml").read_text())
    (card,) = body["gpus"]
    split = card | {
        "productName": "NVIDIA A30",
        "uuid": "GPU-00000000-0000-0000-0000-0000000000a0",
        "minor": 1,
        "memoryMiB": 24576,
        "pciBusId": "0000:66:01.0",
        "migDevices": instances,
    }
    body["gpus"].append(split)
    path = tmp_path / "gpus.yaml"
    path.write_text(yaml.safe_dump(body))
    done = hami_slice(path)
    assert done.returncode == 0, done.stderr
    devices: list[dict[str, Any]] = yaml.safe_load(done.stdout)["spec"]["devices"]
    return devices


@pytest.mark.native
def test_instances_are_shared_like_cards_and_their_card_is_not_there(tmp_path: Path) -> None:
    devices = published(tmp_path, "1g.6gb 1g.6gb 2g.12gb")
    assert [device["name"] for device in devices] == [
        "hami-gpu-0",
        "hami-mig-1-1-0",
        "hami-mig-1-2-0",
        "hami-mig-1-3-0",
    ]
    half = devices[3]
    attributes = {name: next(iter(value.values())) for name, value in half["attributes"].items()}
    assert attributes["type"] == "hami-mig"
    assert attributes["profile"] == "2g.12gb"
    assert attributes["parentUUID"] == "GPU-00000000-0000-0000-0000-0000000000a0"
    assert attributes["uuid"].startswith("MIG-")
    assert attributes["productName"] == "NVIDIA A30"
    assert half["allowMultipleAllocations"] is True
    assert half["capacity"]["memory"]["requestPolicy"]["default"] == "12Gi"
    assert len({device["attributes"]["uuid"]["string"] for device in devices}) == 4


def test_an_instance_gets_its_card_and_its_two_capabilities(tmp_path: Path) -> None:
    capabilities = tmp_path / "proc/driver/nvidia/capabilities/gpu1/mig/gi3"
    (capabilities / "ci0").mkdir(parents=True)
    (capabilities / "access").write_text("DeviceFileMinor: 30\nDeviceFileMode: 292\n")
    (capabilities / "ci0/access").write_text("DeviceFileMinor: 31\nDeviceFileMode: 292\n")
    (tmp_path / "dev/nvidia-caps").mkdir(parents=True)
    for name in ("nvidia1", "nvidia-caps/nvidia-cap30", "nvidia-caps/nvidia-cap31"):
        (tmp_path / "dev" / name).touch()
    edits = nvidia_edits.device(DriverRoot(tmp_path, Path("/run/nvidia/driver")), 1, Instance(3, 0))
    assert [node["path"] for node in edits["deviceNodes"]] == [
        "/dev/nvidia1",
        "/dev/nvidia-caps/nvidia-cap30",
        "/dev/nvidia-caps/nvidia-cap31",
    ]


def test_the_toolkits_numbers_of_instances_are_never_taken_for_cards(tmp_path: Path) -> None:
    devices = [{"name": "1"}, {"name": "1:0"}, {"name": "MIG-1"}]
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"kind": "nvidia.com/gpu", "devices": devices}))
    vendor = VendorCdi("nvidia.com/gpu", [tmp_path])
    assert vendor.device_for("MIG-1", -1, "/dev/nvidia1") == "nvidia.com/gpu=MIG-1"
    assert vendor.device_for("MIG-2", -1, "/dev/nvidia1") is None
