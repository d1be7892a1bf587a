"""`python -m tests.cluster.nodes up | down SCENARIO`: Debian machines with systemd for molecule.

Each is a podman container with systemd as its first process, so that roles restart real services. Where a
scenario needs Kubernetes, `node_stub.py` runs in the place of the kubelet: it reads the real files, keeps to
the layout of kubeadm, k3s and rke2, and refuses gates that do not go together. CRI-O, which Debian has not,
is a stand-in too: `crio_stub.py`.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import debian, image_archive, node_image, podman, versions
from .progress import StepFailed, step

HERE = Path(__file__).parent
STUB = HERE / "node_stub.py"
CRIO_STUB = HERE / "crio_stub.py"

CONTAINERD_SUITES = {"1.7": "trixie", "2": versions.TOOLS_SUITE}
"""Debian suites that carry each line of containerd."""


@dataclass(frozen=True)
class Node:
    """A machine of a scenario: its groups in the inventory, what Kubernetes it plays, its containerd."""

    name: str
    groups: tuple[str, ...]
    kubernetes: str = ""  # what node_stub.py plays: kubeadm, k3s, rke2, rke2-agent or nothing
    containerd: str = ""  # 1.7, 2 or nothing
    crio: bool = False
    variables: dict[str, str] = field(default_factory=dict)


SIMULATED = {"hami_simulated_gpus": str(HERE / "gpus/worker.yaml")}
AIR_GAPPED = {
    "hami_image": "{registry: registry.example.com, repository: hami-dra/hami-dra, tag: 0.0.1}",
    "hami_image_archive": str(versions.CACHE / "nodes/image.tar.gz"),
}

SCENARIOS: dict[str, tuple[Node, ...]] = {
    "default": (
        Node("control", ("control_plane",), kubernetes="kubeadm", containerd="2", variables=AIR_GAPPED),
        Node("gpu-1", ("gpu_nodes",), "kubeadm", containerd="1.7", variables=SIMULATED | AIR_GAPPED),
        Node("gpu-2", ("gpu_nodes",), "kubeadm", containerd="2", variables=SIMULATED | AIR_GAPPED),
    ),
    "container_runtime": (
        Node("containerd-1-7", ("gpu_nodes",), containerd="1.7"),
        Node("containerd-2", ("gpu_nodes",), containerd="2"),
        Node("cri-o", ("gpu_nodes",), crio=True),
    ),
    "control_plane": tuple(
        Node(f"control-{number}", ("control_plane",), kubernetes="kubeadm") for number in (1, 2, 3)
    ),
    "k3s": (Node("server", ("control_plane", "gpu_nodes"), kubernetes="k3s"),),
    "rke2": (
        Node("server", ("control_plane", "gpu_nodes"), kubernetes="rke2"),
        Node("agent", ("gpu_nodes",), kubernetes="rke2-agent"),
    ),
    "reset": (
        Node("control", ("control_plane",), kubernetes="kubeadm"),
        Node("gpu", ("gpu_nodes",), kubernetes="kubeadm", containerd="1.7", variables=SIMULATED),
    ),
}


def folder(scenario: str) -> Path:
    """Where a scenario's inventory and kubeconfig are."""
    return versions.CACHE / "nodes" / scenario


def container(scenario: str, node: Node) -> str:
    """Name of a node's container."""
    return f"hami-{scenario.replace('_', '-')}-{node.name}"


def up(scenario: str) -> None:
    """Start the nodes of SCENARIO anew and write their inventory."""
    debian.install()
    down(scenario)
    image = _image()
    place = folder(scenario)
    place.mkdir(parents=True)
    with step(f"start the nodes of {scenario}", "10 s"):
        for node in SCENARIOS[scenario]:
            _start(scenario, node, image)
        for node in SCENARIOS[scenario]:
            _wait(container(scenario, node))
    addresses = {
        node.name: podman.podman(
            "inspect", "--format", "{{.NetworkSettings.IPAddress}}", container(scenario, node)
        ).strip()
        for node in SCENARIOS[scenario]
    }
    _image_archive(Path(AIR_GAPPED["hami_image_archive"]))
    (place / "inventory.yml").write_text(_inventory(scenario, addresses))
    for node in SCENARIOS[scenario]:
        if "control_plane" in node.groups:
            (place / "kubeconfig").write_text(_kubeconfig(addresses[node.name]))
            break


def down(scenario: str) -> None:
    """Remove the nodes of SCENARIO."""
    there = podman.podman("ps", "--all", "--format", "{{.Names}}").split()
    for node in SCENARIOS[scenario]:
        if container(scenario, node) in there:
            podman.remove(container(scenario, node))
    shutil.rmtree(folder(scenario), ignore_errors=True)


def _image_archive(path: Path) -> None:
    """An image with nothing in it but this file, gzipped as a release's is."""
    plain = path.with_suffix("")
    tag = "registry.example.com/hami-dra/hami-dra:0.0.1"
    image_archive.pack([image_archive.Image(tag, {"nodes.py": Path(__file__)})], plain)
    path.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()


def _image() -> str:
    """A plain Debian with systemd, from the root file system that the kind nodes have too."""
    key = versions.digest(*node_image.NODE_PACKAGES, "systemd-1")
    tag = f"localhost/hami-dra/systemd:{versions.DEBIAN_SUITE}-{key}"
    if not podman.image_exists(tag):
        base = debian.root_file_system("node", node_image.NODE_PACKAGES)
        podman.import_image(base, tag, ('CMD ["/sbin/init"]',))
    return tag


def containerd(line: str) -> Path:
    """Folder with the programs of containerd's LINE (1.7 or 2), unpacked from Debian."""
    if line == "2":
        return node_image.tools()
    suite = CONTAINERD_SUITES[line]
    into = versions.CACHE / "tools" / f"containerd-{line}-{versions.digest(suite)}"
    if not into.is_dir():
        partial = into.with_name(into.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with step(f"fetch containerd {line} from Debian {suite}", "20 s"):
            debian.unpack(("containerd",), suite, partial)
        partial.rename(into)
    return into


def _start(scenario: str, node: Node, image: str) -> None:
    mounts = [f"{STUB}:/usr/local/bin/node-stub:ro"]
    mounts += [f"{node_image.tools() / 'usr/bin/kubectl'}:/usr/local/bin/kubectl:ro"]
    if node.containerd:
        programs = containerd(node.containerd) / "usr/bin"
        for name in ("containerd", "ctr", "containerd-shim-runc-v2"):
            mounts.append(f"{programs / name}:/usr/local/bin/{name}:ro")
        mounts.append(f"{HERE / 'node/units/containerd.service'}:/etc/systemd/system/containerd.service:ro")
    if node.crio:
        mounts.append(f"{CRIO_STUB}:/usr/local/bin/crio:ro")
    name = container(scenario, node)
    podman.podman(
        *("run", "--detach", "--name", name, "--hostname", node.name, "--systemd=false", "--privileged"),
        *("--cgroupns=private", "--tmpfs=/run", "--tmpfs=/tmp", "--volume=/var"),
        *(f"--volume={mount}" for mount in mounts),
        *(image, "/sbin/init"),
    )


def _wait(name: str) -> None:
    """Wait until systemd has started everything; a unit that failed is not ours to judge here."""
    for _ in range(120):
        try:
            state = podman.podman("exec", name, "systemctl", "is-system-running", limit_s=10)
        except StepFailed as problem:
            state = str(problem)
        if "running" in state.splitlines()[-1] or "degraded" in state:
            return
        time.sleep(0.5)
    raise StepFailed(f"{name}: systemd does not come up")


def _kubeconfig(address: str) -> str:
    return (
        "apiVersion: v1\nkind: Config\ncurrent-context: stub\n"
        f"clusters: [{{name: stub, cluster: {{server: 'https://{address}:6443',"
        " insecure-skip-tls-verify: true}}]\n"
        "users: [{name: stub, user: {token: none}}]\n"
        "contexts: [{name: stub, context: {cluster: stub, user: stub}}]\n"
    )


def _inventory(scenario: str, addresses: dict[str, str]) -> str:
    lines = [
        f"# Written by tests/cluster/nodes.py for the scenario {scenario}.",
        "all:",
        "  vars:",
        "    ansible_connection: node_container",
        "    ansible_user: root",
        "    ansible_python_interpreter: /usr/bin/python3",
        f"    hami_kubeconfig: {folder(scenario) / 'kubeconfig'}",
        "  hosts:",
    ]
    for node in SCENARIOS[scenario]:
        lines += [f"    {node.name}:", f"      ansible_host: {container(scenario, node)}"]
        lines += [
            f"      stub_kubernetes: '{node.kubernetes}'",
            f"      stub_containerd: '{node.containerd}'",
            f"      stub_crio: {str(node.crio).lower()}",
        ]
        lines += [f"      stub_address: {addresses[node.name]}"]
        lines += [f"      {key}: {value}" for key, value in node.variables.items()]
    lines.append("  children:")
    for group in ("control_plane", "gpu_nodes"):
        members = [node.name for node in SCENARIOS[scenario] if group in node.groups]
        lines += [f"    {group}:", "      hosts:" if members else "      hosts: {}"]
        lines += [f"        {member}:" for member in members]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.nodes", description=__doc__)
    parser.add_argument("command", choices=["up", "down"])
    parser.add_argument("scenario", choices=sorted(SCENARIOS))
    arguments = parser.parse_args()
    try:
        {"up": up, "down": down}[arguments.command](arguments.scenario)
    except StepFailed as problem:
        print(f"tests.cluster.nodes: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
