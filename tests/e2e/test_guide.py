"""The guide's story, told by a real cluster with simulated GPUs."""

import pytest
import yaml

from tests.cluster.demo import GUIDE, guide_manifest
from tests.e2e.kubectl import claim, gpu_limits, pod


@pytest.fixture(params=["native", "compatible"])
def workload(request, namespace):
    """A running Pod of either mode with 10 GiB and 50 cores: (kubectl, Pod name)."""
    namespace("apply", "-f", "-", stdin=guide_manifest(f"{request.param}.yaml").encode())
    name = {"native": "gpu-test-dra-native", "compatible": "gpu-test-compatible"}[request.param]
    namespace.wait_running(name)
    return namespace, name


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


def test_the_native_claim_carries_consumed_capacity_and_a_share_id(namespace):
    namespace.apply(claim("gpu-half-claim"), pod("user", claim="gpu-half-claim"))
    running = namespace.wait_running("user")
    (result,) = namespace.get("resourceclaim", "gpu-half-claim")["status"]["allocation"]["devices"]["results"]
    assert result["consumedCapacity"] == {"cores": "50", "memory": "10Gi"}
    assert len(result["shareID"]) == 36
    assert result["pool"] == running["spec"]["nodeName"]
    assert result["device"] == "hami-gpu-0"


def test_the_compatible_claim_is_the_guides_and_belongs_to_its_pod(namespace):
    namespace.apply(pod("gpu-test-compatible", limits=gpu_limits()))
    running = namespace.wait_running("gpu-test-compatible")
    made = namespace.get("resourceclaim", f"{namespace.namespace}-gpu-test-compatible-cuda")
    expected = yaml.safe_load((GUIDE / "compatible.claim.expected.yaml").read_text())
    assert made["spec"] == expected["spec"]
    (owner,) = made["metadata"]["ownerReferences"]
    assert owner["uid"] == running["metadata"]["uid"]
    (result,) = made["status"]["allocation"]["devices"]["results"]
    assert result["consumedCapacity"] == {"cores": "50", "memory": "10Gi"}


def test_a_manifest_that_is_applied_again_leaves_its_running_pod_as_it_is(workload):
    kubectl, name = workload
    before = kubectl.get("pod", name)
    for how in ([], ["--server-side", "--force-conflicts"]):
        manifest = guide_manifest("native.yaml" if "native" in name else "compatible.yaml")
        kubectl("apply", *how, "-f", "-", stdin=manifest.encode())
    after = kubectl.get("pod", name)
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
