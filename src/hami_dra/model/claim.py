"""What kubelet asks for, and how to read the allocation out of a ResourceClaim (resource.k8s.io/v1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClaimRef:
    """The claim that kubelet names: no allocation comes with it."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"claim {self.namespace}/{self.name} ({self.uid})"

    @property
    def fields(self) -> dict[str, str]:
        """As logs name it."""
        return {"namespace": self.namespace, "claim": self.name, "uid": self.uid}


@dataclass(frozen=True)
class Result:
    """One of status.allocation.devices.results. `consumed` holds quantities as the API server wrote them."""

    request: str
    pool: str
    device: str
    share_id: str
    consumed: dict[str, str]
    admin_access: bool

    @property
    def base_request(self) -> str:
        """Name of the request without the sub-request of `firstAvailable`, which is what kubelet matches."""
        return self.request.partition("/")[0]


def results(claim: dict[str, Any], driver: str, pool: str) -> list[Result]:
    """The allocation results of DRIVER in POOL (the node); empty when nothing is allocated."""
    return [
        Result(
            request=entry["request"],
            pool=pool,
            device=entry["device"],
            share_id=entry.get("shareID") or "",
            consumed=dict(entry.get("consumedCapacity") or {}),
            admin_access=bool(entry.get("adminAccess")),
        )
        for entry in allocated(claim)
        if entry.get("driver") == driver and entry.get("pool") == pool
    ]


def allocated(claim: dict[str, Any]) -> list[dict[str, Any]]:
    """The allocation results of all drivers as they stand in CLAIM; empty when nothing is allocated."""
    return _allocation(claim).get("results") or []


def configs(claim: dict[str, Any]) -> list[dict[str, Any]]:
    """The parameters for all drivers, of the class and of the claim."""
    return _allocation(claim).get("config") or []


def users(claim: dict[str, Any]) -> list[dict[str, str]]:
    """`name` and `uid` of the Pods that the claim is reserved for, all of its namespace."""
    reserved = (claim.get("status") or {}).get("reservedFor") or []
    return [{"name": each["name"], "uid": each["uid"]} for each in reserved if each.get("resource") == "pods"]


def names_of(pod: dict[str, Any]) -> list[str]:
    """The claims of a Pod by name, those that Kubernetes has made from templates as well."""
    made = {
        entry["name"]: entry.get("resourceClaimName")
        for entry in (pod.get("status") or {}).get("resourceClaimStatuses") or []
    }
    named = (
        entry.get("resourceClaimName") or made.get(entry["name"])
        for entry in pod["spec"].get("resourceClaims") or []
    )
    return [name for name in named if name]


def _allocation(claim: dict[str, Any]) -> dict[str, Any]:
    status = claim.get("status") or {}
    return (status.get("allocation") or {}).get("devices") or {}
