"""The option to cut cards in MIG mode on demand: off unless it is asked for, refused where it cannot work."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Objects, Render, pod_spec

PLUGIN = ("DaemonSet", "hami-dra-driver-kubelet-plugin")
OPTION = "hami-dra.drivers.nvidia.dynamicMig=true"


def said(objects: Objects) -> str:
    (container,) = pod_spec(objects.one(*PLUGIN))["containers"]
    (value,) = (entry["value"] for entry in container["env"] if entry["name"] == "HAMI_DYNAMIC_MIG")
    return str(value)


def test_cards_are_cut_on_demand_only_where_it_is_asked_for(objects: Objects, render: Render) -> None:
    assert said(objects) == "false"
    assert said(render("--set", OPTION)) == "true"


@pytest.mark.parametrize(("release", "works"), [("1.34.4", False), ("1.35.0", True), ("1.36.3", True)])
def test_a_cluster_without_partitionable_devices_is_told_why(
    render: Render, refusal: Any, release: str, works: bool
) -> None:
    if works:
        assert render("--set", OPTION, "--kube-version", release)
    else:
        text = refusal("--set", OPTION, "--kube-version", release)
        assert "DRAPartitionableDevices" in text
        assert release in text
