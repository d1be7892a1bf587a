"""Pods on a node where plugin, kubelet or containerd is killed, or that is rebooted, in the middle of things.

`HAMI_FAULTS=200` sets the number of random faults (4 otherwise) and adds a reboot, `HAMI_PODS=100` the number
of Pods that go through one node (4 otherwise): `make faults`.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.e2e import faults
from tests.e2e.claimed import add, identity, phase, restarts
from tests.e2e.kubectl import Kubectl
from tests.support.waiting import until

RANDOM_FAULTS = int(os.environ.get("HAMI_FAULTS", "4"))
PODS = int(os.environ.get("HAMI_PODS", "4"))
PATIENCE_S = 480.0
"""Where the machine is busy; kubelet itself tries again every few seconds (tests/cluster/kind.yaml)."""


@pytest.fixture
def stays(namespace: Kubectl, gpu_node: str) -> Iterator[str]:
    """A Pod that must never notice."""

    def runs() -> bool:
        return phase(namespace, "stays") == "Running"

    add(namespace, "stays", gpu_node)
    until(runs, "the Pod that must not notice to start", PATIENCE_S)
    yield "stays"
    until(runs, "the Pod that must not notice", PATIENCE_S)


@pytest.mark.parametrize("fault", faults.FAULTS)
def test_killed_in_the_middle_of_prepare_and_unprepare_every_pod_ends_as_it_should(
    namespace: Kubectl, gpu_node: str, stays: str, fault: str
) -> None:
    chance = random.Random(fault)
    add(namespace, "comes", gpu_node)
    time.sleep(chance.uniform(0.0, 0.6))
    faults.FAULTS[fault](gpu_node)
    until(lambda: phase(namespace, "comes") == "Running", "the Pod", PATIENCE_S)
    uids, shares = identity(namespace, "comes")
    namespace("delete", "pod", "comes", "--grace-period=1", "--wait=false")
    time.sleep(chance.uniform(0.0, 1.5))
    faults.FAULTS[fault](gpu_node)
    until(lambda: phase(namespace, "comes") == "", "the end of the Pod", PATIENCE_S)
    until(lambda: not faults.left_on(gpu_node, uids, shares), "nothing left over", PATIENCE_S)
    assert restarts(namespace, stays) == 0


def test_random_faults_while_pods_come_and_go(namespace: Kubectl, gpu_node: str, stays: str) -> None:
    chance = random.Random(20)
    here: list[str] = []
    gone: tuple[set[str], set[str]] = set(), set()
    for number in range(RANDOM_FAULTS):
        name = f"pod{number}"
        add(namespace, name, gpu_node)
        here.append(name)
        if len(here) > 4:
            old = here.pop(chance.randrange(4))
            for known, found in zip(gone, identity(namespace, old), strict=True):
                known.update(found)
            namespace("delete", "pod", old, "--grace-period=1", "--wait=false")
        time.sleep(chance.uniform(0.0, 2.0))
        faults.FAULTS[chance.choice(sorted(faults.FAULTS))](gpu_node)
    for name in here:
        until(lambda name=name: phase(namespace, name) == "Running", f"{name} to run", PATIENCE_S)
    living = {item["metadata"]["name"] for item in namespace.list("pods")}
    until(
        lambda: {item["metadata"]["name"] for item in namespace.list("pods")} == {*here, stays},
        f"the Pods that were deleted to go (there were {living})",
        PATIENCE_S,
    )
    until(lambda: not faults.left_on(gpu_node, *gone), "nothing left over", PATIENCE_S)


reboots = pytest.mark.skipif(
    "HAMI_FAULTS" not in os.environ, reason="other tests' Pods do not expect it: `make faults`"
)


def reboot(cluster: Cluster, namespace: Kubectl, node: str, stays: str) -> None:
    """Reboot the node, and wait until the Pod that was there runs anew and the node has told of its files."""
    nodes, told = Kubectl(cluster, "default"), "files of"
    before, started = nodes.events(node).count(told), restarts(namespace, stays)
    faults.reboot(node)
    # Until kubelet is up again the API server tells what was.
    until(lambda: restarts(namespace, stays) > started, "the Pod to start anew", PATIENCE_S)
    until(lambda: phase(namespace, stays) == "Running", "the Pod to run", PATIENCE_S)
    until(lambda: nodes.events(node).count(told) > before, "the Event on the Node", PATIENCE_S)


@reboots
def test_after_a_reboot_in_the_middle_of_prepare_pods_run_again(
    cluster: Cluster, namespace: Kubectl, gpu_node: str, stays: str
) -> None:
    add(namespace, "comes", gpu_node)
    time.sleep(0.3)
    reboot(cluster, namespace, gpu_node, stays)
    until(lambda: phase(namespace, "comes") == "Running", "the Pod that came", PATIENCE_S)
    uids, shares = identity(namespace, "comes")
    namespace.delete_pod("comes")
    until(lambda: not faults.left_on(gpu_node, uids, shares), "nothing left over", PATIENCE_S)


@reboots
@pytest.mark.parametrize("seconds", [0.0, 0.2, 1.0], ids=["before", "in the middle", "after"])
def test_after_a_reboot_in_the_middle_of_unprepare_the_pod_is_gone_and_nothing_is_left(
    cluster: Cluster, namespace: Kubectl, gpu_node: str, stays: str, seconds: float
) -> None:
    add(namespace, "goes", gpu_node)
    until(lambda: phase(namespace, "goes") == "Running", "the Pod that goes", PATIENCE_S)
    uids, shares = identity(namespace, "goes")
    namespace("delete", "pod", "goes", "--grace-period=1", "--wait=false")
    time.sleep(seconds)  # its container ends when it is told to, and its claim is unprepared then
    reboot(cluster, namespace, gpu_node, stays)
    until(lambda: phase(namespace, "goes") == "", "the end of the Pod", PATIENCE_S)
    until(lambda: not faults.left_on(gpu_node, uids, shares), "nothing left over", PATIENCE_S)


def test_pods_with_claims_through_one_node_at_once(namespace: Kubectl, gpu_node: str) -> None:
    names = [f"pod{number}" for number in range(PODS)]
    for name in names:
        add(namespace, name, gpu_node)
    wait = f"--timeout={PATIENCE_S + 3 * PODS:.0f}s"
    namespace("wait", "--for=condition=Ready", "pods", "--all", wait)
    every = [identity(namespace, name) for name in names]
    namespace("delete", "pods", "--all", "--grace-period=1", "--wait=true", wait)
    uids, shares = (set().union(*each) for each in zip(*every, strict=True))
    assert len(shares) == PODS
    until(lambda: not faults.left_on(gpu_node, uids, shares), "nothing left over", PATIENCE_S)


def test_pods_with_claims_through_one_node_in_sequence(namespace: Kubectl, gpu_node: str) -> None:
    for number in range(PODS):
        add(namespace, f"pod{number}", gpu_node, memory="20Gi")  # each needs what the one before it had
        namespace.wait_running(f"pod{number}")
        namespace.delete_pod(f"pod{number}")
        namespace("delete", "resourceclaim", f"pod{number}")
