"""Reads the facts, once from the API server and from the nodes.

A part that cannot be read (no permission, not served) is kept as its error, so that one missing right
does not hide the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import msgspec

from hami_dra.kube import kinds
from hami_dra.kube.protocol import KubeClient, Object
from hami_dra.model import errors, names
from hami_dra.ops.facts import OURS, PLUGINS, Facts, component
from hami_dra.ops.node_facts import NodeFacts, merged

AT_ONCE = 16
"""Nodes that are looked into at the same time."""
_GATE = re.compile(r'^kubernetes_feature_enabled\{[^}]*name="([^"]+)"[^}]*\} (\d)', re.MULTILINE)


def unreachable(problem: errors.KubeError) -> Facts:
    """The facts of a cluster that does not answer."""
    return Facts(unreadable={"version": str(problem)})


def gather(client: KubeClient, *, into_nodes: bool = True) -> Facts:
    """Read everything that the checks need. Never raises: what cannot be read is in `unreadable`.

    INTO_NODES: also run our program in each plugin's Pod, and ask each kubelet for its gates.
    """
    unreadable: dict[str, str] = {}

    def attempt(name: str, read: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return read()
        except errors.KubeError as problem:
            unreadable[name] = str(problem)
            return otherwise

    def objects(name: str, kind: kinds.Kind, namespace: str | None = None, **selectors: str) -> list[Object]:
        found: list[Object] = attempt(name, lambda: client.list(kind, namespace, **selectors)[0], [])
        return found

    version = attempt("version", lambda: json.loads(client.raw("/version")), None)
    if version is None:
        return Facts(unreadable=unreadable)
    first = Facts(
        version=version,
        groups=attempt("groups", lambda: _groups(client), []),
        nodes=objects("nodes", kinds.NODES),
        leases=objects("leases", kinds.LEASES, "kube-node-lease"),
        slices=objects("slices", kinds.RESOURCE_SLICES),
        claims=objects("claims", kinds.RESOURCE_CLAIMS),
        templates=objects("templates", kinds.RESOURCE_CLAIM_TEMPLATES),
        classes=objects("classes", kinds.DEVICE_CLASSES),
        daemon_sets=objects("daemon_sets", kinds.DAEMON_SETS),
        deployments=objects("deployments", kinds.DEPLOYMENTS),
        pods=objects("pods", kinds.PODS, labels=OURS),
        converted=objects("converted", kinds.PODS, labels=f"{names.CONVERTED_LABEL}=true"),
        webhooks=objects("webhooks", kinds.MUTATING_WEBHOOKS),
        namespaces=objects("namespaces", kinds.NAMESPACES),
        gates=attempt("gates", lambda: parse_gates(client.raw("/metrics")), {}),
    )
    if not into_nodes:
        return replace(first, unreadable=unreadable)
    on_nodes, closed = _look_into_nodes(client, first.pods)
    return replace(
        first,
        secrets=attempt("secrets", lambda: _certificate(client, first), []),
        kubelet_gates=_kubelet_gates(client, first.gpu_nodes),
        on_nodes=on_nodes,
        closed_nodes=closed,
        unreadable=unreadable,
    )


def parse_gates(metrics: str) -> dict[str, bool]:
    """Feature gates from a component's metric `kubernetes_feature_enabled` (KEP-3466)."""
    return {name: value == "1" for name, value in _GATE.findall(metrics)}


def _certificate_secret(deployment: Object) -> str | None:
    """Name of the Secret with the webhook's certificate, as its Deployment has it."""
    spec = deployment["spec"]["template"]["spec"]
    for variable in spec["containers"][0].get("env") or []:
        if variable["name"] == "HAMI_CERT_SECRET":
            return str(variable["value"])
    mounted = (volume["secret"]["secretName"] for volume in spec.get("volumes") or [] if "secret" in volume)
    return next(mounted, None)


def _groups(client: KubeClient) -> list[str]:
    return [group["name"] for group in json.loads(client.raw("/apis"))["groups"]]


def _certificate(client: KubeClient, facts: Facts) -> list[Object]:
    for deployment in facts.deployments:
        name = _certificate_secret(deployment) if component(deployment) == "webhook" else None
        if name:
            try:
                return [client.get(kinds.SECRETS, name, deployment["metadata"]["namespace"])]
            except errors.NotFound:
                return []
    return []


def _kubelet_gates(client: KubeClient, nodes: list[str]) -> dict[str, dict[str, bool] | str]:
    def read(node: str) -> dict[str, bool] | str:
        try:
            return parse_gates(client.raw(f"/api/v1/nodes/{node}/proxy/metrics"))
        except errors.KubeError as problem:
            return str(problem)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(nodes, pool.map(read, nodes), strict=True))


def _look_into_nodes(client: KubeClient, pods: list[Object]) -> tuple[dict[str, NodeFacts], dict[str, str]]:
    """Ask the plugins' Pods on each node; one that does not run cannot be asked."""
    seen: dict[str, NodeFacts] = {}
    answered: set[tuple[str, str]] = set()
    closed: dict[tuple[str, str], str] = {}

    def look(pod: Object) -> NodeFacts | str:
        metadata = pod["metadata"]
        try:
            said = client.execute(metadata["namespace"], metadata["name"], "plugin", ["hami", "node-facts"])
            return msgspec.json.decode(said, type=NodeFacts)
        except (errors.KubeError, msgspec.MsgspecError) as problem:
            return f"{metadata['name']}: {problem}"

    plugins = [pod for pod in pods if component(pod) in PLUGINS and pod["spec"].get("nodeName")]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for pod, answer in zip(plugins, pool.map(look, plugins), strict=True):
            node = pod["spec"]["nodeName"]
            if isinstance(answer, NodeFacts):
                answered.add((node, component(pod)))
                seen[node] = merged(seen[node], answer) if node in seen else answer
            else:
                closed[node, component(pod)] = answer
    # Of two Pods during a rolling update one is enough.
    return seen, {node: why for (node, part), why in closed.items() if (node, part) not in answered}
