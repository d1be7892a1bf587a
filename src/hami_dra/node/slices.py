"""Device -> ResourceSlice (resource.k8s.io/v1), a pure function; `publisher` carries it out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hami_dra.model.device import Device
from hami_dra.model.names import DEVICE_TYPE, DRIVER, MIB
from hami_dra.model.quantity import format_bytes

CORES = 100


def resource_slice(
    node: str, devices: Sequence[Device], *, node_uid: str | None = None, generation: int = 1
) -> dict[str, Any]:
    """Return the node's slice. Without NODE_UID (no cluster known) it has no owner reference."""
    metadata: dict[str, Any] = {"generateName": f"{node}-{DRIVER}-"}
    if node_uid:
        metadata["ownerReferences"] = [
            {"apiVersion": "v1", "controller": True, "kind": "Node", "name": node, "uid": node_uid}
        ]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": metadata,
        "spec": {
            "devices": [_device(device) for device in sorted(devices, key=lambda each: each.minor)],
            "driver": DRIVER,
            "nodeName": node,
            "pool": {"generation": generation, "name": node, "resourceSliceCount": 1},
        },
    }


def dropped_fields(sent: Any, stored: Any, path: str = "spec") -> list[str]:
    """Paths of what the API server did not keep of SENT: a feature gate that is off drops silently."""
    if isinstance(sent, dict):
        if not isinstance(stored, dict):
            return [path]
        return [
            lost
            for key, value in sent.items()
            for lost in (
                dropped_fields(value, stored[key], f"{path}.{key}") if key in stored else [f"{path}.{key}"]
            )
        ]
    if isinstance(sent, list):
        if not isinstance(stored, list) or len(stored) != len(sent):
            return [path]
        return [
            lost
            for at, (mine, theirs) in enumerate(zip(sent, stored, strict=True))
            for lost in dropped_fields(mine, theirs, f"{path}[{at}]")
        ]
    return []


def semver(version: str) -> str:
    """The strict form that version attributes need: 550.144.03 -> 550.144.3, 12.4 -> 12.4.0."""
    numbers = [str(int(part)) for part in re.findall(r"\d+", version)[:3]]
    return ".".join(numbers + ["0"] * (3 - len(numbers)))


def _device(device: Device) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "architecture": {"string": device.architecture},
        "brand": {"string": device.brand},
        "cudaComputeCapability": {"version": semver(device.compute_capability)},
        "cudaDriverVersion": {"version": semver(device.cuda_version)},
        "driverVersion": {"version": semver(device.driver_version)},
        "minor": {"int": device.minor},
        "pcieBusID": {"string": device.pci_bus_id},
        "productName": {"string": device.product_name},
        "type": {"string": DEVICE_TYPE},
        "uuid": {"string": device.uuid},
    }
    if device.pcie_root:
        attributes["resource.kubernetes.io/pcieRoot"] = {"string": device.pcie_root}
    return {
        "allowMultipleAllocations": True,
        "attributes": dict(sorted(attributes.items())),
        "capacity": {"cores": _cores(), "memory": _memory(device.memory)},
        "name": device.name,
    }


def _cores() -> dict[str, Any]:
    """A claim that names no cores reserves none, so that claims by memory alone can share a card."""
    policy = {"default": "0", "validRange": {"max": str(CORES), "min": "0", "step": "1"}}
    return {"requestPolicy": policy, "value": str(CORES)}


def _memory(size: int) -> dict[str, Any]:
    """A claim that names no memory takes the whole card; whole MiB, else the range's steps miss its end."""
    whole = format_bytes(size // MIB * MIB)
    policy = {"default": whole, "validRange": {"max": whole, "min": "1Mi", "step": "1Mi"}}
    return {"requestPolicy": policy, "value": whole}
