"""What can go wrong on a node, done to a real one: systemd or kubelet start it again."""

from __future__ import annotations

from collections.abc import Callable

from tests.cluster import podman
from tests.cluster.progress import StepFailed
from tests.e2e.kubectl import on_node

SHARES = "/var/lib/hami/shares"


def kill_plugin(node: str) -> None:
    """SIGKILL of every plugin process of the node."""
    _kill(node, "pgrep -f '[h]ami plugin'")


def kill_kubelet(node: str) -> None:
    _kill(node, "systemctl show --property=MainPID --value kubelet")


def kill_containerd(node: str) -> None:
    _kill(node, "systemctl show --property=MainPID --value containerd")


def _kill(node: str, which: str) -> None:
    """SIGKILL of the processes that a command prints; one that is down just now, or goes, is no error."""
    script = f"for pid in $({which}); do test $pid = 0 || kill -9 $pid || true; done"
    on_node(node, "sh", "-c", script)


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
