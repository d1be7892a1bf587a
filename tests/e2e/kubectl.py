"""kubectl and Helm for tests: apply dicts, wait for what a user would wait for, look into Pods and nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cluster import podman, product, terminal
from tests.cluster.cluster import Cluster
from tests.cluster.go_programs import HELM, build
from tests.cluster.progress import StepFailed, run
from tests.cluster.versions import REPO

Object = dict[str, Any]
PATIENCE_S = 90.0
SLEEP = ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]
"""Ends when it is told to: `sleep` as a container's first process would be killed a second later."""


def helm(cluster: Cluster, *arguments: str | Path, stdin: bytes | None = None) -> str:
    """What Helm prints, as its user runs it for the test cluster; StepFailed says what went wrong."""
    command = [build(HELM) / "helm", "--kubeconfig", cluster.kubeconfig, "--namespace", "hami-system"]
    return run([*command, *arguments], cwd=REPO, stdin=stdin)


class Kubectl:
    """kubectl on the test cluster, in one namespace."""

    def __init__(self, cluster: Cluster, namespace: str = "default") -> None:
        self.cluster = cluster
        self.namespace = namespace

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments, stdin=stdin)

    def apply(self, *objects: Object, dry_run: bool = False) -> None:
        """Create the objects; StepFailed carries the server's refusal."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        how = ["--dry-run=server"] if dry_run else []
        self("apply", *how, "-f", "-", stdin=json.dumps(listed).encode())

    def refusal(self, *objects: Object) -> str:
        """What the server answers to objects that it must refuse."""
        try:
            self.apply(*objects)
        except StepFailed as refused:
            return str(refused)
        raise AssertionError("the server accepted what it should have refused")

    def get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(self("get", kind, name, "-o", "json"))
        return found

    def list(self, kind: str, *arguments: str) -> list[Object]:
        items: list[Object] = json.loads(self("get", kind, *arguments, "-o", "json"))["items"]
        return items

    def wait_running(self, pod: str) -> Object:
        """Wait until a Pod is Ready and return it."""
        self("wait", "--for=condition=Ready", f"pod/{pod}", f"--timeout={PATIENCE_S:.0f}s")
        return self.get("pod", pod)

    def delete_pod(self, name: str) -> None:
        self("delete", "pod", name, "--grace-period=1", "--wait=true", "--timeout=90s")

    def run_in(self, pod: str, *command: str) -> tuple[int, str]:
        """Run a command in a Pod; its exit code and both its streams."""
        script = '"$@" 2>&1; echo "exit=$?"'
        output = self("exec", pod, "--", "sh", "-c", script, "sh", *command)
        text, _, code = output.rpartition("exit=")
        return int(code), text

    def on_terminal(self, pod: str, *command: str) -> str:
        """What a person at a terminal sees of a command in a Pod."""
        typed = ["exec", "-it", pod, "--", *command]
        return terminal.on_terminal([*self.cluster.kubectl_command, "--namespace", self.namespace, *typed])

    def events(self, name: str) -> str:
        """Messages of the Events about an object."""
        events = self.list("events", "--field-selector", f"involvedObject.name={name}")
        return "\n".join(event.get("message", "") for event in events)


def on_node(node: str, *command: str) -> str:
    """Run a command on a node, as root."""
    return podman.podman("exec", node, *command)


def claim(name: str, memory: str = "10Gi", cores: int | None = 50) -> Object:
    """A ResourceClaim as the guide writes it."""
    requests = {"memory": memory} | ({} if cores is None else {"cores": str(cores)})
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": name},
        "spec": {
            "devices": {
                "requests": [
                    {
                        "name": "gpu",
                        "exactly": {
                            "deviceClassName": "hami-core-gpu.project-hami.io",
                            "capacity": {"requests": requests},
                        },
                    }
                ]
            }
        },
    }


def pod(name: str, *, claim: str = "", limits: Object | None = None, node: str = "") -> Object:
    """A Pod that sleeps, with a claim or with the limits of the device plugin's days."""
    container: Object = {
        "name": "cuda",
        "image": product.WORKLOAD,
        "imagePullPolicy": "Never",
        "command": SLEEP,
        "resources": {},
    }
    spec: Object = {"containers": [container], "terminationGracePeriodSeconds": 1}
    if claim:
        container["resources"]["claims"] = [{"name": "gpu"}]
        spec["resourceClaims"] = [{"name": "gpu", "resourceClaimName": claim}]
    if limits:
        container["resources"]["limits"] = limits
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def gpu_limits(memory_mib: object = 10240, cores: object = 50, gpus: object = 1) -> Object:
    """The guide's limits; None leaves one out."""
    named = {"nvidia.com/gpu": gpus, "nvidia.com/gpumem": memory_mib, "nvidia.com/gpucores": cores}
    return {key: str(value) for key, value in named.items() if value is not None}
