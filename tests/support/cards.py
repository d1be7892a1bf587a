"""The guide's card, a backend that finds it, and claims that are allocated on it."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from hami_dra.devices.backend import Edits
from hami_dra.model.device import Device
from hami_dra.model.names import DRIVER, MIB

NODE = "ecs-a10-sh"

A10 = Device(
    uuid="GPU-f1c7d08c-ae21-13e7-0de0-9eb14ff71eaf",
    minor=0,
    product_name="NVIDIA A10",
    brand="Nvidia",
    architecture="Ampere",
    compute_capability="8.6",
    driver_version="550.144.03",
    cuda_version="12.4",
    memory=23028 * MIB,
    pci_bus_id="0000:65:01.0",
    pcie_root="pci0000:64",
)
SECOND = replace(A10, uuid="GPU-00000000-0000-0000-0000-000000000002", minor=1, pci_bus_id="0000:66:01.0")


class CardBackend:
    """`devices.backend.Backend` without a driver."""

    def __init__(self, *devices: Device) -> None:
        self.devices = list(devices or (A10,))

    def discover(self) -> list[Device]:
        return self.devices

    def cdi_kind(self) -> str:
        return "nvidia.com/gpu"

    def common_edits(self) -> Edits:
        return {"deviceNodes": [{"path": "/dev/nvidiactl"}], "mounts": []}

    def device_edits(self, device: Device) -> Edits:
        return {"deviceNodes": [{"path": f"/dev/nvidia{device.minor}"}]}


def share(
    memory: str = "10Gi", cores: str = "50", device: str = "hami-gpu-0", request: str = "gpu"
) -> dict[str, Any]:
    """One allocation result as the scheduler writes it."""
    return {
        "consumedCapacity": {"cores": cores, "memory": memory},
        "device": device,
        "driver": DRIVER,
        "pool": NODE,
        "request": request,
        "shareID": str(uuid.uuid4()),
    }


def claim(name: str, *results: dict[str, Any]) -> dict[str, Any]:
    """A ResourceClaim; allocated when RESULTS are given."""
    body: dict[str, Any] = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": name, "namespace": "default", "uid": str(uuid.uuid4())},
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": DRIVER}}]}},
    }
    if results:
        body["status"] = {"allocation": {"devices": {"results": list(results)}}}
    return body
