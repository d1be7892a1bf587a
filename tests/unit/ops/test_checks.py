import dataclasses

import pytest

from hami_dra.model import names
from hami_dra.ops import checks
from hami_dra.ops.facts import Facts, parse_gates


def node(name, gpu=True):
    return {"metadata": {"name": name, "labels": {"gpu": "on"} if gpu else {}}}


def slice_of(node_name, shared=True):
    device = {"name": "hami-gpu-0"} | ({"allowMultipleAllocations": True} if shared else {})
    return {
        "metadata": {"name": f"{node_name}-slice"},
        "spec": {"driver": names.DRIVER, "nodeName": node_name, "devices": [device]},
    }


def daemon_set(name, ready=1, wanted=1):
    return {
        "metadata": {"name": name, "namespace": "kube-system"},
        "status": {"numberReady": ready, "desiredNumberScheduled": wanted},
    }


def webhook(ca="Q0E="):
    return {"metadata": {"name": "hami-webhook"}, "webhooks": [{"clientConfig": {"caBundle": ca}}]}


HEALTHY = Facts(
    version={"major": "1", "minor": "36"},
    nodes=[node("a"), node("b"), node("control", gpu=False)],
    slices=[slice_of("a"), slice_of("b")],
    classes=[{"metadata": {"name": names.DRIVER}}],
    daemon_sets=[daemon_set("hami-dra-driver-kubelet-plugin", 2, 2)],
    deployments=[
        {
            "metadata": {"name": "hami-hami-dra-webhook"},
            "spec": {"replicas": 2},
            "status": {"readyReplicas": 2},
        }
    ],
    webhooks=[webhook()],
    gates={"DRAConsumableCapacity": True},
)


def test_a_healthy_cluster_has_no_complaint():
    assert {finding.severity for finding in checks.run_all(HEALTHY)} == {"ok"}


@pytest.mark.parametrize(
    ("id", "fault"),
    [
        ("kubernetes-version", {"version": {"major": "1", "minor": "33+"}}),
        ("feature-gate", {"gates": {"DRAConsumableCapacity": False}}),
        ("feature-gate", {"gates": {}}),
        ("device-plugin", {"daemon_sets": [daemon_set("nvidia-device-plugin-daemonset")]}),
        ("gpu-label", {"nodes": [node("a", gpu=False)]}),
        ("device-class", {"classes": []}),
        ("workloads", {"daemon_sets": [daemon_set("hami-dra-driver-kubelet-plugin", 1, 2)]}),
        ("slices", {"slices": [slice_of("a")]}),
        ("shared-devices", {"slices": [slice_of("a"), slice_of("b", shared=False)]}),
        ("webhook", {"webhooks": [webhook(ca="")]}),
    ],
)
def test_each_planted_fault_is_found_by_its_own_check_with_a_remedy(id, fault):
    findings = checks.run_all(dataclasses.replace(HEALTHY, **fault))
    complaints = [finding for finding in findings if finding.severity != "ok"]
    assert [finding.id for finding in complaints] == [id]
    assert complaints[0].severity == "error"
    assert complaints[0].remedy


def test_what_cannot_be_read_is_unknown_and_hides_nothing_else():
    facts = dataclasses.replace(HEALTHY, classes=[], unreadable={"nodes": "forbidden"})
    found = {finding.id: finding.severity for finding in checks.run_all(facts)}
    assert found["gpu-label"] == "unknown"
    assert found["device-class"] == "error"


def test_gates_are_read_from_a_components_metrics():
    metrics = (
        "# HELP kubernetes_feature_enabled x\n"
        'kubernetes_feature_enabled{name="DRAConsumableCapacity",stage="BETA"} 1\n'
        'kubernetes_feature_enabled{name="Other",stage="ALPHA"} 0\n'
        "process_cpu_seconds_total 4\n"
    )
    assert parse_gates(metrics) == {"DRAConsumableCapacity": True, "Other": False}
