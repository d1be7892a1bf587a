"""Checks of what the chart installs, and of what must not be installed beside it."""

from __future__ import annotations

from hami_dra.kube.protocol import Object
from hami_dra.model import names
from hami_dra.ops.checks.base import (
    CHART,
    SITE,
    Check,
    Verdict,
    bad,
    command,
    doubtful,
    fine,
    node_count,
    pods_and_logs,
    some,
    upgrade,
)
from hami_dra.ops.facts import PLUGINS, Facts, component, is_ours

CLASSIC = ("hami-device-plugin", "hami-vgpu-device-plugin", "hami-scheduler")
STRICT = ("baseline", "restricted")


def _gpu_label(facts: Facts) -> Verdict:
    if facts.gpu_nodes:
        return fine(f"{node_count(len(facts.gpu_nodes))}: {some(facts.gpu_nodes)}")
    if not facts.gpu_label:
        return bad("the plugin runs on no node", f"kubectl -n {facts.namespace} describe daemonsets")
    return bad(f"no node is labelled {facts.gpu_label}", f"kubectl label node NODE {facts.gpu_label}")


def _without_nvidia(facts: Facts) -> bool:
    """A release of other families alone: NVIDIA's cards are somebody else's."""
    ours = {component(item) for item in facts.daemon_sets}
    return "families" in ours and "driver" not in ours


def _device_class(facts: Facts) -> Verdict:
    """Of every family that is served: a plugin without its class has nobody to serve."""
    wanted = {item["spec"]["driver"] for item in facts.our_slices}
    if not _without_nvidia(facts):
        wanted.add(names.DRIVER)
    missing = sorted(wanted - {item["metadata"]["name"] for item in facts.classes})
    if not missing:
        return fine(some(sorted(wanted)))
    return bad(f"{some(missing)} is missing", _install(facts))


def _install(facts: Facts) -> str:
    return upgrade(facts.namespace, facts.release) if facts.installed else CHART


def _plugin(facts: Facts) -> Verdict:
    ours = [item for item in facts.daemon_sets if component(item) in PLUGINS]
    if not ours:
        return bad("no DaemonSet of ours", _install(facts))
    found = []
    for item in ours:
        status, name = item.get("status", {}), component(item)
        ready, wanted = status.get("numberReady", 0), status.get("desiredNumberScheduled", 0)
        of = "" if len(ours) == 1 else f" ({item['metadata']['name']})"
        found.append(f"ready on {ready} of {node_count(wanted)}{of}")
        if ready < wanted:
            return bad(f"{found[-1]}{_because(facts, name)}", _describe(facts, item))
    return fine(", ".join(found))


def _webhook(facts: Facts) -> Verdict:
    return _deployment(facts, "webhook")


def _monitor(facts: Facts) -> Verdict:
    return _deployment(facts, "monitor")


def _deployment(facts: Facts, name: str) -> Verdict:
    """One that is not installed was switched off on purpose."""
    ours = [item for item in facts.deployments if component(item) == name]
    if not ours:
        return fine("switched off in the chart's values")
    ready, wanted = ours[0].get("status", {}).get("readyReplicas", 0), ours[0]["spec"].get("replicas", 1)
    if not wanted:
        there = f"-n {ours[0]['metadata']['namespace']} scale deployment {ours[0]['metadata']['name']}"
        return bad("scaled to no replica", f"kubectl {there} --replicas=1")
    if ready >= wanted:
        return fine(f"{ready} of {wanted} replicas ready")
    found = f"{ready} of {wanted} replicas ready{_because(facts, name)}"
    return (doubtful if ready else bad)(found, _describe(facts, ours[0]))


def _because(facts: Facts, name: str) -> str:
    """Why the first Pod that is not ready is not."""
    for pod in facts.pods:
        if component(pod) == name:
            for status in pod.get("status", {}).get("containerStatuses") or []:
                waiting = status.get("state", {}).get("waiting")
                if waiting:
                    return f": {waiting.get('reason', 'waiting')}"
    return ""


def _describe(facts: Facts, item: Object) -> str:
    """The command that shows why ITEM's Pods are not ready, or why there are none: they may be refused."""
    name = component(item)
    if any(component(pod) == name for pod in facts.pods):
        what = f"pods -l app.kubernetes.io/component={name}"
    else:
        what = f"{'daemonset' if name in PLUGINS else 'deployment'} {item['metadata']['name']}"
    return f"kubectl -n {item['metadata']['namespace']} describe {what}"


def _pod_security(facts: Facts) -> Verdict:
    for item in facts.namespaces:
        if item["metadata"]["name"] == facts.namespace:
            level = (item["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce", "")
            if level in STRICT:
                return bad(
                    f"{facts.namespace} enforces {level}",
                    f"kubectl label namespace {facts.namespace} "
                    "pod-security.kubernetes.io/enforce=privileged --overwrite",
                )
    return fine("the namespace has no label that keeps the plugin out")


def _versions(facts: Facts) -> Verdict:
    """Two versions side by side are normal during an upgrade, and a sign of one that stopped half-way."""
    found = {}
    for item in facts.installed:
        image = item["spec"]["template"]["spec"]["containers"][0]["image"]
        found[component(item)] = image.rpartition("/")[2]
    if len(set(found.values())) <= 1:
        return fine(", ".join(sorted(set(found.values()))) or "nothing is installed")
    told = ", ".join(f"{name} {image}" for name, image in sorted(found.items()))
    return doubtful(told, upgrade(facts.namespace, facts.release))


def _nvidia_device_plugin(facts: Facts) -> Verdict:
    """Another device plugin would hand out the same cards behind the scheduler's back."""
    rivals = _named(facts, ("nvidia-device-plugin",))
    if rivals and not _without_nvidia(facts):
        return bad(some(rivals), "remove it (GPU Operator: devicePlugin.enabled=false)")
    return fine("none")


def _traditional_hami(facts: Facts) -> Verdict:
    rivals = _named(facts, CLASSIC)
    if rivals:
        return bad(some(rivals), "helm uninstall HAMi's traditional mode; the two must not run together")
    return fine("none")


def _named(facts: Facts, words: tuple[str, ...]) -> list[str]:
    return [
        f"{item['metadata']['namespace']}/{item['metadata']['name']}"
        for item in (*facts.daemon_sets, *facts.deployments)
        if not is_ours(item) and any(word in item["metadata"]["name"] for word in words)
    ]


CHECKS = (
    Check(
        id="nvidia-device-plugin",
        title="NVIDIA's device plugin serves the same cards",
        expected="no other device plugin",
        why="Two programs would give away the same card, each without knowing of the other: Pods run into "
        "each other's memory.",
        mend=(
            "GPU Operator can do without it:",
            command(
                "helm -n gpu-operator upgrade gpu-operator nvidia/gpu-operator --reuse-values \\\n"
                "  --set devicePlugin.enabled=false"
            ),
            "Installed by itself: uninstall it. Pods that ask for `nvidia.com/gpu` go on to work: "
            "admission turns their request into a claim.",
        ),
        needs=("daemon_sets",),
        look=_nvidia_device_plugin,
    ),
    Check(
        id="traditional-hami",
        title="HAMi's traditional mode is installed",
        expected="HAMi in DRA mode only",
        why="Its scheduler extender, webhook and device plugin take the same Pods and the same cards.",
        mend=(
            "[Move over](../how-to/migrate-from-device-plugin.md); in short, when its Pods have ended:",
            command("helm -n kube-system uninstall hami"),
        ),
        needs=("daemon_sets", "deployments"),
        look=_traditional_hami,
    ),
    Check(
        id="device-class",
        title="A DeviceClass is missing",
        expected="a DeviceClass for each family that is served",
        why="Claims name it; without it they stay pending.",
        mend=(command(CHART),),
        needs=("classes",),
        look=_device_class,
    ),
    Check(
        id="gpu-label",
        title="No node is labelled for GPUs",
        expected="nodes with the plugin's label (gpu=on, unless another was chosen)",
        why="The plugin runs on nodes with this label only, so that it is you who says which nodes it "
        "manages.",
        mend=("With the label that `hami doctor` names:", command("kubectl label node NODE gpu=on")),
        needs=("nodes",),
        look=_gpu_label,
    ),
    Check(
        id="pod-security",
        title="Pod Security refuses the plugin",
        expected="a namespace in which the plugin may run",
        why="The plugin opens `/dev/nvidia*` and mounts folders of the host, which Pod Security's levels "
        "`baseline` and `restricted` forbid. A level for the whole cluster is in a file of the API server's "
        "and cannot be asked for: the DaemonSet's events then say `violates PodSecurity`.",
        mend=(
            "The namespace's label wins over a level for the whole cluster:",
            command(
                "kubectl label namespace hami-system pod-security.kubernetes.io/enforce=privileged "
                "--overwrite"
            ),
        ),
        needs=("namespaces",),
        look=_pod_security,
    ),
    Check(
        id="plugin",
        title="The plugin is not ready on every node",
        expected="a ready plugin on each labelled node",
        why="A node without it takes no Pods with claims, and those that run there cannot end.",
        mend=(
            "See what its Pods say; the last line of a log that ends in an error names the fault:",
            pods_and_logs("driver"),
            "Not ready while everything else looks well: the API server drops fields, see "
            "[shared-devices](shared-devices.md).",
        ),
        needs=("daemon_sets", "pods"),
        look=_plugin,
    ),
    Check(
        id="webhook",
        title="The webhook is not ready",
        expected="all replicas of the webhook ready",
        why="While none is, Pods that ask for `nvidia.com/gpu` and its kin are refused. Pods with claims "
        "of their own, and all others, are not concerned.",
        mend=(pods_and_logs("webhook"),),
        needs=("deployments", "pods"),
        look=_webhook,
    ),
    Check(
        id="monitor",
        title="The monitor is not ready",
        expected="the monitor ready",
        why="The cluster's allocation metrics and its web page are missing. Workloads are not concerned.",
        mend=(pods_and_logs("monitor"),),
        needs=("deployments", "pods"),
        look=_monitor,
    ),
    Check(
        id="versions",
        title="The components are of different versions",
        expected="one version of all components",
        why="An upgrade stopped half-way.",
        mend=("Run it again:", command(f"{SITE} --tags driver")),
        needs=("daemon_sets", "deployments"),
        look=_versions,
    ),
)
