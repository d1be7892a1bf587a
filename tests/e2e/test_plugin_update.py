"""While the node plugin is replaced by another, Pods come and go and notice nothing."""

from __future__ import annotations

from tests.cluster.cluster import Cluster
from tests.e2e import faults
from tests.e2e.claimed import add
from tests.e2e.kubectl import Kubectl, Object
from tests.support.waiting import until

DRIVER = ("-l", "app.kubernetes.io/component=driver")


def plugins(system: Kubectl, node: str) -> dict[str, Object]:
    """The plugin's Pods on a node by uid, one that is ending as well."""
    found = system.list("pods", *DRIVER)
    return {item["metadata"]["uid"]: item for item in found if item["spec"].get("nodeName") == node}


def ready(plugin: Object) -> bool:
    conditions = plugin["status"].get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def stopped(system: Kubectl, pod: str) -> str:
    """When kubelet has ended a Pod that was deleted; empty as long as it has not."""
    events = system.list("events", f"--field-selector=involvedObject.name={pod},reason=Killing")
    return max(
        (each["lastTimestamp"] for each in events if each["message"].startswith("Stopping")), default=""
    )


def test_while_the_plugin_is_replaced_every_pod_starts_and_ends_at_once(
    cluster: Cluster, namespace: Kubectl, gpu_node: str
) -> None:
    system = Kubectl(cluster, "hami-system")
    (daemon_set,) = [item["metadata"]["name"] for item in system.list("daemonsets", *DRIVER)]
    before = plugins(system, gpu_node)
    names: list[str] = []

    def end(name: str) -> None:
        namespace.wait_running(name)
        namespace("delete", "pod", name, "--grace-period=1", "--wait=false")

    def replaced() -> bool:
        """After one more Pod."""
        names.append(f"pod{len(names)}")
        add(namespace, names[-1], gpu_node)
        if len(names) > 3:
            end(names[-4])
        now = plugins(system, gpu_node)
        return len(now) == 1 and not before.keys() & now.keys() and all(map(ready, now.values()))

    system("rollout", "restart", f"daemonset/{daemon_set}")
    until(replaced, "another plugin alone", 300)
    for name in names[-3:]:
        end(name)
    system("rollout", "status", f"daemonset/{daemon_set}", "--timeout=300s")
    (new,) = plugins(system, gpu_node).values()
    (old,) = before.values()
    ended = until(
        lambda: stopped(system, old["metadata"]["name"]), "kubelet to tell of the end of the old one"
    )
    assert new["metadata"]["creationTimestamp"] <= ended, "the old one serves until the new one is there"
    until(lambda: not namespace.list("pods"), "the end of every Pod")
    refused = namespace.list("events", "--field-selector=reason=FailedPrepareDynamicResources")
    assert [event["message"] for event in refused] == []
    claims = {item["metadata"]["uid"] for item in namespace.list("resourceclaims")}
    until(lambda: not faults.left_on(gpu_node, claims, set()), "nothing left over")
