"""A node's plugin can publish its own cards only: asked with the real Pod's own token, on a dry run."""

from __future__ import annotations

import pytest

from tests.cluster.cluster import Cluster
from tests.e2e.kubectl import Kubectl

DRIVER = "hami-core-gpu.project-hami.io"
CREATE_SLICE = """
import json, os, ssl, sys, urllib.error, urllib.request
node, driver = sys.argv[1:]
account = "/var/run/secrets/kubernetes.io/serviceaccount/"
server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
body = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "ResourceSlice",
    "metadata": {"generateName": "policy-"},
    "spec": {"driver": driver, "nodeName": node, "pool": pool, "devices": []},
}
request = urllib.request.Request(
    f"{server}/apis/resource.k8s.io/v1/resourceslices?dryRun=All",
    data=json.dumps(body).encode(),
    headers={"Authorization": "Bearer " + open(account + "token").read(), "Content-Type": "application/json"},
)
try:
    answer = urllib.request.urlopen(request, context=ssl.create_default_context(cafile=account + "ca.crt"))
    print(answer.status)
except urllib.error.HTTPError as refused:
    print(refused.code, json.load(refused)["message"])
"""


@pytest.fixture
def create_slice(cluster: Cluster, gpu_node: str):
    """Ask the API server for a slice as the plugin of GPU_NODE would; return its answer."""
    system = Kubectl(cluster, "hami-system")
    [plugin] = [
        item["metadata"]["name"]
        for item in system.list("pods", "-l", "app.kubernetes.io/component=driver")
        if item["spec"]["nodeName"] == gpu_node and "deletionTimestamp" not in item["metadata"]
    ]

    def ask(node: str, driver: str = DRIVER) -> str:
        return system("exec", plugin, "--", "python3", "-c", CREATE_SLICE, node, driver).strip()

    return ask


def test_a_plugin_may_publish_its_own_node(create_slice, gpu_node):
    assert create_slice(gpu_node) == "201"


def test_a_plugin_may_not_publish_another_node(create_slice, gpu_node):
    answer = create_slice("another-node")
    assert answer.startswith("4")
    assert f"plugin of node {gpu_node} may not change a ResourceSlice of node 'another-node'" in answer


def test_a_plugin_may_not_publish_for_another_driver(create_slice, gpu_node):
    answer = create_slice(gpu_node, "gpu.nvidia.com")
    assert answer.startswith("4")
    assert "may not change a ResourceSlice of the driver gpu.nvidia.com" in answer
