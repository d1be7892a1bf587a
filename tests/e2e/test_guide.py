"""The guide's story, told by a real cluster with simulated GPUs, and by the command line without it."""

import re
import subprocess

import pytest
import yaml

from tests.cluster.demo import GUIDE, guide_manifest
from tests.cluster.versions import REPO
from tests.e2e.conftest import made_namespace

HAMI = REPO / ".venv/bin/hami"


@pytest.fixture(scope="module", params=["native", "compatible"])
def workload(request, cluster):
    """A running Pod of either mode with 10 GiB and 50 cores: (kubectl, Pod name)."""
    name = {"native": "gpu-test-dra-native", "compatible": "gpu-test-compatible"}[request.param]
    with made_namespace(cluster) as kubectl:
        kubectl("apply", "-f", "-", stdin=guide_manifest(f"{request.param}.yaml").encode())
        kubectl.wait_running(name)
        yield kubectl, name


def claim_of(workload):
    """The workload's claim, and its one result."""
    kubectl, name = workload
    native = name == "gpu-test-dra-native"
    found = kubectl.get("resourceclaim", "gpu-half-claim" if native else f"{kubectl.namespace}-{name}-cuda")
    (result,) = found["status"]["allocation"]["devices"]["results"]
    return found, result


def hami(*arguments, stdin=""):
    """What the command line prints without a cluster."""
    command = [HAMI, *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True, timeout=20).stdout


def test_the_slice_shows_the_card_as_the_guide_does(cluster, gpu_node):
    slices = yaml.safe_load(cluster.kubectl("get", "resourceslices", "-o", "yaml"))["items"]
    mine = next(item for item in slices if item["spec"]["nodeName"] == gpu_node)
    expected = yaml.safe_load((GUIDE / "resourceslice.expected.yaml").read_text())
    (card,), (wanted,) = mine["spec"]["devices"], expected["spec"]["devices"]
    assert mine["metadata"]["generateName"] == f"{gpu_node}-hami-core-gpu.project-hami.io-"
    assert mine["metadata"]["ownerReferences"][0]["kind"] == "Node"
    assert card["name"] == wanted["name"]
    assert wanted["attributes"].items() <= card["attributes"].items()
    assert card["allowMultipleAllocations"] is True
    for key, capacity in wanted["capacity"].items():
        assert card["capacity"][key]["value"] == capacity["value"]
        assert card["capacity"][key]["requestPolicy"]


def test_slice_prints_the_devices_that_the_plugin_published(cluster, gpu_node):
    offline = yaml.safe_load(hami("slice", "--node", gpu_node, "--sim", cluster.gpus(gpu_node)))
    published = yaml.safe_load(cluster.kubectl("get", "resourceslices", "-o", "yaml"))["items"]
    spec = next(item["spec"] for item in published if item["spec"]["nodeName"] == gpu_node)
    assert offline["spec"]["devices"] == spec["devices"]
    assert offline["spec"]["pool"]["name"] == spec["pool"]["name"]


def test_both_modes_show_the_share_as_the_card(workload):
    kubectl, name = workload
    code, table = kubectl.run_in(name, "nvidia-smi")
    assert code == 0
    assert "0MiB / 10240MiB" in table.replace("  ", " ")
    assert "NVIDIA A10" in table
    assert "No running processes found" in table


def test_a_terminal_sees_the_limiters_lines_and_a_pipe_does_not(workload):
    kubectl, name = workload
    seen = kubectl.on_terminal(name, "nvidia-smi")
    assert "[HAMI-core Msg(" in seen
    assert "Initializing....." in seen
    assert "Exit cleanup complete for PID" in seen
    _, piped = kubectl.run_in(name, "nvidia-smi")
    assert "HAMI-core" not in piped


def test_eleven_gib_are_refused_at_the_limit_as_a_full_card_refuses(workload):
    kubectl, name = workload
    code, output = kubectl.run_in(name, "hami-fill", "--total", "11Gi")
    assert code == 1
    assert "CUDA_ERROR_OUT_OF_MEMORY" in output


def test_ten_gib_less_the_context_fit(workload):
    kubectl, name = workload
    context_mib = 512
    code, output = kubectl.run_in(name, "hami-fill", "--total", f"{10240 - context_mib}Mi")
    assert code == 0, output


def test_the_claim_carries_consumed_capacity_and_a_share_id(workload):
    kubectl, name = workload
    _, result = claim_of(workload)
    assert result["consumedCapacity"] == {"cores": "50", "memory": "10Gi"}
    assert len(result["shareID"]) == 36
    assert result["pool"] == kubectl.get("pod", name)["spec"]["nodeName"]
    assert result["device"] == "hami-gpu-0"


@pytest.mark.parametrize("workload", ["compatible"], indirect=True)
def test_the_compatible_claim_is_the_guides_and_convert_prints_it_and_its_pod_owns_it(workload):
    kubectl, name = workload
    made, _ = claim_of(workload)
    expected = yaml.safe_load((GUIDE / "compatible.claim.expected.yaml").read_text())
    assert made["spec"] == expected["spec"]
    running = kubectl.get("pod", name)
    (owner,) = made["metadata"]["ownerReferences"]
    assert owner["uid"] == running["metadata"]["uid"]
    manifest = guide_manifest("compatible.yaml")
    printed = hami("convert", "-n", kubectl.namespace, "-f", "-", stdin=manifest)
    pod, claim = yaml.safe_load_all(printed)
    assert (claim["metadata"]["name"], claim["spec"]) == (made["metadata"]["name"], made["spec"])
    assert pod["spec"]["resourceClaims"] == running["spec"]["resourceClaims"]


def test_run_shows_the_table_that_a_pod_sees(cluster, workload):
    kubectl, name = workload
    _, in_pod = kubectl.run_in(name, "nvidia-smi")
    gpus = cluster.gpus(kubectl.get("pod", name)["spec"]["nodeName"])
    offline = hami("run", "--sim", gpus, "--memory", "10Gi", "--", "nvidia-smi")

    def without_date(table):
        return [line for line in table.splitlines() if not re.match(r"[A-Z][a-z]{2} [A-Z]", line)]

    assert without_date(offline) == without_date(in_pod)


def test_a_manifest_that_is_applied_again_leaves_its_running_pod_as_it_is(workload):
    kubectl, name = workload
    before = kubectl.get("pod", name)
    for how in ([], ["--server-side", "--force-conflicts"]):
        manifest = guide_manifest("native.yaml" if "native" in name else "compatible.yaml")
        kubectl("apply", *how, "-f", "-", stdin=manifest.encode())
    after = kubectl.get("pod", name)
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
