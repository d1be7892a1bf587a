"""How a node's plugin is replaced: the new one serves before the old one ends, which finishes its calls."""

from __future__ import annotations

import pytest

from hami_dra.node.plugin import GRACE_S

from .conftest import Object, Render, pod_spec

NAMES = ("hami-dra-driver-kubelet-plugin", "hami-dra-driver-families")


@pytest.fixture(params=NAMES)
def plugin(request: pytest.FixtureRequest, render: Render) -> Object:
    """The DaemonSet of the plugin for NVIDIA, and of that for the other families."""
    objects = render("--set", "hami-dra.drivers.families.enabled={ascend}")
    return objects.one("DaemonSet", request.param)


def test_kubelet_is_never_without_a_plugin(plugin: Object) -> None:
    """It would delete the node's ResourceSlices."""
    strategy = plugin["spec"]["updateStrategy"]
    assert (strategy["type"], strategy["rollingUpdate"]["maxUnavailable"]) == ("RollingUpdate", 0)
    (container,) = pod_spec(plugin)["containers"]
    uid = {"name": "HAMI_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    assert uid in container["env"], "sockets of its own"
    assert container["readinessProbe"]["grpc"]["service"] == "readiness", "registered with kubelet"


def test_an_upgrade_takes_as_long_with_200_nodes_as_with_10(plugin: Object) -> None:
    """One node after the other, 200 take longer than helm waits, and it rolls back."""
    assert plugin["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"] == "10%"


def test_a_plugin_that_ends_has_time_for_the_longest_call(plugin: Object) -> None:
    assert pod_spec(plugin)["terminationGracePeriodSeconds"] > GRACE_S
