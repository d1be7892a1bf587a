"""Each planted fault is found by its own check, with a remedy, and nothing else is complained about."""

import datetime
import json
import re

import pytest

from hami_dra.kube import kinds
from hami_dra.model import errors
from hami_dra.model.names import DRIVER
from hami_dra.ops import checks
from hami_dra.ops.gather import gather, parse_gates, unreachable
from tests.cluster.versions import REPO
from tests.unit.ops import healthy
from tests.unit.ops.healthy import NAMESPACE, NODES, NOW, NPU, NPU_NODE

PLUGIN, WEBHOOK, MONITOR = "hami-dra-driver-kubelet-plugin", "hami-hami-dra-webhook", "hami-hami-dra-monitor"
OLD_DRIVER = healthy.device()["attributes"] | {"driverVersion": {"version": "418.87.1"}}


def complaints(kube):
    findings = checks.run_all(gather(kube))
    return {finding.id: finding for finding in findings if finding.severity != "ok"}


def replace(kind, body, namespace=None):
    return lambda kube: kube.replace(kind, body, namespace)


def create(kind, body, namespace=None):
    return lambda kube: kube.create(kind, body, namespace)


def delete(kind, name, namespace=None):
    return lambda kube: kube.delete(kind, name, namespace)


def text(path, content):
    return lambda kube: kube.texts.update({path: content})


def on_node(**changes):
    return lambda kube: kube.programs.update({f"driver-{NODES[0]}": healthy.facts_of(NODES[0], **changes)})


def scaled(component, name, ready):
    kind = kinds.DAEMON_SETS if component in ("driver", "families") else kinds.DEPLOYMENTS
    return replace(kind, healthy.workload(component, name, ready), NAMESPACE)


def rival(name, namespace="gpu-operator"):
    body = {"metadata": {"name": name, "namespace": namespace}, "spec": {}, "status": {}}
    return create(kinds.DAEMON_SETS, body, namespace)


def another_slice(*devices, node=NODES[0], **pool):
    def plant(kube):
        kube.delete(kinds.RESOURCE_SLICES, f"{node}-{DRIVER}-1")
        kube.create(kinds.RESOURCE_SLICES, healthy.slice_of(node, *devices, **pool))

    return plant


def certificate_of(days_ago, ca_of=None):
    """The webhook shows a certificate made DAYS_AGO; the API server trusts its CA, or that of CA_OF."""

    def plant(kube):
        bundle = healthy.certificate(NOW - datetime.timedelta(days=days_ago))
        kube.replace(kinds.SECRETS, healthy.secret(bundle), NAMESPACE)
        ca = (ca_of or bundle).ca.certificate
        kube.replace(kinds.MUTATING_WEBHOOKS, healthy.webhook(ca))

    return plant


def leaked(kind, body):
    return create(kind, body, "default")


def registered_with_cert_manager(kube):
    bundle = healthy.certificate()
    kube.replace(kinds.SECRETS, healthy.secret(bundle), NAMESPACE)
    annotation = {"cert-manager.io/inject-ca-from": f"{NAMESPACE}/{WEBHOOK}"}
    kube.replace(kinds.MUTATING_WEBHOOKS, healthy.webhook(bundle.ca.certificate, **annotation))


def unlabelled(kube):
    for name in NODES:
        kube.patch(kinds.NODES, name, {"metadata": {"labels": {"gpu": None}}})
        kube.delete(kinds.RESOURCE_SLICES, f"{name}-{DRIVER}-1")


def stuck_claim():
    body = healthy.claim("stuck", "gone")
    body["metadata"] |= {"deletionTimestamp": healthy.ago(hours=1)}
    return body


FAULTS = {
    "Kubernetes too old": ("kubernetes-version", text("/version", '{"major": "1", "minor": "33+"}')),
    "kubelet too old": (
        "kubernetes-version",
        replace(kinds.NODES, healthy.node(NODES[0], kubelet="v1.33.9+k3s1")),
    ),
    "gate off": ("feature-gate", text("/metrics", healthy.GATES.replace(" 1", " 0"))),
    "gate unknown": ("feature-gate", text("/metrics", "process_cpu_seconds_total 4\n")),
    "gate off in a kubelet": ("kubelet-gate", text(f"/api/v1/nodes/{NODES[1]}/proxy/metrics", "")),
    "CDI off by default": (
        "runtime-cdi",
        replace(kinds.NODES, healthy.node(NODES[0], runtime="containerd://1.7.27")),
    ),
    "CDI switched off": ("runtime-cdi", on_node(cdi=False, runtime="containerd://2.1.4")),
    "node clock": ("node-clock", replace(kinds.LEASES, healthy.lease(NODES[0], 75), "kube-node-lease")),
    "NVIDIA's device plugin": ("nvidia-device-plugin", rival("nvidia-device-plugin-daemonset")),
    "traditional HAMi": ("traditional-hami", rival("hami-device-plugin", "kube-system")),
    "no DeviceClass": ("device-class", delete(kinds.DEVICE_CLASSES, DRIVER)),
    "no label": ("gpu-label", unlabelled),
    "strict namespace": (
        "pod-security",
        replace(
            kinds.NAMESPACES,
            {"metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
        ),
    ),
    "plugin not ready": ("plugin", scaled("driver", PLUGIN, 1)),
    "plugin not installed": ("plugin", delete(kinds.DAEMON_SETS, PLUGIN, NAMESPACE)),
    "webhook down": ("webhook", scaled("webhook", WEBHOOK, 0)),
    "monitor down": ("monitor", scaled("monitor", MONITOR, 0)),
    "half an upgrade": (
        "versions",
        replace(
            kinds.DEPLOYMENTS, healthy.workload("monitor", MONITOR, 2, image="x/hami-dra:0.0.9"), NAMESPACE
        ),
    ),
    "slice missing": ("slices", delete(kinds.RESOURCE_SLICES, f"{NODES[0]}-{DRIVER}-1")),
    "driver not found": ("cards", another_slice()),
    "slice stale": (
        "stale-slices",
        create(kinds.RESOURCE_SLICES, healthy.slice_of("removed", healthy.device())),
    ),
    "pool incomplete": ("incomplete-pools", another_slice(healthy.device(), generation=2, count=2)),
    "fields dropped": ("shared-devices", another_slice(healthy.device(allowMultipleAllocations=False))),
    "card sick": ("sick-devices", another_slice(healthy.device(taints=[{"key": "x", "value": "XID 79"}]))),
    "driver too old": ("driver-version", another_slice(healthy.device(attributes=OLD_DRIVER))),
    "webhook not registered": ("webhook-registration", delete(kinds.MUTATING_WEBHOOKS, WEBHOOK)),
    "webhook without CA": ("webhook-ca", replace(kinds.MUTATING_WEBHOOKS, healthy.webhook(b""))),
    "webhook CA wrong": ("webhook-ca", certificate_of(0, ca_of=healthy.certificate())),
    "webhook CA nonsense": ("webhook-ca", replace(kinds.MUTATING_WEBHOOKS, healthy.webhook(b"nonsense"))),
    "certificate expired": ("webhook-certificate", certificate_of(400)),
    "certificate ends soon": ("webhook-certificate", certificate_of(360)),
    "cert-manager missing": ("cert-manager", registered_with_cert_manager),
    "node cannot be asked": (
        "open-nodes",
        lambda kube: kube.programs.update({f"driver-{NODES[0]}": errors.Denied("forbidden")}),
    ),
    "kernel too old": ("kernel-version", on_node(kernel="3.10.0-1160.el7.x86_64")),
    "cgroup v1": ("cgroup-version", on_node(cgroup2=False)),
    "SELinux in the way": ("selinux", on_node(mislabelled=True)),
    "limiter on a noexec file system": ("noexec", on_node(unmappable="/var/lib/hami/lib")),
    "AppArmor without its program": ("apparmor", on_node(profiles=False)),
    "disk full": ("free-disk", on_node(free_mib=12)),
    "socket missing": ("plugin-sockets", on_node(answering=["service"])),
    "socket silent": ("plugin-sockets", on_node(answering=["service"], silent=["registration"])),
    "profile refused": ("refused-profiles", on_node(refused=["acme.yaml: name: {number} is not known here"])),
    "limiter missing": ("limiter-files", on_node(limiter_problem="there is no libvgpu.so")),
    "checkpoint damaged": ("checkpoint", on_node(checkpoint_problem="not a checkpoint")),
    "checkpoint was damaged": ("checkpoint", on_node(set_aside=["checkpoint.json.damaged-1"])),
    "ledger damaged": ("share-folders", on_node(broken_shares=["6108e68f"])),
    "share folder orphaned": ("orphaned-shares", on_node(orphans=["6108e68f"])),
    "claim leaked": ("leaked-claims", leaked(kinds.RESOURCE_CLAIMS, healthy.claim("old", "gone"))),
    "claim cannot end": ("leaked-claims", leaked(kinds.RESOURCE_CLAIMS, stuck_claim())),
    "template leaked": (
        "leaked-templates",
        leaked(kinds.RESOURCE_CLAIM_TEMPLATES, healthy.template("hami-old")),
    ),
}


def test_a_healthy_cluster_has_no_complaint():
    assert complaints(healthy.cluster()) == {}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_by_its_own_check_with_a_remedy(fault):
    id, plant = FAULTS[fault]
    kube = healthy.cluster()
    plant(kube)
    found = complaints(kube)
    assert list(found) == [id]
    assert found[id].expected
    assert found[id].remedy
    assert found[id].page.endswith(f"/troubleshooting/{id}/")


def test_a_remedy_is_for_the_release_that_is_installed_whatever_its_name_and_namespace():
    told = []
    for _, plant in FAULTS.values():
        kube = healthy.cluster()
        plant(kube)
        found = gather(kube)
        for item in (*found.installed, *found.pods):
            item["metadata"]["namespace"] = "shares"
            item["metadata"]["labels"]["app.kubernetes.io/instance"] = "mine"
        for item in found.deployments:
            item["metadata"]["name"] = item["metadata"]["name"].replace("hami-hami", "mine-hami")
        told += [finding.remedy for finding in checks.run_all(found)]
    words = "\n".join(told)
    assert "hami-system" not in words
    assert "hami-hami" not in words
    assert "helm -n shares upgrade mine charts/hami --reuse-values" in told
    assert f"kubectl -n shares logs driver-{NODES[0]}" in told
    assert "kubectl -n shares rollout restart deployment mine-hami-dra-webhook" in told


def test_a_kubelet_that_does_not_answer_hides_no_gate_that_is_off_in_another():
    kube = healthy.cluster()
    del kube.texts[f"/api/v1/nodes/{NODES[0]}/proxy/metrics"]
    found = complaints(kube)["kubelet-gate"]
    assert (found.severity, found.found.partition(":")[0]) == ("unknown", f"{NODES[0]}; {NODES[0]}")
    text(f"/api/v1/nodes/{NODES[1]}/proxy/metrics", "")(kube)
    found = complaints(kube)["kubelet-gate"]
    assert (found.severity, found.found) == ("error", f"off in the kubelet of {NODES[1]}")


@pytest.mark.parametrize(("component", "kind"), [("driver", "daemonset"), ("webhook", "deployment")])
def test_where_pods_are_refused_the_workload_says_why(component, kind):
    kube = healthy.cluster()
    for node in NODES:
        kube.delete(kinds.PODS, f"driver-{node}", NAMESPACE)
    name = PLUGIN if component == "driver" else WEBHOOK
    scaled(component, name, 0)(kube)
    id = "plugin" if component == "driver" else component
    assert complaints(kube)[id].remedy == f"kubectl -n {NAMESPACE} describe {kind} {name}"


def test_a_claim_that_somebody_else_made_of_what_convert_prints_is_no_leak():
    kube = healthy.cluster()
    made = healthy.claim("default-mine-c", "")
    made["metadata"]["ownerReferences"] = []
    kube.create(kinds.RESOURCE_CLAIMS, made, "default")
    assert (
        complaints(kube)["leaked-claims"].remedy == "kubectl -n default delete resourceclaim default-mine-c"
    )
    kube.create(kinds.PODS, healthy.user_pod("mine"), "default")
    assert complaints(kube) == {}


def test_a_claim_that_cannot_end_is_not_to_be_deleted_once_more_and_ours_alone():
    kube = healthy.cluster()
    stuck = stuck_claim()
    kube.create(kinds.RESOURCE_CLAIMS, stuck, "default")
    assert complaints(kube)["leaked-claims"].remedy == "kubectl -n default describe resourceclaim stuck"
    (result,) = stuck["status"]["allocation"]["devices"]["results"]
    result["driver"] = "gpu.example.com"
    kube.replace(kinds.RESOURCE_CLAIMS, stuck, "default")
    assert complaints(kube) == {}


def on_npus(**changes):
    said = healthy.npu_facts_of(NPU_NODE, **changes)
    return lambda kube: kube.programs.update({f"families-{NPU_NODE}": said})


def test_a_node_whose_taint_keeps_the_plugin_away_is_told_with_the_taint():
    kube = healthy.cluster()
    kube.delete(kinds.RESOURCE_SLICES, f"{NODES[0]}-{DRIVER}-1")
    kube.delete(kinds.PODS, f"driver-{NODES[0]}", NAMESPACE)
    there = complaints(kube)["slices"]
    assert there.found == f"none for {NODES[0]}, where the plugin does not run"
    taints = [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}, {"key": "x", "effect": "PreferNoSchedule"}]
    kube.patch(kinds.NODES, NODES[0], {"spec": {"taints": taints}})
    found = complaints(kube)["slices"]
    assert found.found.endswith("where the plugin does not run: it is tainted with nvidia.com/gpu")
    assert "tolerations" in found.remedy


def npu_slice(*devices, generation=4):
    return replace(kinds.RESOURCE_SLICES, healthy.npu_slice(*devices, generation=generation))


FAULTS_OF_NPUS = {
    "NPU sick": ("sick-devices", npu_slice(healthy.npu(taints=[{"key": f"{NPU}/not-ok"}]))),
    "fields dropped": ("shared-devices", npu_slice(healthy.npu(allowMultipleAllocations=False))),
    "no NPU found": ("cards", npu_slice()),
    "slice missing": ("slices", delete(kinds.RESOURCE_SLICES, f"{NPU_NODE}-{NPU}")),
    "no DeviceClass": ("device-class", delete(kinds.DEVICE_CLASSES, NPU)),
    "plugin not ready": ("plugin", scaled("families", "hami-dra-driver-families", 1)),
    "node cannot be asked": (
        "open-nodes",
        lambda kube: kube.programs.update({f"families-{NPU_NODE}": errors.Denied("forbidden")}),
    ),
    "profile refused": ("refused-profiles", on_npus(refused=["acme.yaml: name: {number} is not known here"])),
    "socket missing": ("plugin-sockets", on_npus(answering=["service"])),
    "checkpoint damaged": ("checkpoint", on_npus(checkpoint_problem="not a checkpoint")),
    "CDI file orphaned": ("orphaned-shares", on_npus(orphans=["6108e68f"])),
}


def test_what_a_card_may_be_cut_into_is_not_taken_for_dropped_fields():
    kube = healthy.cluster()
    part = healthy.device(1, consumesCounters=[{"counterSet": "hami-gpu-1"}])
    del part["allowMultipleAllocations"]
    another_slice(healthy.device(), part)(kube)
    assert complaints(kube) == {}


def test_a_healthy_cluster_with_npus_has_no_complaint():
    assert complaints(healthy.with_npus(healthy.cluster())) == {}


def test_without_nvidias_driver_its_device_plugin_may_serve_its_cards():
    kube = healthy.with_npus(healthy.cluster())
    rival("nvidia-device-plugin-daemonset")(kube)
    assert list(complaints(kube)) == ["nvidia-device-plugin"]
    kube.delete(kinds.DAEMON_SETS, PLUGIN, NAMESPACE)
    assert "nvidia-device-plugin" not in complaints(kube)


@pytest.mark.parametrize("fault", FAULTS_OF_NPUS)
def test_a_fault_of_another_family_is_found_by_the_same_check(fault):
    id, plant = FAULTS_OF_NPUS[fault]
    kube = healthy.with_npus(healthy.cluster())
    plant(kube)
    assert list(complaints(kube)) == [id]


def test_two_plugins_of_one_node_are_told_apart():
    kube = healthy.cluster()
    kube.create(kinds.PODS, healthy.our_pod("families", NODES[0]), NAMESPACE)
    kube.programs[f"families-{NODES[0]}"] = healthy.npu_facts_of(NODES[0], silent=["service"], answering=[])
    found = complaints(kube)["plugin-sockets"].found
    assert f"{NODES[0]} ({NPU})" in found
    assert DRIVER not in found


def test_every_check_has_a_fault_that_it_finds():
    planted = {id for id, _ in FAULTS.values()} | {"api-server"}
    assert planted == {check.id for check in checks.CHECKS}


def test_a_cluster_that_does_not_answer_is_one_finding_and_not_thirty():
    (finding,) = checks.run_all(unreachable(errors.Unavailable("connection refused")))
    assert (finding.id, finding.severity) == ("api-server", "unknown")
    assert "connection refused" in finding.found


def test_one_missing_right_hides_nothing_else():
    kube = healthy.cluster()
    kube.delete(kinds.DEVICE_CLASSES, DRIVER)
    allowed = kube.list

    def without_nodes(kind, *arguments, **more):
        if kind is kinds.NODES:
            raise errors.Denied('nodes is forbidden: User "ann" cannot list resource "nodes"', status=403)
        return allowed(kind, *arguments, **more)

    kube.list = without_nodes
    found = complaints(kube)
    assert found["gpu-label"].severity == "unknown"
    assert 'User "ann"' in found["gpu-label"].found
    assert found["device-class"].severity == "error"


def test_a_plugin_of_another_version_that_knows_no_node_facts_is_told_and_not_a_traceback():
    kube = healthy.cluster()
    kube.programs[f"driver-{NODES[0]}"] = json.dumps({"unexpected": True})
    assert complaints(kube)["open-nodes"].severity == "unknown"


def test_gates_are_read_from_a_components_metrics():
    metrics = (
        "# HELP kubernetes_feature_enabled x\n"
        'kubernetes_feature_enabled{name="DRAConsumableCapacity",stage="BETA"} 1\n'
        'kubernetes_feature_enabled{name="Other",stage="ALPHA"} 0\n'
        "process_cpu_seconds_total 4\n"
    )
    assert parse_gates(metrics) == {"DRAConsumableCapacity": True, "Other": False}


def test_a_release_in_which_the_gate_is_none_any_more_has_what_it_stood_for():
    kube = healthy.cluster()
    gates = healthy.GATES.replace("DRAConsumableCapacity", "Another")
    kube.texts["/metrics"] = gates
    for node in NODES:
        kube.texts[f"/api/v1/nodes/{node}/proxy/metrics"] = gates
    assert complaints(kube) == {}


def test_the_roles_name_faults_as_the_doctor_does():
    """Ids in the preflight role and its filter: what Ansible says can be looked up in the documentation."""
    known = {check.id for check in checks.CHECKS}
    filter_ = (REPO / "plugins/filter/preflight.py").read_text()
    named = set(re.findall(r'_finding\(\s*"([a-z-]+)"', filter_))
    for tasks in (REPO / "roles/preflight/tasks").glob("*.yml"):
        named |= set(re.findall(r"(?m)- id: ([a-z-]+)$", tasks.read_text()))
    assert {"nvidia-device-plugin", "traditional-hami"} < named
    assert named <= known
