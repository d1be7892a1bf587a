"""What the checks look at, read once from the API server.

A part that cannot be read (no permission, not served) is kept as its error, so that one missing right
does not hide the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hami_dra.kube import kinds
from hami_dra.kube.client import Client, Object
from hami_dra.model import errors


@dataclass(frozen=True)
class Facts:
    """A snapshot of the cluster. `unreadable` maps the name of a field to why it could not be read."""

    version: Object = field(default_factory=dict)
    nodes: list[Object] = field(default_factory=list)
    slices: list[Object] = field(default_factory=list)
    claims: list[Object] = field(default_factory=list)
    classes: list[Object] = field(default_factory=list)
    daemon_sets: list[Object] = field(default_factory=list)
    deployments: list[Object] = field(default_factory=list)
    webhooks: list[Object] = field(default_factory=list)
    gates: dict[str, bool] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def gpu_nodes(self) -> list[str]:
        """Names of the nodes labelled gpu=on."""
        return sorted(
            node["metadata"]["name"]
            for node in self.nodes
            if node["metadata"].get("labels", {}).get("gpu") == "on"
        )


def gather(client: Client) -> Facts:
    """Read everything that the checks need."""
    unreadable: dict[str, str] = {}

    def attempt(name: str, read: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return read()
        except errors.KubeError as problem:
            unreadable[name] = str(problem)
            return otherwise

    def objects(name: str, kind: kinds.Kind) -> list[Object]:
        found: list[Object] = attempt(name, lambda: client.list(kind)[0], [])
        return found

    return Facts(
        version=attempt("version", lambda: json.loads(client.raw("/version")), {}),
        nodes=objects("nodes", kinds.NODES),
        slices=objects("slices", kinds.RESOURCE_SLICES),
        claims=objects("claims", kinds.RESOURCE_CLAIMS),
        classes=objects("classes", kinds.DEVICE_CLASSES),
        daemon_sets=objects("daemon_sets", kinds.DAEMON_SETS),
        deployments=objects("deployments", kinds.DEPLOYMENTS),
        webhooks=objects("webhooks", kinds.MUTATING_WEBHOOKS),
        gates=attempt("gates", lambda: parse_gates(client.raw("/metrics")), {}),
        unreadable=unreadable,
    )


def parse_gates(metrics: str) -> dict[str, bool]:
    """Feature gates from a component's metric `kubernetes_feature_enabled` (KEP-3466)."""
    gates = {}
    for line in metrics.splitlines():
        if line.startswith("kubernetes_feature_enabled{"):
            name = line.split('name="', 1)[1].split('"', 1)[0]
            gates[name] = line.rstrip().endswith(" 1")
    return gates
