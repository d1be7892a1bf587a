"""The command line says without a cluster what the cluster does (simulated GPUs)."""

import re
import subprocess

import yaml

from tests.cluster import versions
from tests.cluster.demo import guide_manifest
from tests.e2e.kubectl import gpu_limits, pod

HAMI = versions.REPO / ".venv/bin/hami"


def hami(*arguments: object, stdin: str = "") -> str:
    done = subprocess.run(
        [HAMI, *map(str, arguments)], input=stdin, capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout


def test_slice_prints_the_devices_that_the_plugin_published(cluster, gpu_node):
    gpus = cluster.gpus(gpu_node)
    offline = yaml.safe_load(hami("slice", "--node", gpu_node, "--sim", gpus))
    published = yaml.safe_load(cluster.kubectl("get", "resourceslices", "-o", "yaml"))["items"]
    spec = next(item["spec"] for item in published if item["spec"]["nodeName"] == gpu_node)
    assert offline["spec"]["devices"] == spec["devices"]
    assert offline["spec"]["pool"]["name"] == spec["pool"]["name"]


def test_convert_prints_the_claim_that_the_controller_makes(namespace):
    manifest = pod("user", limits=gpu_limits())
    manifest["metadata"]["namespace"] = namespace.namespace
    namespace.apply(manifest)
    running = namespace.wait_running("user")
    changed, claim = yaml.safe_load_all(hami("convert", "-f", "-", stdin=yaml.safe_dump(manifest)))
    name = f"{namespace.namespace}-user-cuda"
    assert claim["metadata"]["name"] == name
    assert claim["spec"] == namespace.get("resourceclaim", name)["spec"]
    assert changed["spec"]["resourceClaims"] == running["spec"]["resourceClaims"]


def test_run_shows_the_table_that_a_pod_sees(cluster, namespace, gpu_node):
    native = list(yaml.safe_load_all(guide_manifest("native.yaml")))
    native[1]["spec"]["nodeSelector"] = {"kubernetes.io/hostname": gpu_node}
    namespace.apply(*native)
    namespace.wait_running("gpu-test-dra-native")
    _, in_pod = namespace.run_in("gpu-test-dra-native", "nvidia-smi")
    gpus = cluster.gpus(gpu_node)
    offline = hami("run", "--sim", gpus, "--memory", "10Gi", "--", "nvidia-smi")

    def without_date(table: str) -> list[str]:
        return [line for line in table.splitlines() if not re.match(r"[A-Z][a-z]{2} [A-Z]", line)]

    assert without_date(offline) == without_date(in_pod)
