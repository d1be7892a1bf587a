"""A card falls sick and recovers (simulated): scheduler, kubelet and Pods hear of it, what runs goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from hami_dra.model.names import DRIVER
from tests.cluster import versions
from tests.cluster.cluster import Cluster
from tests.e2e.claimed import add, phase, restarts
from tests.e2e.kubectl import Kubectl, on_node
from tests.support.waiting import until

FAULTS = "/run/nvidia/driver/var/lib/hami-sim/state.faults"


@pytest.fixture
def fault(gpu_node: str) -> Iterator[Callable[[str], None]]:
    """Add a line to the faults of the node's simulated driver."""
    mend(gpu_node)

    def add_line(line: str) -> None:
        on_node(gpu_node, "sh", "-c", f"echo '{line}' >> {FAULTS}")

    yield add_line
    mend(gpu_node)


def mend(node: str) -> None:
    on_node(node, "rm", "-f", FAULTS)


def cards(cluster: Cluster, node: str) -> list[dict]:
    """As they are published: the node has one."""
    slices = Kubectl(cluster).list("resourceslices", f"--field-selector=spec.nodeName={node}")
    ours = [each["spec"] for each in slices if each["spec"]["driver"] == DRIVER]
    return [device for spec in ours for device in spec.get("devices") or []]


def taints(cluster: Cluster, node: str) -> set[tuple[str, str]]:
    found = [taint for card in cards(cluster, node) for taint in card.get("taints") or []]
    return {(each["key"].removeprefix(f"{DRIVER}/"), each.get("value", "")) for each in found}


def health(kubectl: Kubectl, name: str) -> set[str]:
    """What kubelet says in the Pod's status of the card that it has a share of."""
    containers = kubectl.get("pod", name)["status"]["containerStatuses"]
    told = [each for container in containers for each in container.get("allocatedResourcesStatus") or []]
    return {each["health"] for entry in told for each in entry["resources"]}


WITH_TAINTS = versions.DEFAULT_KUBERNETES >= "1.36"


@pytest.mark.skipif(not WITH_TAINTS, reason="the gates DRADeviceTaints and ResourceHealthStatus are off")
def test_a_fatal_error_keeps_new_pods_away_until_the_card_was_reset(
    cluster: Cluster, namespace: Kubectl, gpu_node: str, fault: Callable[[str], None]
) -> None:
    add(namespace, "user", gpu_node)
    namespace.wait_running("user")
    until(lambda: health(namespace, "user") == {"Healthy"}, "kubelet to hear that the card is well")
    uuid = cards(cluster, gpu_node)[0]["attributes"]["uuid"]["string"]

    fault(f"xid {uuid} 13")  # a program's own mistake
    fault(f"xid {uuid} 79")  # the card fell off the bus
    until(lambda: taints(cluster, gpu_node) == {("xid", "79")}, "the taint of the fatal error alone")
    until(lambda: health(namespace, "user") == {"Unhealthy"}, "kubelet to hear of it")
    add(namespace, "next", gpu_node)
    until(lambda: "cannot allocate all claims" in namespace.events("next"), "the scheduler's reason")

    fault(f"lost {uuid}")  # as while it is reset
    until(lambda: ("lost", "") in taints(cluster, gpu_node), "the card to be away")
    mend(gpu_node)
    until(lambda: taints(cluster, gpu_node) == set(), "the taints to go")
    until(lambda: phase(namespace, "next") == "Running", "the Pod that waited")
    until(lambda: health(namespace, "user") == {"Healthy"}, "kubelet to hear that it is well again")
    assert (phase(namespace, "user"), restarts(namespace, "user")) == ("Running", 0)


@pytest.mark.skipif(WITH_TAINTS, reason="the cluster keeps taints")
def test_where_the_cluster_drops_taints_a_card_that_is_lost_is_not_offered(
    cluster: Cluster, namespace: Kubectl, gpu_node: str, fault: Callable[[str], None]
) -> None:
    add(namespace, "user", gpu_node)
    namespace.wait_running("user")
    fault(f"lost {cards(cluster, gpu_node)[0]['attributes']['uuid']['string']}")
    until(lambda: cards(cluster, gpu_node) == [], "the card to go")
    add(namespace, "next", gpu_node)
    until(lambda: "cannot allocate all claims" in namespace.events("next"), "the scheduler's reason")
    mend(gpu_node)
    until(lambda: phase(namespace, "next") == "Running", "the Pod that waited")
    assert (phase(namespace, "user"), restarts(namespace, "user")) == ("Running", 0)
