"""Device -> ResourceSlice (resource.k8s.io/v1), a pure function; `publisher` carries it out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hami_dra.devices.backend import Problem
from hami_dra.model.device import Attribute, Capacity, Device, Parts, Version
from hami_dra.model.quantity import format_bytes

MOST_DEVICES, MOST_TAINTED = 128, 64
"""In one slice; the second where a device has a taint or consumes counters (as resource.k8s.io validates)."""
MOST_COUNTER_SETS = 8
MOST_TAINTS = 16
MOST_BYTES = 64
"""Of a string attribute: a longer one would have the whole slice refused."""

FIRST_TO_SEE_EVERY_DEVICE = 35
"""Minor version of Kubernetes. Whichever device of a slice the scheduler of 1.34 is about to allocate, it
asks the first for room (`allocateDevice` of the structured allocator): there each has a slice of its own.
"""
FIRST_WITH_COUNTERS = 35
"""From this version on shared counters are in a slice of their own; what needs them is left out before."""

CounterSet = dict[str, Any]

Problems = Mapping[str, Sequence[Problem]]
"""By device name."""


def pool(
    node: str,
    driver: str,
    devices: Sequence[Device],
    problems: Problems,
    *,
    node_uid: str | None,
    generation: int,
    kubernetes: int = FIRST_TO_SEE_EVERY_DEVICE,
) -> list[dict[str, Any]]:
    """Return all slices of the node, one even without devices: the pool is then known as empty.

    KUBERNETES: the cluster's minor version.
    """
    if kubernetes < FIRST_WITH_COUNTERS:
        devices = [device for device in devices if device.parts is None]
    sets = counter_sets(devices)
    tainted = any(problem.fatal for of in problems.values() for problem in of)
    size = MOST_TAINTED if tainted or sets else MOST_DEVICES
    if kubernetes < FIRST_TO_SEE_EVERY_DEVICE:
        size = 1
    pages = [devices[at : at + size] for at in range(0, len(devices), size)] or [()]
    counted = [sets[at : at + MOST_COUNTER_SETS] for at in range(0, len(sets), MOST_COUNTER_SETS)]

    def one(page: Sequence[Device] = (), counters: Sequence[CounterSet] = ()) -> dict[str, Any]:
        return resource_slice(
            node,
            driver,
            page,
            problems,
            node_uid=node_uid,
            generation=generation,
            count=len(pages) + len(counted),
            counters=counters,
        )

    return [*(one(counters=some) for some in counted), *(one(page) for page in pages)]


def counter_sets(devices: Sequence[Device]) -> list[CounterSet]:
    """What the devices' wholes have: a counter of 1 for each slice, so that nothing is had twice."""
    wholes = {device.parts.whole: device.parts.total for device in devices if device.parts}
    return [
        {"name": whole, "counters": {_counter(number): {"value": "1"} for number in range(total)}}
        for whole, total in wholes.items()
    ]


def resource_slice(
    node: str,
    driver: str,
    devices: Sequence[Device],
    problems: Problems | None = None,
    *,
    node_uid: str | None = None,
    generation: int = 1,
    count: int = 1,
    counters: Sequence[CounterSet] = (),
) -> dict[str, Any]:
    """Return one of COUNT slices, devices in the order given: the scheduler takes the first that fits.

    Without NODE_UID (no cluster known) it has no owner reference. With COUNTERS it has those, and no devices.
    """
    content: dict[str, Any] = {
        "devices": [
            _device(device) | _taints(driver, (problems or {}).get(device.name, ())) for device in devices
        ]
    }
    if counters:
        content = {"sharedCounters": list(counters)}
    metadata: dict[str, Any] = {"generateName": f"{node}-{driver}-"}
    if node_uid:
        metadata["ownerReferences"] = [
            {"apiVersion": "v1", "controller": True, "kind": "Node", "name": node, "uid": node_uid}
        ]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": metadata,
        "spec": content
        | {
            "driver": driver,
            "nodeName": node,
            "pool": {"generation": generation, "name": node, "resourceSliceCount": count},
        },
    }


def _taints(driver: str, problems: Sequence[Problem]) -> dict[str, Any]:
    """A fatal problem keeps new shares off and leaves running Pods alone. Of one key the first counts."""
    values = {problem.key: problem.value for problem in reversed(problems) if problem.fatal}
    taints = [
        {"key": f"{driver}/{key}", "effect": "NoSchedule"} | ({"value": value} if value else {})
        for key, value in sorted(values.items())
    ]
    return {"taints": taints[:MOST_TAINTS]} if taints else {}


def dropped_fields(sent: Any, stored: Any, path: str = "spec") -> list[str]:
    """Paths of what the API server did not keep of SENT: a feature gate that is off drops silently."""
    if isinstance(sent, dict):
        if not isinstance(stored, dict):
            return [path]
        return [
            lost
            for key, value in sent.items()
            if key in stored or value not in ([], {})  # what is empty is not written out
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


def dropped_message(lost: Sequence[str]) -> str | None:
    """What to do about fields that the API server dropped, None when it kept all."""
    if not lost:
        return None
    gate = "DRAPartitionableDevices" if "Counters" in lost[0] else "DRAConsumableCapacity"
    return (
        f"the API server dropped {', '.join(lost[:3])} of the ResourceSlice: switch on the feature gate"
        f" {gate} in kube-apiserver, kube-scheduler, kube-controller-manager and kubelet"
    )


def without_times(spec: dict[str, Any]) -> dict[str, Any]:
    """SPEC without the `timeAdded` that the API server adds to taints."""

    def plain(taint: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in taint.items() if key != "timeAdded"}

    devices = [
        {**device, "taints": [plain(taint) for taint in device["taints"]]} if "taints" in device else device
        for device in spec.get("devices") or []
    ]
    # An empty list is not stored; a slice of counters has none.
    return spec if "sharedCounters" in spec else spec | {"devices": devices}


def semver(version: str) -> str:
    """The strict form that version attributes need: 550.144.03 -> 550.144.3, 12.4 -> 12.4.0."""
    numbers = [str(int(part)) for part in re.findall(r"\d+", version)[:3]]
    return ".".join(numbers + ["0"] * (3 - len(numbers)))


def _device(device: Device) -> dict[str, Any]:
    """Without empty maps: the server does not keep them, which would look like a field that it dropped."""
    body = {
        "allowMultipleAllocations": bool(device.consumable),
        "attributes": {name: _attribute(value) for name, value in sorted(device.attributes.items())},
        "capacity": {capacity.name: _capacity(capacity, device.shared) for capacity in device.capacities},
        "name": device.name,
        "consumesCounters": _consumed(device.parts),
    }
    return {key: value for key, value in body.items() if value}


def _consumed(parts: Parts | None) -> list[dict[str, Any]]:
    if parts is None:
        return []
    taken = {_counter(number): {"value": "1"} for number in parts.numbers}
    return [{"counterSet": parts.whole, "counters": taken}]


def _counter(number: int) -> str:
    return f"slice-{number}"


def _capacity(capacity: Capacity, shared: bool) -> dict[str, Any]:
    policy = {"requestPolicy": _policy(capacity)} if shared else {}
    return policy | {"value": _amount(capacity, capacity.value)}


def _attribute(value: Attribute) -> dict[str, Any]:
    if isinstance(value, Version):
        return {"version": semver(value.text)}
    if isinstance(value, bool):
        return {"bool": value}
    if isinstance(value, int):
        return {"int": value}
    return {"string": value.encode()[:MOST_BYTES].decode(errors="ignore")}


def _policy(capacity: Capacity) -> dict[str, Any]:
    policy: dict[str, Any] = {"default": _amount(capacity, capacity.default)}
    if capacity.values:
        return policy | {"validValues": [_amount(capacity, value) for value in capacity.values]}
    limits = {"max": capacity.value, "min": capacity.least, "step": capacity.step}
    return policy | {"validRange": {name: _amount(capacity, value) for name, value in limits.items()}}


def _amount(capacity: Capacity, value: int) -> str:
    return format_bytes(value) if capacity.in_bytes else str(value)
