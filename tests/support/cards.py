"""The guide's card, a backend that finds it, and claims that are allocated on it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hami_dra.devices.backend import ClaimEdits, Grant, Problem, Usage
from hami_dra.devices.nvidia import capacities
from hami_dra.devices.vendor_cdi import VendorCdi
from hami_dra.kube import KubeClient
from hami_dra.model.device import Attribute, Device, Version
from hami_dra.model.names import DRIVER, MIB
from hami_dra.node.driver import NodeDriver
from hami_dra.node.inventory import Inventory
from hami_dra.node.limiter_files import LimiterFiles

NODE = "ecs-a10-sh"


def card(minor: int, uuid: str, pci: str, memory: int = 23028 * MIB, root: str = "pci0000:64") -> Device:
    """An A10 as `devices.nvidia` describes it."""
    attributes: dict[str, Attribute] = {
        "architecture": "Ampere",
        "brand": "Nvidia",
        "cudaComputeCapability": Version("8.6"),
        "cudaDriverVersion": Version("12.4"),
        "driverVersion": Version("550.144.03"),
        "minor": minor,
        "pcieBusID": pci,
        "productName": "NVIDIA A10",
        "resource.kubernetes.io/pcieRoot": root,
        "type": "hami-gpu",
        "uuid": uuid,
    }
    return Device(f"hami-gpu-{minor}", uuid, attributes, capacities(memory))


A10 = card(0, "GPU-f1c7d08c-ae21-13e7-0de0-9eb14ff71eaf", "0000:65:01.0")
SECOND = card(1, "GPU-00000000-0000-0000-0000-000000000002", "0000:66:01.0")


class CardBackend:
    """`devices.backend.Backend` of NVIDIA's family without a driver. CDI: folders of the toolkit's files."""

    driver = DRIVER
    limiter = True
    claim_wide = False

    def __init__(self, *devices: Device, cdi: Sequence[Path] = ()) -> None:
        self.devices = list(devices or (A10,))
        self.problems: list[Problem] = []
        self._vendor = VendorCdi("nvidia.com/gpu", cdi)

    def discover(self) -> list[Device]:
        return list(self.devices)

    def settle(self, grants: Sequence[Grant], about: Sequence[Device]) -> None:
        pass

    def edits(self, grants: Sequence[Grant]) -> ClaimEdits:
        vendor, own = {}, {}
        for device, share in grants:
            node = f"/dev/nvidia{device.attributes['minor']}"
            name = self._vendor.device_for(device.uuid, 0, node)
            if name:
                vendor[share.key] = (name,)
            else:
                own[share.key] = {"deviceNodes": [{"path": node}]}
        return ClaimEdits({"deviceNodes": [{"path": "/dev/nvidiactl"}]} if own else {}, own, vendor)

    def health(self, devices: Sequence[Device]) -> list[Problem]:
        return list(self.problems)

    def usage(self, devices: Sequence[Device]) -> list[Usage]:
        return []


def card_driver(
    kube: KubeClient, state: Path, cdi: Path, *devices: Device, backend: type[CardBackend] = CardBackend
) -> NodeDriver:
    """The driver of a node with these cards, as after a start."""
    return NodeDriver(
        kube,
        NODE,
        backend(*devices),
        Inventory(devices),
        state=state,
        limiter=LimiterFiles(state / "libvgpu.so", state / "ld.so.preload"),
        cdi_folder=cdi,
    )


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
