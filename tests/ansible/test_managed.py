"""Where a provider runs the control plane, the rollout says what to switch there. kubectl is simulated."""

import pytest

from tests.ansible.stand_ins import ROOT, Machine

pytestmark = pytest.mark.slow

INVENTORY = """
all:
  vars: {hami_distribution: managed}
  children: {control_plane: {hosts: {localhost: }}, gpu_nodes: {hosts: {gpu-1: }}}
"""


@pytest.fixture
def roll_out(tmp_path):
    """Run the two plays that switch gates on, with a cluster whose gates are ON (0 or 1): the output."""

    def run(on, tag, fails=False):
        machine = Machine(tmp_path)
        gate = 'kubernetes_feature_enabled{name="DRAConsumableCapacity",stage="ALPHA"}'
        machine.program("kubectl", f"echo '{gate} {on}'")
        return machine.play(ROOT / "playbooks/site.yml", "--tags", tag, inventory=INVENTORY, fails=fails)

    return run


@pytest.mark.parametrize("tag", ["control_plane", "kubelet"])
def test_a_gate_that_is_on_is_looked_at_and_nothing_else(roll_out, tag):
    output = roll_out(1, tag)
    assert "changed=0" in output
    assert "failed=0" in output


def test_a_gate_that_is_off_in_the_control_plane_is_the_providers_to_switch(roll_out):
    output = roll_out(0, "control_plane", fails=True)
    assert "only the provider can switch it: upgrade the cluster to Kubernetes 1.36" in output


def test_a_gate_that_is_off_in_a_kubelet_is_told_with_the_providers_own_place_for_it(roll_out):
    output = roll_out(0, "kubelet", fails=True)
    assert "GKE and Azure: the node pool's, EKS: the NodeConfig of the launch template" in output
