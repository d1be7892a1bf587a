"""What a cluster must be before anything changes; kubectl is simulated."""

import json

import pytest

from tests.ansible.stand_ins import ROOT, Machine

pytestmark = pytest.mark.slow

INVENTORY = "control_plane: {hosts: {control: }}\ngpu_nodes: {hosts: {gpu-1: {hami_driver: host}}}\n"
RIVAL_OPERATOR = "gpu-operator/nvidia-device-plugin-daemonset"
RIVAL_HAMI = "kube-system/hami-device-plugin"


@pytest.fixture
def preflight(tmp_path):
    """Run preflight.yml on a cluster that lacks something: the output, which must be a failure."""

    def run(*arguments, version="v1.36.1", dra="exit 0", daemonsets="kube-system/kube-proxy", helm="exit 0"):
        machine = Machine(tmp_path)
        machine.program("helm", helm)
        machine.program(
            "kubectl",
            f"""
case $* in
version*) echo '{json.dumps({"serverVersion": {"gitVersion": version}})}' ;;
*daemonsets*) printf '%s\\n' {daemonsets} ;;
*/apis/resource.k8s.io/v1*) {dra} ;;
*) exit 1 ;;
esac""",
        )
        return machine.play(ROOT / "playbooks/preflight.yml", *arguments, inventory=INVENTORY, fails=True)

    return run


@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        # As a shell answers for a program that is not there.
        ({"helm": "exit 127"}, ["this machine: helm is not in PATH; install it here"]),
        ({"version": "v1.33.9"}, ["cluster: Kubernetes is 1.33.9, and resource.k8s.io/v1 begins with 1.34"]),
        ({"dra": "exit 1"}, ["cluster: the API server does not serve resource.k8s.io/v1; remove"]),
        (
            {"daemonsets": f"{RIVAL_OPERATOR} {RIVAL_HAMI}"},
            [
                f"cluster: nvidia-device-plugin: {RIVAL_OPERATOR} hands out the same",
                f"cluster: traditional-hami: {RIVAL_HAMI} hands out the same",
            ],
        ),
    ],
    ids=["helm", "version", "dra", "rivals"],
)
def test_what_a_cluster_lacks_is_told_with_the_remedy(preflight, lacks, said):
    output = preflight(**lacks)
    assert [sentence for sentence in said if sentence not in output] == []
    assert "changed=0" in output


def test_nvidias_device_plugin_may_serve_the_cards_that_the_values_leave_alone(preflight):
    values = {"hami_values": {"hami-dra": {"drivers": {"nvidia": {"enabled": False}}}}}
    output = preflight("-e", json.dumps(values), daemonsets=RIVAL_OPERATOR)
    assert "hands out the same GPUs" not in output
    assert "driver-version" not in output, "no driver of NVIDIA is asked for"
