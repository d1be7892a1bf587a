"""The plugin starts with a checkpoint that is none: running Pods go on, and an Event tells what it was."""

from __future__ import annotations

from tests.cluster.cluster import Cluster
from tests.e2e import faults
from tests.e2e.claimed import add, identity, phase, restarts
from tests.e2e.kubectl import Kubectl, on_node
from tests.support.waiting import until

CHECKPOINT = "/var/lib/hami/checkpoint.json"
PATIENCE_S = 360.0
"""Where the machine is busy; kubelet itself tries again every few seconds (tests/cluster/kind.yaml)."""


def rebuilt(cluster: Cluster, node: str) -> list[str]:
    """Messages of the Events that tell of a checkpoint that was made anew."""
    about = f"involvedObject.kind=Node,involvedObject.name={node},reason=CheckpointRebuilt"
    events = Kubectl(cluster, "default").list("events", f"--field-selector={about}")
    return [event["message"] for event in events]


def test_when_the_checkpoint_is_damaged_running_pods_go_on_and_the_node_tells(
    cluster: Cluster, namespace: Kubectl, gpu_node: str
) -> None:
    add(namespace, "stays", gpu_node)
    namespace.wait_running("stays")
    uids, shares = identity(namespace, "stays")
    before = rebuilt(cluster, gpu_node)
    on_node(gpu_node, "truncate", "--size=-9", CHECKPOINT)
    faults.kill_plugin(gpu_node)
    add(namespace, "comes", gpu_node)
    until(lambda: phase(namespace, "comes") == "Running", "the next Pod", PATIENCE_S)

    def new() -> list[str]:
        return [message for message in rebuilt(cluster, gpu_node) if message not in before]

    (message,) = until(new, "the Event on the Node")
    assert "not a checkpoint" in message
    assert "claims taken from the API" in message
    assert set(namespace("exec", "stays", "--", "ls", "/run/hami/shares").split()) == shares
    assert restarts(namespace, "stays") == 0
    namespace.delete_pod("stays")
    until(lambda: not faults.left_on(gpu_node, uids, shares), "nothing left over")
    on_node(gpu_node, "sh", "-c", f"rm -f {CHECKPOINT}.damaged-*")
