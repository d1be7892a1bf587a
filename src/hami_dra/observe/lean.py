"""What the monitor holds of an object: thousands of claims have to fit into its memory. Pure."""

from __future__ import annotations

from functools import lru_cache
from sys import intern
from typing import Any

from hami_dra.model import explain

Object = dict[str, Any]


def claim(item: Object) -> Object:
    """A claim without what nobody asks: managed fields, owners, configuration, conditions.

    Of one that is allocated, what it asked for comes down to the classes, of which there are few.
    """
    status = item.get("status") or {}
    kept: Object = {"metadata": _pick(item["metadata"], "namespace", "name"), "status": {}}
    allocation = status.get("allocation")
    if allocation:
        results = allocation.get("devices", {}).get("results") or []
        fields = ("driver", "pool", "device", "shareID", "consumedCapacity", "adminAccess")
        kept["status"]["allocation"] = {"devices": {"results": [_pick(each, *fields) for each in results]}}
        holders = status.get("reservedFor") or []
        kept["status"]["reservedFor"] = [_pick(each, "name") for each in holders]
    requests = item["spec"]["devices"].get("requests") or []
    kept["spec"] = _spec(_classes(requests)) if allocation else {"devices": {"requests": requests}}
    return kept


def pod(item: Object) -> Object:
    """A Pod without its containers, but for the extended resources that they name."""
    metadata = ("namespace", "name", "labels", "creationTimestamp", "deletionTimestamp")
    spec = ("resourceClaims", "nodeName", "schedulingGates", "schedulerName")
    return {
        "metadata": _pick(item["metadata"], *metadata),
        "spec": _pick(item["spec"], *spec) | {"containers": _extended(item)},
        "status": _pick(item.get("status") or {}, "phase", "conditions", "resourceClaimStatuses"),
    }


def node(item: Object) -> Object:
    """A Node's name and labels."""
    return {"metadata": _pick(item["metadata"], "name", "labels")}


def _extended(item: Object) -> list[Object]:
    """One container in place of all, which names what they name of device plugins and the like."""
    found = {intern(name): "1" for name in explain.named(item) if "/" in name}
    return [{"resources": {"limits": found}}] if found else []


def _classes(requests: list[Object]) -> tuple[str, ...]:
    choices = [
        choice
        for request in requests
        for choice in [request.get("exactly"), *(request.get("firstAvailable") or [])]
        if choice
    ]
    return tuple(sorted({choice["deviceClassName"] for choice in choices}))


@lru_cache(maxsize=256)
def _spec(classes: tuple[str, ...]) -> Object:
    return {"devices": {"requests": [{"exactly": {"deviceClassName": name}} for name in classes]}}


def _pick(item: Object, *names: str) -> Object:
    """Names of nodes and cards come again and again: each text is held once."""
    picked = {name: item[name] for name in names if name in item}
    return {name: intern(value) if type(value) is str else value for name, value in picked.items()}
