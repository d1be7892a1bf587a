"""What a plugin writes into a claim's status, and what it may not: asked with the real Pods' own tokens."""

from __future__ import annotations

import pytest

from tests.cluster.cluster import Cluster
from tests.e2e.as_plugin import ask_as_plugin
from tests.e2e.kubectl import Kubectl, Object, claim, eventually, pod


@pytest.fixture
def prepared(namespace: Kubectl, gpu_node: str) -> Object:
    """A claim of a running Pod, once its plugin has reported it."""
    namespace.apply(claim("half", "64Mi", None), pod("user", claim="half", node=gpu_node))
    namespace.wait_running("user")

    def reported() -> Object | None:
        body = namespace.get("resourceclaim", "half")
        return body if body["status"].get("devices") else None

    body: Object = eventually(reported, "status.devices of the claim")
    return body


def patch(cluster: Cluster, node: str, namespace: Kubectl, status: Object) -> str:
    """What the API server answers the plugin of NODE to a change of the claim's status (a dry run)."""
    path = f"namespaces/{namespace.namespace}/resourceclaims/half/status"
    return ask_as_plugin(cluster, node, "PATCH", path, {"status": status})


def test_a_running_pods_claim_says_that_its_device_is_ready(prepared: Object, gpu_node: str) -> None:
    (device,) = prepared["status"]["devices"]
    (result,) = prepared["status"]["allocation"]["devices"]["results"]
    for key in ("driver", "pool", "device", "shareID"):
        assert device[key] == result[key]
    assert [(each["type"], each["status"]) for each in device["conditions"]] == [("Ready", "True")]


def test_a_plugin_may_not_change_an_allocation(
    cluster: Cluster, namespace: Kubectl, prepared: Object, gpu_node: str
) -> None:
    for status in ({"allocation": None, "devices": None}, {"reservedFor": None}):
        answer = patch(cluster, gpu_node, namespace, status)
        assert answer.startswith("4"), answer


def test_a_plugin_may_not_report_devices_of_another_node(
    cluster: Cluster, namespace: Kubectl, prepared: Object, gpu_node: str
) -> None:
    other = next(name for name in cluster.nodes() if name.endswith("worker2"))
    (device,) = prepared["status"]["devices"]
    device["conditions"][0]["message"] = "said by another"
    assert patch(cluster, gpu_node, namespace, {"devices": [device]}) == "200"
    answer = patch(cluster, other, namespace, {"devices": [device]})
    assert answer.startswith("4"), answer
