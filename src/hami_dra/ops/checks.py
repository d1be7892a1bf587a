"""The checks of `hami doctor`, as data: an id, what is looked at, and the remedy when it is wrong.

Each check is a pure function of the facts. The role `preflight` uses the same ids, and the documentation
has one page for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hami_dra.kube.client import Object
from hami_dra.model import names
from hami_dra.ops.facts import Facts

Severity = Literal["ok", "warning", "error", "unknown"]


@dataclass(frozen=True)
class Finding:
    """What a check found. `remedy` is the next thing to do; empty when all is well."""

    id: str
    severity: Severity
    found: str
    expected: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Check:
    """`needs` are the facts without which nothing can be said."""

    id: str
    needs: tuple[str, ...]
    look: Callable[[Facts], Finding]


def run_all(facts: Facts) -> list[Finding]:
    """Run every check; one whose facts could not be read says so."""
    return [_unreadable(check, facts) or check.look(facts) for check in CHECKS]


def _unreadable(check: Check, facts: Facts) -> Finding | None:
    for name in check.needs:
        if name in facts.unreadable:
            return Finding(
                check.id,
                "unknown",
                f"cannot read {name.replace('_', ' ')}: {facts.unreadable[name]}",
                remedy="run this with a kubeconfig that may list it",
            )
    return None


def _kubernetes_version(facts: Facts) -> Finding:
    found = f"{facts.version.get('major', '?')}.{facts.version.get('minor', '?').rstrip('+')}"
    expected = "1.34 or newer"
    major, _, minor = found.partition(".")
    if (int(major), int(minor)) >= (1, 34):
        return Finding("kubernetes-version", "ok", found, expected)
    return Finding(
        "kubernetes-version", "error", found, expected, "upgrade the cluster; DRA is stable from 1.34 on"
    )


def _feature_gate(facts: Facts) -> Finding:
    expected = "DRAConsumableCapacity on"
    state = facts.gates.get("DRAConsumableCapacity")
    if state:
        return Finding("feature-gate", "ok", "on in the API server", expected)
    found = "the API server does not know it" if state is None else "off in the API server"
    remedy = "run playbooks/site.yml --tags control_plane,kubelet, or switch it on in every component"
    return Finding("feature-gate", "error", found, expected, remedy)


def _device_class(facts: Facts) -> Finding:
    present = any(item["metadata"]["name"] == names.DRIVER for item in facts.classes)
    if present:
        return Finding("device-class", "ok", names.DRIVER)
    remedy = "install the chart: helm -n hami-system install hami charts/hami --set dra.enabled=true"
    return Finding("device-class", "error", "missing", names.DRIVER, remedy)


def _gpu_nodes(facts: Facts) -> Finding:
    if facts.gpu_nodes:
        return Finding("gpu-label", "ok", f"{len(facts.gpu_nodes)} nodes: {', '.join(facts.gpu_nodes)}")
    return Finding("gpu-label", "error", "no node", "nodes labelled gpu=on", "kubectl label node NODE gpu=on")


def _slices(facts: Facts) -> Finding:
    published = {
        item["spec"].get("nodeName") for item in facts.slices if item["spec"]["driver"] == names.DRIVER
    }
    missing = [node for node in facts.gpu_nodes if node not in published]
    if not missing:
        return Finding("slices", "ok", f"published for {len(published)} nodes")
    remedy = f"kubectl -n hami-system logs -l app.kubernetes.io/component=driver (on {missing[0]})"
    return Finding("slices", "error", f"none for {', '.join(missing)}", "one for each GPU node", remedy)


def _shared_devices(facts: Facts) -> Finding:
    """The API server drops the fields of consumable capacity silently when the gate is off."""
    ours = [item for item in facts.slices if item["spec"]["driver"] == names.DRIVER]
    bare = [
        item["metadata"]["name"]
        for item in ours
        if not all(device.get("allowMultipleAllocations") for device in item["spec"].get("devices") or [])
    ]
    if not bare:
        return Finding("shared-devices", "ok", "every card may be shared")
    remedy = "switch DRAConsumableCapacity on in the API server and restart the plugin"
    return Finding("shared-devices", "error", f"not in {', '.join(bare)}", "cards that may be shared", remedy)


def _webhook(facts: Facts) -> Finding:
    ours = [item for item in facts.webhooks if "hami" in item["metadata"]["name"]]
    if not ours:
        found, remedy = "no webhook configuration", "set hami-dra.webhook.enabled=true"
        return Finding("webhook", "warning", found, "compatibility mode", remedy)
    unsigned = [
        item["metadata"]["name"]
        for item in ours
        if not all(hook["clientConfig"].get("caBundle") for hook in item.get("webhooks", []))
    ]
    if unsigned:
        remedy = "kubectl -n hami-system logs -l app.kubernetes.io/component=webhook"
        return Finding("webhook", "error", f"no caBundle in {unsigned[0]}", "a CA bundle", remedy)
    return Finding("webhook", "ok", ours[0]["metadata"]["name"])


def _workloads(facts: Facts) -> Finding:
    lacking = [
        f"{item['metadata']['name']} {ready}/{wanted}"
        for item, ready, wanted in _ours(facts)
        if ready < wanted
    ]
    if lacking:
        remedy = "kubectl -n hami-system get pods,events"
        return Finding("workloads", "error", ", ".join(lacking), "all Pods ready", remedy)
    return Finding("workloads", "ok", "all Pods ready")


def _ours(facts: Facts) -> list[tuple[Object, int, int]]:
    found = []
    for item in facts.daemon_sets:
        if item["metadata"]["name"].endswith("dra-driver-kubelet-plugin"):
            status = item.get("status", {})
            found.append((item, status.get("numberReady", 0), status.get("desiredNumberScheduled", 0)))
    for item in facts.deployments:
        if "hami-dra-" in item["metadata"]["name"]:
            ready = item.get("status", {}).get("readyReplicas", 0)
            found.append((item, ready, item["spec"].get("replicas", 1)))
    return found


def _rivals(facts: Facts) -> Finding:
    """Another device plugin would hand out the same cards behind the scheduler's back."""
    rivals = [
        f"{item['metadata']['namespace']}/{item['metadata']['name']}"
        for item in facts.daemon_sets
        if any(word in item["metadata"]["name"] for word in ("nvidia-device-plugin", "hami-device-plugin"))
    ]
    if not rivals:
        return Finding("device-plugin", "ok", "no other device plugin")
    remedy = "remove it (GPU Operator: devicePlugin.enabled=false)"
    return Finding("device-plugin", "error", ", ".join(rivals), "none on these nodes", remedy)


CHECKS = (
    Check("kubernetes-version", ("version",), _kubernetes_version),
    Check("feature-gate", ("gates",), _feature_gate),
    Check("device-plugin", ("daemon_sets",), _rivals),
    Check("gpu-label", ("nodes",), _gpu_nodes),
    Check("device-class", ("classes",), _device_class),
    Check("workloads", ("daemon_sets", "deployments"), _workloads),
    Check("slices", ("nodes", "slices"), _slices),
    Check("shared-devices", ("slices",), _shared_devices),
    Check("webhook", ("webhooks",), _webhook),
)
