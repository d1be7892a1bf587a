"""A machine that lost the processes of its cluster, as after a reboot: podman still calls the nodes "Up".

Makes a cluster of its own; run it by name (`make molecule` does), it is no part of the e2e suite's cluster.
"""

import os
import signal

import pytest

from tests.cluster import podman, versions
from tests.cluster.cluster import Cluster
from tests.support.waiting import until

pytestmark = pytest.mark.e2e

RELEASE = versions.KUBERNETES[versions.DEFAULT_KUBERNETES]


@pytest.fixture
def cluster():
    made = Cluster("hami-recovery")
    try:
        made.create(RELEASE)
        yield made
    finally:
        made.delete()


def kill(node: str) -> None:
    """End the node's first process and podman's monitor of it, as the end of the machine does."""
    state = podman.podman("inspect", "--format", "{{.State.ConmonPid}} {{.State.Pid}}", node)
    for pid in state.split():
        os.kill(int(pid), signal.SIGKILL)


def test_a_cluster_whose_processes_were_killed_is_found_out_and_removed(cluster):
    assert cluster.problem(RELEASE) == ""
    nodes = cluster.nodes()
    for node in nodes:
        kill(node)
    gone = f"{nodes[0]} does not run"
    until(lambda: cluster.problem(RELEASE) == gone, lambda: f"{gone!r}, not {cluster.problem(RELEASE)!r}")
    cluster.delete()
    assert cluster.nodes() == []
    assert cluster.problem(RELEASE) == "0 of 4 nodes are there"
