"""Pods with a claim of their own on one node, for tests that do things to that node."""

from __future__ import annotations

from tests.e2e.kubectl import Kubectl, Object, claim, pod


def add(kubectl: Kubectl, name: str, node: str, memory: str = "64Mi") -> None:
    """A claim and a Pod of the same name."""
    kubectl.apply(claim(name, memory, None), pod(name, claim=name, node=node))


def phase(kubectl: Kubectl, name: str) -> str:
    """Running only when its container is Ready; empty when the Pod is gone."""
    found = [item for item in kubectl.list("pods") if item["metadata"]["name"] == name]
    if not found:
        return ""
    status: Object = found[0]["status"]
    ready = all(each["ready"] for each in status.get("containerStatuses") or [{"ready": False}])
    return "Running" if status["phase"] == "Running" and ready else f"not ready ({status['phase']})"


def identity(kubectl: Kubectl, name: str) -> tuple[set[str], set[str]]:
    """Uid of the claim, and its share."""
    body = kubectl.get("resourceclaim", name)
    results = body.get("status", {}).get("allocation", {}).get("devices", {}).get("results", [])
    return {body["metadata"]["uid"]}, {each["shareID"] for each in results}


def restarts(kubectl: Kubectl, name: str) -> int:
    """Of all containers of the Pod."""
    return sum(each["restartCount"] for each in kubectl.get("pod", name)["status"]["containerStatuses"])
