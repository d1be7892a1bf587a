"""While the node plugin is replaced by another, Pods come and go and notice nothing."""

from __future__ import annotations

import time

from tests.cluster.cluster import Cluster
from tests.e2e import faults
from tests.e2e.claimed import add
from tests.e2e.kubectl import Kubectl, Object, eventually

DRIVER = ("-l", "app.kubernetes.io/component=driver")


def plugins(system: Kubectl, node: str) -> dict[str, Object]:
    """The plugin's Pods on a node by uid, one that is ending as well."""
    found = system.list("pods", *DRIVER)
    return {item["metadata"]["uid"]: item for item in found if item["spec"].get("nodeName") == node}


def ready(plugin: Object) -> bool:
    conditions = plugin["status"].get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def test_while_the_plugin_is_replaced_every_pod_starts_and_ends_at_once(
    cluster: Cluster, namespace: Kubectl, gpu_node: str
) -> None:
    system = Kubectl(cluster, "hami-system")
    (daemon_set,) = [item["metadata"]["name"] for item in system.list("daemonsets", *DRIVER)]
    before = set(plugins(system, gpu_node))
    at_once: list[int] = []

    def replaced() -> bool:
        now = plugins(system, gpu_node)
        at_once.append(len(now))
        return len(now) == 1 and not before & now.keys() and all(map(ready, now.values()))

    def end(name: str) -> None:
        namespace.wait_running(name)
        namespace("delete", "pod", name, "--grace-period=1", "--wait=false")

    names: list[str] = []
    system("rollout", "restart", f"daemonset/{daemon_set}")
    deadline = time.monotonic() + 300
    while not replaced():
        assert time.monotonic() < deadline, f"not replaced; plugins at once: {at_once}"
        names.append(f"pod{len(names)}")
        add(namespace, names[-1], gpu_node)
        if len(names) > 3:
            end(names[-4])
    for name in names[-3:]:
        end(name)
    system("rollout", "status", f"daemonset/{daemon_set}", "--timeout=300s")
    assert max(at_once) == 2, f"plugins at once: {at_once}"
    eventually(lambda: not namespace.list("pods"), "the end of every Pod")
    refused = namespace.list("events", "--field-selector=reason=FailedPrepareDynamicResources")
    assert [event["message"] for event in refused] == []
    claims = {item["metadata"]["uid"] for item in namespace.list("resourceclaims")}
    eventually(lambda: not faults.left_on(gpu_node, claims, set()), "nothing left over")
