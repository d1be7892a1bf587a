"""A node's plugin can publish its own cards only: asked with the real Pod's own token, on a dry run."""

from __future__ import annotations

import pytest

from hami_dra.model.names import DRIVER
from tests.cluster.cluster import Cluster
from tests.e2e.as_plugin import ask_as_plugin


@pytest.fixture
def create_slice(cluster: Cluster, gpu_node: str):
    """Ask the API server for a slice as the plugin of GPU_NODE would; return its answer."""

    def ask(node: str, driver: str = DRIVER) -> str:
        pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
        body = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {"generateName": "policy-"},
            "spec": {"driver": driver, "nodeName": node, "pool": pool, "devices": []},
        }
        return ask_as_plugin(cluster, gpu_node, "POST", "resourceslices", body)

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
