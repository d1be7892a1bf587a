"""The kind cluster: created, loaded with images, described for Ansible, and removed."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import node_image, podman, versions
from .progress import StepFailed, run, step

HERE = Path(__file__).parent
CONFIG = HERE / "kind.yaml"

JOIN_ATTEMPTS = 120
API_ATTEMPTS = 10
"""A node that has just been started again needs some seconds."""


@dataclass(frozen=True)
class Cluster:
    """A cluster by name; its kubeconfig and inventory live in the cache.

    The variable HAMI_CLUSTER names another than the demo's: `make test` has one of its own, so that what
    a person left running in the demo is neither in its way nor lost.
    """

    name: str = field(default_factory=lambda: os.environ.get("HAMI_CLUSTER", "hami-demo"))

    @property
    def folder(self) -> Path:
        return versions.CACHE / "clusters" / self.name

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory.yml"

    @property
    def image_variables(self) -> Path:
        """Ansible variables that name the product image in the nodes."""
        return self.folder / "images.yml"

    def nodes(self) -> list[str]:
        """Names of the node containers that exist, the control plane first."""
        label = f"label=io.x-k8s.kind.cluster={self.name}"
        names = podman.podman("ps", "-a", "--filter", label, "--format", "{{.Names}}").split()
        return sorted(names)

    def exists(self) -> bool:
        return bool(self.nodes()) and self.kubeconfig.is_file()

    def gpus(self, node: str) -> Path:
        """The file of simulated GPUs for a node; a node without GPUs has none."""
        return HERE / "gpus" / f"{node.removeprefix(f'{self.name}-')}.yaml"

    def problem(self, release: versions.Kubernetes) -> str:
        """Why this cluster cannot be used as it is, in a few words; empty when it can."""
        nodes, wanted = self.nodes(), CONFIG.read_text().count("\n- role:")
        if len(nodes) != wanted or not self.inventory.is_file():
            return f"{len(nodes)} of {wanted} nodes are there"
        for node in nodes:
            # podman's own word counts for little: a container killed together with its monitor is still "Up".
            try:
                version = podman.podman("exec", node, "cat", "/kind/version", limit_s=20).strip()
                image = podman.podman("inspect", "--format", "{{.ImageName}}", node).strip()
            except StepFailed:
                return f"{node} does not run"
            if version != f"v{release.version}":
                return f"{node} is Kubernetes {version.removeprefix('v')}, not {release.version}"
            if image != node_image.tag(release):
                return f"{node} has another image, {image.rpartition(':')[2]}"
        return self._api_problem()

    def _api_problem(self) -> str:
        for attempt in range(API_ATTEMPTS):
            if attempt:
                time.sleep(1)
            try:
                self.kubectl("--request-timeout=5s", "get", "--raw=/readyz")
            except StepFailed as problem:
                answer = str(problem).strip().splitlines()[-1]
            else:
                return ""
        return f"its API server does not answer ({answer})"

    def create(self, release: versions.Kubernetes) -> None:
        """Create the cluster and wait until its nodes are Ready."""
        image = node_image.build(release)
        # kind mounts it into every node; a confined host may have none.
        Path("/lib/modules").mkdir(exist_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        with step(f"create the kind cluster {self.name} (Kubernetes {release.version})", "1 min") as running:
            self._kind(
                "create",
                "cluster",
                "--image",
                image,
                "--config",
                str(CONFIG),
                "--wait",
                "180s",
                on_line=lambda line: running.note(line.strip(" •✓\x1b")[:70]),
            )
            running.note("waiting for the workers")
            self._await_nodes()
        self.inventory.write_text(_inventory(self))

    def _await_nodes(self) -> None:
        """kind waits for the control plane alone, and is content with workers whose kubelet cannot start."""
        for _ in range(JOIN_ATTEMPTS):
            joined = self.kubectl("get", "nodes", "--output", "name").replace("node/", "").split()
            missing = sorted(set(self.nodes()) - set(joined))
            if not missing:
                return
            time.sleep(1)
        raise StepFailed(
            f"{', '.join(missing)}: no kubelet joins. `podman exec NODE journalctl -u kubelet` says"
            " why. Another cluster may hold the inotify instances that it needs, about 15 for a node"
            " (/proc/sys/fs/inotify/max_user_instances)"
        )

    def load(self, *tags: str) -> None:
        """Load images of podman's store into every node."""
        archive = self.folder / "images.tar"
        with step(f"load {', '.join(tag.rpartition('/')[2] for tag in tags)} into the nodes", "30 s"):
            archive.unlink(missing_ok=True)
            podman.podman("save", "--multi-image-archive", "--output", archive, *tags)
            self._kind("load", "image-archive", str(archive))
            archive.unlink()

    def delete(self) -> None:
        """Remove the cluster and everything made for it outside the caches."""
        with step(f"remove the kind cluster {self.name}", "20 s"):
            # Containers whose processes were killed cannot be stopped in order; below they go by force.
            with contextlib.suppress(StepFailed):
                self._kind("delete", "cluster")
            for node in self.nodes():
                podman.remove(node)
            _remove_idle_network()
            shutil.rmtree(self.folder, ignore_errors=True)

    def kubectl(self, *arguments: str, stdin: bytes | None = None) -> str:
        return run([*self.kubectl_command, *arguments], stdin=stdin)

    @property
    def kubectl_command(self) -> list[str | Path]:
        """kubectl for this cluster, as a command line to be continued."""
        return [node_image.tools() / "usr/bin/kubectl", "--kubeconfig", self.kubeconfig]

    def _kind(self, *arguments: str, on_line: object = None) -> str:
        command = [node_image.tools() / "usr/bin/kind", *arguments, "--name", self.name]
        env = podman.environment() | {"KUBECONFIG": str(self.kubeconfig)}
        return run(command, env=env, on_line=on_line)  # type: ignore[arg-type]


def _remove_idle_network() -> None:
    """kind makes the network for its first cluster and leaves it behind after the last."""
    there = podman.podman("network", "ls", "--quiet", "--filter", "name=^kind$").strip()
    if there and not podman.podman("ps", "--all", "--quiet", "--filter", "network=kind").strip():
        podman.podman("network", "rm", "kind")


def require(cluster: Cluster) -> None:
    """Raise StepFailed with the remedy when the cluster is not there."""
    if not cluster.exists():
        raise StepFailed(f"there is no cluster {cluster.name}; `make demo` makes it")


def _inventory(cluster: Cluster) -> str:
    """An Ansible inventory of the node containers, reached through podman."""
    nodes = cluster.nodes()
    control = "".join(f"        {name}:\n" for name in nodes if "control-plane" in name)
    with_gpus = "".join(
        f"        {name}:\n          hami_simulated_gpus: {gpus}\n"
        for name in nodes
        if (gpus := cluster.gpus(name)).is_file()
    )
    return (
        "# Written by tests/cluster when it made the cluster.\n"
        "all:\n"
        "  vars:\n"
        "    ansible_connection: node_container\n"
        # The nodes have no sudo, and need none: everything there runs as root.
        "    ansible_user: root\n"
        "    ansible_python_interpreter: /usr/bin/python3\n"
        f"    hami_kubeconfig: {cluster.kubeconfig}\n"
        "  children:\n"
        f"    control_plane:\n      hosts:\n{control}"
        f"    gpu_nodes:\n      hosts:\n{with_gpus}"
    )
