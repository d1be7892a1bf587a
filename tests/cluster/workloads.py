"""`python -m tests.cluster.workloads [look | spread | moved]`: Pods that an upgrade must not cost anybody.

Without a word the guide's two workloads are started; `look` requires that both still have their 10 GiB, and
that an allocation beyond them is refused. `spread` starts a Deployment with a Pod for each worker; `moved`
requires that other Pods have taken the places of all of them, with the same shares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from .cluster import Cluster
from .demo import guide_manifest
from .progress import StepFailed

PODS = {"native.yaml": "gpu-test-dra-native", "compatible.yaml": "gpu-test-compatible"}
SPREAD = "spread"


def start(cluster: Cluster) -> None:
    """Start the guide's two workloads."""
    for manifest, pod in PODS.items():
        cluster.kubectl("apply", "-f", "-", stdin=guide_manifest(manifest).encode())
        cluster.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=120s")


def look(cluster: Cluster) -> None:
    """Require that the guide's two workloads have their shares."""
    for pod in PODS.values():
        _require_share(cluster, pod)


def spread(cluster: Cluster) -> None:
    """Start a Deployment of the guide's second workload, and note its Pods."""
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(_deployment()).encode())
    _noted(cluster).write_text(" ".join(_ready_pods(cluster)))


def moved(cluster: Cluster) -> None:
    """Require that all its Pods were replaced, and that the new ones have their shares."""
    before, now = _noted(cluster).read_text().split(), _ready_pods(cluster)
    if len(now) != len(before) or set(now) & set(before):
        raise StepFailed(f"not replaced one by one: {before} became {now}")
    for pod in now:
        _require_share(cluster, pod)


def _noted(cluster: Cluster) -> Path:
    return cluster.folder / "spread"


def _deployment() -> dict[str, Any]:
    """Two Pods, if possible on two nodes, of which one may be away at a time."""
    container = yaml.safe_load(guide_manifest("compatible.yaml"))["spec"]["containers"][0]
    labels = {"app": SPREAD}
    apart = {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": apart}]
    }
    template = {
        "metadata": {"labels": labels},
        "spec": {
            "containers": [container],
            "affinity": {"podAntiAffinity": affinity},
            "terminationGracePeriodSeconds": 1,
        },
    }
    selector = {"matchLabels": labels}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": SPREAD},
        "spec": {"replicas": 2, "selector": selector, "template": template},
    }
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": SPREAD},
        "spec": {"maxUnavailable": 1, "selector": selector},
    }
    return {"apiVersion": "v1", "kind": "List", "items": [deployment, budget]}


def _ready_pods(cluster: Cluster) -> list[str]:
    cluster.kubectl("rollout", "status", f"deployment/{SPREAD}", "--timeout=180s")
    running = [f"--selector=app={SPREAD}", "--field-selector=status.phase=Running"]
    return cluster.kubectl("get", "pods", *running, "--output=jsonpath={.items[*].metadata.name}").split()


def _require_share(cluster: Cluster, pod: str) -> None:
    table = cluster.kubectl("exec", pod, "--", "nvidia-smi")
    if "10240MiB" not in table:
        raise StepFailed(f"{pod} does not see its 10 GiB any more:\n{table}")
    cluster.kubectl("exec", pod, "--", "hami-fill", "--total", "1Gi")
    try:
        cluster.kubectl("exec", pod, "--", "hami-fill", "--total", "11Gi")
    except StepFailed:
        return
    raise StepFailed(f"{pod} could allocate 11 GiB of its 10")


def main() -> int:
    """Do what the command line says."""
    does = {"": start, "look": look, "spread": spread, "moved": moved}
    try:
        does[" ".join(sys.argv[1:])](Cluster())
    except StepFailed as problem:
        print(f"workloads: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
