"""Who uses a share, of whatever family of accelerators.

pods   | sharing_pods(claims)   the Pods that use a claim of ours, and their restarts
claims | claims_in_use          names of the claims of ours that somebody holds
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Object = dict[str, Any]

OURS = ".project-hami.io"
"""End of the name of every DRA driver of ours."""


def sharing_pods(pods: list[Object], claims: list[Object]) -> list[Object]:
    """`{"name": "namespace/name", "uid", "restarts"}` of each Pod that a claim of ours is reserved for."""
    users = {
        user["uid"]
        for claim in claims
        if _is_ours(claim)
        for user in claim["status"].get("reservedFor") or []
    }
    return [
        {
            "name": f"{pod['metadata']['namespace']}/{pod['metadata']['name']}",
            "uid": pod["metadata"]["uid"],
            "restarts": sum(
                status["restartCount"] for status in pod["status"].get("containerStatuses") or []
            ),
        }
        for pod in pods
        if pod["metadata"]["uid"] in users
    ]


def claims_in_use(claims: list[Object]) -> list[str]:
    """`namespace/name` of each allocated claim of ours that is reserved for somebody."""
    return [
        f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"
        for claim in claims
        if claim.get("status", {}).get("reservedFor") and _is_ours(claim)
    ]


def _is_ours(claim: Object) -> bool:
    devices = (claim.get("status", {}).get("allocation") or {}).get("devices") or {}
    return any(result["driver"].endswith(OURS) for result in devices.get("results") or [])


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"sharing_pods": sharing_pods, "claims_in_use": claims_in_use}
