"""The label of GPU nodes: put on, taken off where a node left the inventory, and never somebody else's.

kubectl is simulated; real nodes get and lose the label in the scenarios kind and kind-1.34.
"""

import pytest

from tests.ansible.stand_ins import ROOT, Machine

pytestmark = pytest.mark.slow

# As `kubectl get nodes` prints name, label and who set it.
NODES = """\
gpu-1   <none>   <none>
gpu-2   on       hami-dra
gpu-3   on       <none>
gone    on       hami-dra
"""


@pytest.fixture
def patched(tmp_path):
    """Run a playbook's play on labels for the inventory's nodes: by node what kubectl was told to patch."""

    def run(playbook, *nodes, fails=False):
        machine = Machine(tmp_path)
        machine.program(
            "kubectl",
            f"[ \"$1\" = patch ] || {{ printf '%s' '{NODES}'; exit; }}\necho \"$3 $5\" >>{tmp_path}/told",
        )
        hosts = ", ".join(f"{node}: " for node in nodes)
        inventory = f"gpu_nodes: {{hosts: {{{hosts}}}}}"
        output = machine.play(ROOT / "playbooks" / playbook, "--tags=label", inventory=inventory, fails=fails)
        told = tmp_path / "told"
        lines = told.read_text().splitlines() if told.exists() else []
        return dict(line.split(" ", 1) for line in lines), output

    return run


def test_a_new_node_gets_the_label_and_one_that_left_the_inventory_loses_it(patched):
    told, _ = patched("site.yml", "gpu-1", "gpu-2", "gpu-3")
    assert set(told) == {"gpu-1", "gone"}
    assert '"gpu": "on"' in told["gpu-1"]
    assert '"gpu": null' in told["gone"]


def test_a_label_that_its_owner_set_stays_when_we_go(patched):
    told, _ = patched("reset.yml", "gpu-1", "gpu-2", "gpu-3")
    assert set(told) == {"gpu-2"}
    assert '"gpu": null' in told["gpu-2"]


def test_a_node_that_the_cluster_does_not_know_is_told_with_the_remedy(patched):
    told, output = patched("site.yml", "typo", fails=True)
    assert (
        "typo: the cluster has no node typo; set hami_node_name to its name in `kubectl get nodes`" in output
    )
    assert told == {}
