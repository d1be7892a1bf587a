"""The plays that switch gates on, with nothing to do or nothing that they may do. kubectl is simulated."""

import pytest

from tests.ansible.stand_ins import ROOT, Machine

pytestmark = pytest.mark.slow

GATE = 'kubernetes_feature_enabled{name="DRAConsumableCapacity",stage="ALPHA"}'
INVENTORY = """
all:
  vars: {hami_distribution: managed}
  children: {control_plane: {hosts: {localhost: }}, gpu_nodes: {hosts: {gpu-1: }}}
"""


@pytest.fixture
def roll_out(tmp_path):
    """Run one of the two plays on a managed cluster whose gates are ON (0 or 1): the output."""

    def run(on, tag, fails=False):
        machine = Machine(tmp_path)
        machine.program("kubectl", f"echo '{GATE} {on}'")
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


def test_a_component_that_restarts_just_now_gets_its_time(tmp_path):
    """As when a run was killed that had just changed the API server: the others end without it."""
    machine = Machine(tmp_path)
    up = tmp_path / "up"
    machine.program("kubectl", f"[ -e {up} ] || {{ touch {up}; exit 1; }}; echo '{GATE} 1'")
    inventory = INVENTORY.replace("managed", "k3s")
    output = machine.play(ROOT / "playbooks/site.yml", "--tags", "control_plane", inventory=inventory)
    assert "RETRYING" in output
    assert "changed=0" in output
