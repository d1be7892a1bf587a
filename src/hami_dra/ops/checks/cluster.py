"""Checks of Kubernetes itself: version, feature gates, clocks."""

from __future__ import annotations

import datetime
import re

from hami_dra.kube.protocol import Object
from hami_dra.model.names import GATE
from hami_dra.ops.checks.base import SITE, Check, Verdict, bad, closed, command, fine, node_count, some
from hami_dra.ops.facts import Facts, is_on, node_info

LEAST_KUBERNETES = (1, 34)
MOST_SKEW = datetime.timedelta(seconds=10)


def _api_server(facts: Facts) -> Verdict:
    return fine(f"answers, {facts.version.get('gitVersion', 'version unknown')}")


def _kubernetes_version(facts: Facts) -> Verdict:
    found = f"{facts.version.get('major', '?')}.{facts.version.get('minor', '?').rstrip('+')}"
    if _is_old(found):
        return bad(found, "upgrade the cluster; DRA is stable from 1.34 on")
    old = [
        f"{node['metadata']['name']} has {node_info(node, 'kubeletVersion')}"
        for node in facts.nodes
        if node["metadata"]["name"] in facts.served_nodes and _is_old(node_info(node, "kubeletVersion"))
    ]
    if old:
        return bad(f"{found}, but {some(old)}", "upgrade these nodes")
    return fine(found)


def _is_old(version: str) -> bool:
    """False also for what is no version: a node that has yet to tell."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return found is not None and tuple(map(int, found.groups())) < LEAST_KUBERNETES


def _feature_gate(facts: Facts) -> Verdict:
    if is_on(GATE, facts.gates):
        return fine("on in the API server")
    found = "off in the API server" if facts.gates else "the API server says nothing of its gates"
    return bad(
        found, "run playbooks/site.yml --tags control_plane,kubelet, or switch it on in every component"
    )


def _kubelet_gate(facts: Facts) -> Verdict:
    told = facts.kubelet_gates
    off = sorted(node for node, gates in told.items() if isinstance(gates, dict) and not is_on(GATE, gates))
    if off:
        return bad(f"off in the kubelet of {some(off)}", "run playbooks/site.yml --tags kubelet")
    if silent := {node: why for node, why in told.items() if isinstance(why, str)}:
        remedy = "needs the right to get nodes/proxy, and a kubelet that the API server reaches"
        return Verdict("unknown", closed(silent), remedy)
    return fine(f"on in {len(told)} kubelets")


def _node_clock(facts: Facts) -> Verdict:
    """A lease's renewTime is of the node's clock, its managed field's time of the API server's."""
    wrong = []
    for lease in facts.leases:
        skew = _skew(lease)
        if skew and abs(skew) > MOST_SKEW:
            wrong.append(f"{lease['metadata']['name']} ({skew.total_seconds():+.0f} s)")
    if wrong:
        return bad(
            f"{some(wrong)} beside the API server's",
            "start a time service on the node: timedatectl set-ntp true",
        )
    return fine(f"agrees with the API server, on {node_count(len(facts.leases))}")


def _skew(lease: Object) -> datetime.timedelta | None:
    renewed = lease["spec"].get("renewTime")
    times = [entry["time"] for entry in lease["metadata"].get("managedFields") or [] if entry.get("time")]
    if not renewed or not times:
        return None
    return datetime.datetime.fromisoformat(renewed) - max(map(datetime.datetime.fromisoformat, times))


CHECKS = (
    Check(
        id="api-server",
        title="The API server does not answer",
        expected="an API server that answers",
        why="Nothing of the cluster can be seen, so nothing else is checked but what is on this machine.",
        mend=(
            "See where your kubeconfig points, and whether your credentials are still good:",
            command("kubectl config view --minify\nkubectl version"),
            "Give `hami doctor` another one with `--kubeconfig` or `--context`.",
        ),
        needs=("version",),
        look=_api_server,
    ),
    Check(
        id="kubernetes-version",
        title="Kubernetes is too old",
        expected="1.34 or newer",
        why="Dynamic Resource Allocation (resource.k8s.io/v1) is stable from Kubernetes 1.34 on; what is "
        "older does not know shares of a device. The kubelet of each GPU node must be as new.",
        mend=(
            "Upgrade the cluster, and its nodes. [Supported versions](../supported-versions.md) says what "
            "is tested.",
        ),
        needs=("version",),
        look=_kubernetes_version,
    ),
    Check(
        id="feature-gate",
        title="DRAConsumableCapacity is off in the API server",
        expected=f"{GATE} on",
        why="Several Pods can share a card only with this feature gate. It is off by default before "
        "Kubernetes 1.36, and the API server then drops the fields of a ResourceSlice silently.",
        mend=(
            "The playbook switches it on, one control plane node at a time, and goes back when one does "
            "not come up:",
            command(f"{SITE} --tags control_plane,kubelet"),
            f"By hand: `--feature-gates={GATE}=true` for kube-apiserver, kube-scheduler, "
            "kube-controller-manager and every kubelet.",
        ),
        needs=("gates",),
        look=_feature_gate,
    ),
    Check(
        id="kubelet-gate",
        title="DRAConsumableCapacity is off in a kubelet",
        expected=f"{GATE} on in the kubelet of each GPU node",
        why="The API server allocates shares, and that node's kubelet cannot hand them to the plugin: Pods "
        "stay in ContainerCreating.",
        mend=(
            command(f"{SITE} --tags kubelet"),
            f"By hand: `featureGates: {{{GATE}: true}}` in the kubelet's configuration, then restart it.",
        ),
        needs=("nodes",),
        look=_kubelet_gate,
    ),
    Check(
        id="node-clock",
        title="A node's clock is wrong",
        expected="clocks within 10 s of each other",
        why="Certificates look as if they were not valid yet or any more, leases expire, and the times in "
        "logs and metrics cannot be put beside each other.",
        mend=("On the node:", command("timedatectl set-ntp true\ntimedatectl status")),
        needs=("leases",),
        look=_node_clock,
    ),
)
