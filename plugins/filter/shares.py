"""Who uses a share.

pods   | sharing_pods(claims, driver)   the Pods that use a claim of the driver, and their restarts
claims | claims_in_use(driver)          names of the claims that somebody holds
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Object = dict[str, Any]


def sharing_pods(pods: list[Object], claims: list[Object], driver: str) -> list[Object]:
    """`{"name": "namespace/name", "uid", "restarts"}` of each Pod that a claim of DRIVER is reserved for."""
    users = {
        user["uid"]
        for claim in claims
        if any(result["driver"] == driver for result in _results(claim))
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


def claims_in_use(claims: list[Object], driver: str) -> list[str]:
    """`namespace/name` of each allocated claim of DRIVER that is reserved for somebody."""
    return [
        f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"
        for claim in claims
        if claim.get("status", {}).get("reservedFor")
        and any(result["driver"] == driver for result in _results(claim))
    ]


def _results(claim: Object) -> list[Object]:
    devices = (claim.get("status", {}).get("allocation") or {}).get("devices") or {}
    return devices.get("results") or []


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {"sharing_pods": sharing_pods, "claims_in_use": claims_in_use}
