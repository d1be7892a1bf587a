"""Device -> ResourceSlice (resource.k8s.io/v1), a pure function; `publisher` carries it out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hami_dra.model.device import Attribute, Capacity, Device, Version
from hami_dra.model.quantity import format_bytes


def resource_slice(
    node: str, driver: str, devices: Sequence[Device], *, node_uid: str | None = None, generation: int = 1
) -> dict[str, Any]:
    """Return the node's slice of DRIVER, devices in the order given: the scheduler takes the first that fits.

    Without NODE_UID (no cluster known) it has no owner reference.
    """
    metadata: dict[str, Any] = {"generateName": f"{node}-{driver}-"}
    if node_uid:
        metadata["ownerReferences"] = [
            {"apiVersion": "v1", "controller": True, "kind": "Node", "name": node, "uid": node_uid}
        ]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": metadata,
        "spec": {
            "devices": [_device(device) for device in devices],
            "driver": driver,
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
    sharing = {"allowMultipleAllocations": True} if device.consumable else {}
    return sharing | {
        "attributes": {name: _attribute(value) for name, value in sorted(device.attributes.items())},
        "capacity": {capacity.name: _capacity(capacity, device.shared) for capacity in device.capacities},
        "name": device.name,
    }


def _capacity(capacity: Capacity, shared: bool) -> dict[str, Any]:
    policy = {"requestPolicy": _policy(capacity)} if shared else {}
    return policy | {"value": _amount(capacity, capacity.value)}


def _attribute(value: Attribute) -> dict[str, Any]:
    if isinstance(value, Version):
        return {"version": semver(value.text)}
    if isinstance(value, bool):
        return {"bool": value}
    return {"int": value} if isinstance(value, int) else {"string": value}


def _policy(capacity: Capacity) -> dict[str, Any]:
    policy: dict[str, Any] = {"default": _amount(capacity, capacity.default)}
    if capacity.values:
        return policy | {"validValues": [_amount(capacity, value) for value in capacity.values]}
    limits = {"max": capacity.value, "min": capacity.least, "step": capacity.step}
    return policy | {"validRange": {name: _amount(capacity, value) for name, value in limits.items()}}


def _amount(capacity: Capacity, value: int) -> str:
    return format_bytes(value) if capacity.in_bytes else str(value)
