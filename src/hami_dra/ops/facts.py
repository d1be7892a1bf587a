"""What the checks look at: the cluster as `gather` read it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from functools import cached_property

from hami_dra.kube.protocol import Object
from hami_dra.model import names
from hami_dra.ops.node_facts import NodeFacts

OURS = "app.kubernetes.io/name=hami-dra"
PLUGINS = ("driver", "families")
"""Components that are a plugin, on each node that they serve."""


@dataclass(frozen=True)
class Facts:
    """A snapshot of the cluster. `unreadable` maps the name of a field to why it could not be read."""

    version: Object = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    nodes: list[Object] = field(default_factory=list)
    leases: list[Object] = field(default_factory=list)
    namespaces: list[Object] = field(default_factory=list)
    slices: list[Object] = field(default_factory=list)
    claims: list[Object] = field(default_factory=list)
    templates: list[Object] = field(default_factory=list)
    classes: list[Object] = field(default_factory=list)
    daemon_sets: list[Object] = field(default_factory=list)
    deployments: list[Object] = field(default_factory=list)
    pods: list[Object] = field(default_factory=list)
    """Pods of our own components."""
    converted: list[Object] = field(default_factory=list)
    """Pods that admission has changed."""
    webhooks: list[Object] = field(default_factory=list)
    secrets: list[Object] = field(default_factory=list)
    """The webhook's certificate alone; of others nothing is read."""
    gates: dict[str, bool] = field(default_factory=dict)
    kubelet_gates: dict[str, dict[str, bool] | str] = field(default_factory=dict)
    """Of each GPU node, or why its kubelet could not be asked."""
    on_nodes: dict[str, NodeFacts] = field(default_factory=dict)
    closed_nodes: dict[str, str] = field(default_factory=dict)
    """Nodes that could not be looked into, and why."""
    unreadable: dict[str, str] = field(default_factory=dict)
    now: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))

    @property
    def reachable(self) -> bool:
        """Did the API server answer at all?"""
        return "version" not in self.unreadable

    @cached_property
    def gpu_labels(self) -> dict[str, str]:
        """The labels of the nodes that the plugin is to run on: gpu=on, unless the release says otherwise."""
        plugins = [item for item in self.daemon_sets if component(item) == "driver"]
        if not plugins:
            return dict([names.NODE_LABELS.split("=")])
        return dict(plugins[0]["spec"]["template"]["spec"].get("nodeSelector") or {})

    @property
    def gpu_label(self) -> str:
        """The same, as kubectl writes them."""
        return " ".join(f"{key}={value}" for key, value in self.gpu_labels.items())

    @cached_property
    def gpu_nodes(self) -> list[str]:
        """Names of the nodes with these labels; of those where the plugin runs, if it needs none."""
        wanted = self.gpu_labels.items()
        if not wanted:
            return self._nodes_of("driver")
        return sorted(
            node["metadata"]["name"]
            for node in self.nodes
            if wanted <= (node["metadata"].get("labels") or {}).items()
        )

    def _nodes_of(self, plugin: str) -> list[str]:
        """Names of the nodes on which Pods of this component are."""
        found = {pod["spec"].get("nodeName", "") for pod in self.pods if component(pod) == plugin}
        return sorted(found - {""})

    @property
    def our_slices(self) -> list[Object]:
        """The ResourceSlices of our drivers."""
        return [item for item in self.slices if names.is_ours(item["spec"]["driver"])]

    @cached_property
    def served_nodes(self) -> list[str]:
        """Names of the nodes that publish: the labelled ones, and those of the other families' plugin."""
        return sorted({*self.gpu_nodes, *self._nodes_of("families")})

    @property
    def cards(self) -> list[tuple[str, Object]]:
        """(node, device) of everything that we publish."""
        return [
            (item["spec"].get("nodeName", ""), device)
            for item in self.our_slices
            for device in item["spec"].get("devices") or []
        ]

    @property
    def namespace(self) -> str:
        """Where the release is."""
        return str(self.installed[0]["metadata"]["namespace"]) if self.installed else names.NAMESPACE

    @property
    def release(self) -> str:
        """What helm calls it."""
        labels = self.installed[0]["metadata"]["labels"] if self.installed else {}
        return str(labels.get("app.kubernetes.io/instance", names.RELEASE))

    @property
    def installed(self) -> list[Object]:
        """The workloads of the chart."""
        return [item for item in (*self.daemon_sets, *self.deployments) if is_ours(item)]


def node_info(node: Object, what: str) -> str:
    """A line of `status.nodeInfo`; empty until the kubelet has told it."""
    return str(node.get("status", {}).get("nodeInfo", {}).get(what, ""))


def component(item: Object) -> str:
    """`driver`, `families`, `webhook` or `monitor` for an object of the chart, else empty."""
    labels = item["metadata"].get("labels") or {}
    return str(labels.get("app.kubernetes.io/component", "")) if is_ours(item) else ""


def is_ours(item: Object) -> bool:
    """Is it an object of the chart?"""
    labels = item["metadata"].get("labels") or {}
    return bool(labels.get("app.kubernetes.io/name") == "hami-dra")


def is_on(gate: str, gates: dict[str, bool]) -> bool:
    """Whether a component has what GATE stands for: one that knows other gates alone always has it."""
    return gates.get(gate, bool(gates))
