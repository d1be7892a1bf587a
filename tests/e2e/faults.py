"""What can go wrong on a node, done to a real one: systemd or kubelet start it again."""

from __future__ import annotations

from collections.abc import Callable

from tests.cluster import podman
from tests.cluster.progress import StepFailed
from tests.e2e.kubectl import on_node

SHARES = "/var/lib/hami/shares"


def kill_plugin(node: str) -> None:
    """SIGKILL of every plugin process of the node."""
    script = "for pid in $(pgrep -f '[h]ami plugin'); do kill -9 $pid; done"
    on_node(node, "sh", "-c", script)


def kill_kubelet(node: str) -> None:
    on_node(node, "systemctl", "kill", "--signal=KILL", "--kill-who=main", "kubelet")


def kill_containerd(node: str) -> None:
    on_node(node, "systemctl", "kill", "--signal=KILL", "--kill-who=main", "containerd")


def reboot(node: str) -> None:
    """The node's container stops at once and starts anew: its memory file systems are empty.

    It keeps its address, as a node does: podman would give it the next one that is free.
    """
    address = podman.podman(
        "inspect", "--format", "{{.NetworkSettings.Networks.kind.IPAddress}}", node
    ).strip()
    podman.podman("stop", "--time", "0", node)
    podman.podman("network", "disconnect", "kind", node)
    podman.podman("network", "connect", "--ip", address, "kind", node)
    podman.podman("start", node)


FAULTS: dict[str, Callable[[str], None]] = {
    "plugin": kill_plugin,
    "kubelet": kill_kubelet,
    "containerd": kill_containerd,
}


def left_on(node: str, uids: set[str], shares: set[str]) -> set[str]:
    """What a node still has of claims and shares that should be gone."""
    try:
        found = on_node(node, "sh", "-c", f"ls {SHARES} /var/run/cdi 2>/dev/null; true").split()
    except StepFailed:
        return {"the node does not answer"}
    return {name for name in found if name in shares or any(uid in name for uid in uids)}
