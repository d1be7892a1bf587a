"""What the API server lets a node's plugin write: asked in its real Pod, with its own token, as a dry run.

Each rule about a claim's status: tests/control_plane/test_plugin_writes.py.
"""

import json

import pytest

from hami_dra.model.names import DRIVER
from tests.e2e.kubectl import Kubectl, claim, pod
from tests.support.waiting import until

PROGRAM = """
import json, os, ssl, sys, urllib.error, urllib.request
method, path, body = sys.argv[1:]
account = "/var/run/secrets/kubernetes.io/serviceaccount/"
server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
content = "application/merge-patch+json" if method == "PATCH" else "application/json"
request = urllib.request.Request(
    f"{server}/apis/resource.k8s.io/v1/{path}?dryRun=All",
    data=body.encode(),
    method=method,
    headers={"Authorization": "Bearer " + open(account + "token").read(), "Content-Type": content},
)
try:
    answer = urllib.request.urlopen(request, context=ssl.create_default_context(cafile=account + "ca.crt"))
    print(answer.status)
except urllib.error.HTTPError as refused:
    print(refused.code, json.load(refused)["message"])
"""


@pytest.fixture
def ask(cluster):
    """Ask as the plugin of a node; PATH is below the API group of claims and slices. Code, and why not."""
    system = Kubectl(cluster, "hami-system")
    plugins = {
        item["spec"]["nodeName"]: item["metadata"]["name"]
        for item in system.list("pods", "-l", "app.kubernetes.io/component=driver")
        if "deletionTimestamp" not in item["metadata"]
    }

    def asked(node, method, path, body):
        program = ("python3", "-c", PROGRAM, method, path, json.dumps(body))
        return system("exec", plugins[node], "--", *program).strip()

    return asked


def test_a_plugin_publishes_cards_of_its_own_node_and_driver_alone(ask, gpu_node):
    def publish(node, driver=DRIVER):
        pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
        body = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {"generateName": "policy-"},
            "spec": {"driver": driver, "nodeName": node, "pool": pool, "devices": []},
        }
        return ask(gpu_node, "POST", "resourceslices", body)

    assert publish(gpu_node) == "201"
    refused = publish("another-node")
    assert f"plugin of node {gpu_node} may not change a ResourceSlice of node 'another-node'" in refused
    refused = publish(gpu_node, "gpu.nvidia.com")
    assert "may not change a ResourceSlice of the driver gpu.nvidia.com" in refused


def test_a_plugin_reports_devices_of_its_own_node_and_changes_nothing_else_of_a_claim(
    ask, cluster, namespace, gpu_node
):
    namespace.apply(claim("half", "64Mi", None), pod("user", claim="half", node=gpu_node))
    namespace.wait_running("user")
    (device,) = until(
        lambda: namespace.get("resourceclaim", "half")["status"].get("devices"), "the plugin's report"
    )
    (result,) = namespace.get("resourceclaim", "half")["status"]["allocation"]["devices"]["results"]
    for key in ("driver", "pool", "device", "shareID"):
        assert device[key] == result[key]
    assert [(each["type"], each["status"]) for each in device["conditions"]] == [("Ready", "True")]

    def report(node, status):
        path = f"namespaces/{namespace.namespace}/resourceclaims/half/status"
        return ask(node, "PATCH", path, {"status": status})

    device["conditions"][0]["message"] = "said by another"
    assert report(gpu_node, {"devices": [device]}) == "200"
    other = next(name for name in cluster.nodes() if name.endswith("worker2"))
    assert report(other, {"devices": [device]}).startswith("4")
    for status in ({"allocation": None, "devices": None}, {"reservedFor": None}):
        assert report(gpu_node, status).startswith("4")
