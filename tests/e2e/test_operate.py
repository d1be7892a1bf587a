"""`hami` from a laptop, with a kubeconfig alone, on the real cluster with simulated GPUs."""

import json
import os
import subprocess
import sys
import tarfile
from contextlib import ExitStack, contextmanager

import pytest

from hami_dra.model.names import DRIVER
from tests.cluster.demo import environment
from tests.cluster.versions import REPO
from tests.e2e.kubectl import Kubectl, claim, gpu_limits, on_node, pod
from tests.support.waiting import until

SECRET = "Pl4nted-hunter2-in-a-Pod"


@pytest.fixture
def hami(cluster):
    """`hami("doctor")` -> the finished process."""
    tools = f"{os.path.dirname(sys.executable)}:{environment()['PATH']}"
    variables = dict(os.environ) | {"KUBECONFIG": str(cluster.kubeconfig), "PATH": tools}

    def run(*arguments, program="hami"):
        return subprocess.run([program, *arguments], env=variables, cwd=REPO, capture_output=True, text=True)

    return run


def findings(hami):
    done = hami("doctor", "-o", "json")
    assert done.stdout, done.stderr
    return {each["id"]: each for each in json.loads(done.stdout)}


def test_doctor_looks_into_every_node_and_finds_nothing_wrong(hami, cluster):
    found = findings(hami)
    assert [each for each in found.values() if each["severity"] == "error"] == []
    assert found["open-nodes"]["severity"] == "ok", found["open-nodes"]
    assert found["plugin-sockets"]["severity"] == "ok"
    assert found["kubelet-gate"]["severity"] == "ok"
    assert found["node-clock"]["severity"] == "ok"


@contextmanager
def object_of(cluster, body):
    kubectl = Kubectl(cluster, body["metadata"].get("namespace", "default"))
    kubectl.apply(body)
    try:
        yield
    finally:
        kubectl("delete", body["kind"], body["metadata"]["name"], "--wait=true")


@contextmanager
def file_on(node, path, folder=False):
    on_node(node, *(("mkdir", "-p", path) if folder else ("touch", path)))
    try:
        yield
    finally:
        on_node(node, "rm", "-rf", path)


def rival(name):
    """A DaemonSet that runs nowhere."""
    labels = {"app": name}
    spec = {
        "nodeSelector": {"no": "where"},
        "containers": [{"name": "c", "image": "none", "imagePullPolicy": "Never"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def slice_of_a_node_that_is_gone():
    spec = {
        "driver": DRIVER,
        "nodeName": "gone",
        "pool": {"name": "gone", "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": "hami-gpu-0"}],
    }
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": "gone-slice"},
        "spec": spec,
    }


FAULTS = {
    "nvidia-device-plugin": (
        "nvidia-device-plugin-daemonset",
        lambda cluster, _: object_of(cluster, rival("nvidia-device-plugin-daemonset")),
    ),
    "traditional-hami": (
        "hami-device-plugin",
        lambda cluster, _: object_of(cluster, rival("hami-device-plugin")),
    ),
    "stale-slices": ("gone-slice", lambda cluster, _: object_of(cluster, slice_of_a_node_that_is_gone())),
    "limiter-files": (
        "libvgpu.so.000000000000",
        lambda _, node: file_on(node, "/var/lib/hami/lib/libvgpu.so.000000000000"),
    ),
    "orphaned-shares": (
        "0-left-over",
        lambda _, node: file_on(node, "/var/lib/hami/shares/0-left-over", folder=True),
    ),
    "checkpoint": (
        "damaged-0",
        lambda _, node: file_on(node, "/var/lib/hami/checkpoint.json.damaged-0"),
    ),
}
"""What a check must name, and how it is planted. Other tests may have left something of the kind: those are
named behind these."""


def test_faults_planted_in_the_real_cluster_are_found_and_go_when_they_are_mended(hami, cluster, gpu_node):
    def named():
        now = findings(hami)
        return {
            id
            for id, (word, _) in FAULTS.items()
            if word in now[id]["found"] and now[id]["severity"] in ("error", "warning") and now[id]["remedy"]
        }

    for _ in range(2):  # once in ten minutes the plugin sweeps, which may be between planting and looking
        with ExitStack() as planted:
            for _, plant in FAULTS.values():
                planted.enter_context(plant(cluster, gpu_node))
            found = named()
        if found == FAULTS.keys():
            break
    assert found == FAULTS.keys()
    until(lambda: not named(), lambda: f"everything to be mended, not {named()}")


def test_top_shows_what_a_program_allocates_to_the_mib(hami, namespace):
    namespace.apply(pod("busy", limits=gpu_limits(memory_mib=4096, cores=40)))
    namespace.wait_running("busy")
    namespace("exec", "busy", "--", "sh", "-c", "hami-fill --total 1Gi --hold 60 >/dev/null 2>&1 &")

    def use():
        done = hami("top", "--once", "-n", namespace.namespace, "-o", "json")
        (share,) = json.loads(done.stdout)["shares"]
        return share if share["memory"] > 1024**3 else None

    share = until(use, "the allocation to show")
    assert (share["pod"], share["memory_limit"], share["processes"]) == ("busy", 4096 * 1024**2, 1)
    assert (share["memory"] - 1024**3) % 1024**2 == 0
    shown = hami("top", "--once", "-n", namespace.namespace).stdout
    assert "busy" in shown
    assert "/4Gi" in shown


def test_status_adds_up_to_what_was_given_out(hami, namespace):
    namespace.apply(claim("half", memory="3Gi", cores=20), pod("holder", claim="half"))
    namespace.wait_running("holder")
    seen = json.loads(hami("status", "-o", "json").stdout)
    (mine,) = [share for share in seen["shares"] if share["namespace"] == namespace.namespace]
    assert (mine["pods"], mine["memory"], mine["cores"]) == (["holder"], 3 * 1024**3, 20)
    (card,) = [c for c in seen["cards"] if (c["node"], c["device"]) == (mine["node"], mine["device"])]
    shares = [s for s in seen["shares"] if (s["node"], s["device"]) == (mine["node"], mine["device"])]
    assert card["memory_allocated"] == sum(share["memory"] for share in shares)
    assert seen["gate"] == "on"


def test_verify_and_kubectls_plugin_work_with_a_kubeconfig_alone(hami):
    done = hami("verify", "--wait", "60")
    assert done.returncode == 0, done.stdout
    assert "✓ admission" in done.stdout
    assert hami("hami", "status", program="kubectl").stdout.startswith("Kubernetes v1.")


def test_a_bundle_has_the_logs_and_none_of_a_planted_secret(hami, namespace, tmp_path):
    careless = pod("careless", limits=gpu_limits(memory_mib=512, cores=5))
    careless["metadata"]["annotations"] = {"note": SECRET}
    careless["spec"]["containers"][0]["env"] = [{"name": "PASSWORD", "value": SECRET}]
    careless["spec"]["containers"][0]["command"] = ["sh", "-c", f"sleep 3600 # --token={SECRET}"]
    namespace.apply(
        careless,
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": SECRET}},
    )
    namespace.wait_running("careless")
    path = tmp_path / "bundle.tar.gz"
    done = hami("bundle", "-f", str(path))
    assert done.returncode == 0, done.stderr
    with tarfile.open(path) as archive:
        files = {entry.name: archive.extractfile(entry).read().decode() for entry in archive}
    assert [name for name, text in files.items() if SECRET in text] == []
    assert any("/logs/" in name and "prepared" in text for name, text in files.items())
    assert any("careless" in text for name, text in files.items() if name.endswith("pods-with-claims.json"))
    key = [text for text in files.values() if "PRIVATE KEY" in text]
    assert key == []


def test_helm_test_is_content(cluster):
    tools = environment() | {"KUBECONFIG": str(cluster.kubeconfig)}
    done = subprocess.run(
        ["helm", "-n", "hami-system", "test", "hami"], env=tools, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
