"""GPU request -> claim specification (resource.k8s.io/v1), pure.

An amount in percent has no fixed size: it becomes a list of alternatives (`firstAvailable`, KEP-4816), one
for each memory size among the published cards, since a claim's amounts are absolute.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from hami_dra.admission.request import GpuRequest
from hami_dra.model import names, quantity
from hami_dra.model.errors import RequestDenied

Object = dict[str, Any]

MOST_ALTERNATIVES = 8
"""Limit of `firstAvailable` in resource.k8s.io/v1."""


def specification(
    request: GpuRequest, selectors: Sequence[str], device_class: str, memory_sizes: Sequence[int]
) -> Object:
    """Return a ResourceClaim's `spec`. MEMORY_SIZES: bytes of the published cards, for percentages."""
    if request.percentage is None:
        chosen = _device(request, request.memory, selectors, device_class)
        devices: Object = {"requests": [{"name": names.REQUEST, "exactly": chosen}]}
    else:
        alternatives = [
            {"name": f"size-{index}"}
            | _device(request, _part(size, request.percentage), [*selectors, _has(size)], device_class)
            for index, size in enumerate(_sizes(request, memory_sizes))
        ]
        devices = {"requests": [{"name": names.REQUEST, "firstAvailable": alternatives}]}
    if request.count > 1:
        # Without it several shares of one request may land on the same card (KEP-5075).
        devices["constraints"] = [{"requests": [names.REQUEST], "distinctAttribute": f"{names.DRIVER}/uuid"}]
    return {"devices": devices}


def template_name(spec: Object) -> str:
    """Name of the template that all Pods of a namespace with this shape share."""
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    return f"hami-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


def memory_sizes(slices: Sequence[Object]) -> list[int]:
    """Distinct sizes in bytes of our published cards, largest first."""
    sizes = {
        quantity.parse_int(device["capacity"]["memory"]["value"])
        for item in slices
        if item["spec"]["driver"] == names.DRIVER
        for device in item["spec"].get("devices") or []
    }
    return sorted(sizes, reverse=True)


def _device(request: GpuRequest, memory: int | None, selectors: Sequence[str], device_class: str) -> Object:
    amounts = {"cores": str(request.cores)}
    if memory is not None:
        amounts["memory"] = str(memory)
    return {
        "allocationMode": "ExactCount",
        "capacity": {"requests": amounts},
        "count": request.count,
        "deviceClassName": device_class,
        "selectors": [{"cel": {"expression": expression}} for expression in selectors],
    }


def _sizes(request: GpuRequest, sizes: Sequence[int]) -> Sequence[int]:
    if not sizes:
        raise RequestDenied(
            "a percentage of a card's memory needs a card, and no node publishes one yet",
            where=f"container {request.container}",
            fix="ask for an amount in MiB, or try again when a GPU node is ready",
        )
    return sizes[:MOST_ALTERNATIVES]


def _part(size: int, percentage: int) -> int:
    """PERCENTAGE of SIZE in bytes, rounded up to whole MiB, never more than the card."""
    wanted = -(-size * percentage // (100 * names.MIB)) * names.MIB
    return min(wanted, size)


def _has(size: int) -> str:
    return f'device.capacity["{names.DRIVER}"].memory.compareTo(quantity("{size}")) == 0'
