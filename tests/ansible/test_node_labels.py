"""The labels of GPU nodes: put on, taken off where a node left the inventory, and never somebody else's.

kubectl is simulated; real nodes get and lose the label in the scenarios kind and kind-1.34.
"""

import json

import pytest

from tests.ansible.stand_ins import ROOT, Machine

pytestmark = pytest.mark.slow

NODES = """\
gpu-1  {"zone":"a","empty":""}
gpu-2 gpu {"gpu":"on","zone":"b"}
gpu-3  {"gpu":"on","zone":"a"}
gone gpu {"gpu":"on"}
"""
"""As `kubectl get nodes` prints name, the labels that we set, and all of them."""
GPUS = ("gpu-1", "gpu-2", "gpu-3")


@pytest.fixture
def patched(tmp_path):
    """Run a playbook's play on labels for the inventory's nodes: by node the labels and our note that kubectl
    was told to patch."""

    def run(playbook, *nodes, drivers=None, fails=False):
        machine = Machine(tmp_path)
        machine.program(
            "kubectl",
            f"[ \"$1\" = patch ] || {{ printf '%s' '{NODES}'; exit; }}\necho \"$3 $5\" >>{tmp_path}/told",
        )
        hosts = ", ".join(f"{node}: " for node in nodes)
        variables = json.dumps({"hami_values": {"hami-dra": {"drivers": drivers or {}}}})
        output = machine.play(
            ROOT / "playbooks" / playbook,
            "--tags=label",
            inventory=f"gpu_nodes: {{hosts: {{{hosts}}}, vars: {variables}}}",
            fails=fails,
        )
        told = tmp_path / "told"
        patches = {}
        for line in told.read_text().splitlines() if told.exists() else []:
            node, _, patch = line.partition(" --patch=")
            metadata = json.loads(patch)["metadata"]
            patches[node] = metadata["labels"], metadata["annotations"]["hami.io/labels-set"]
        return patches, output

    return run


def test_a_new_node_gets_the_label_and_one_that_left_the_inventory_loses_it(patched):
    told, _ = patched("site.yml", *GPUS)
    assert told == {"gpu-1": ({"gpu": "on"}, "gpu"), "gone": ({"gpu": None}, None)}


def test_a_label_that_its_owner_set_stays_when_we_go(patched):
    told, _ = patched("reset.yml", *GPUS, "unknown")
    assert told == {"gpu-2": ({"gpu": None}, None)}


SELECTED = {"daemonSet": {"nodeSelector": {"gpu": None, "zone": "a", "empty": ""}}}


@pytest.mark.parametrize(
    "drivers",
    [{"nvidia": SELECTED}, {"nvidia": {"enabled": False}, "families": SELECTED}],
    ids=["nvidia", "other families"],
)
def test_nodes_get_the_labels_that_the_release_selects_them_by(patched, drivers):
    """Those that a node has already are its owner's, and ours that nobody selects by any more go."""
    told, _ = patched("site.yml", *GPUS, drivers=drivers)
    assert told == {
        "gpu-2": ({"gpu": None, "zone": "a", "empty": ""}, "empty,zone"),
        "gpu-3": ({"empty": ""}, "empty"),
        "gone": ({"gpu": None}, None),
    }


def test_a_label_of_the_values_comes_on_top_of_the_charts_own(patched):
    told, _ = patched("site.yml", "gpu-2", drivers={"nvidia": {"daemonSet": {"nodeSelector": {"zone": "b"}}}})
    assert told == {"gone": ({"gpu": None}, None)}


def test_a_node_that_the_cluster_does_not_know_is_told_with_the_remedy(patched):
    told, output = patched("site.yml", "typo", fails=True)
    assert (
        "typo: the cluster has no node typo; set hami_node_name to its name in `kubectl get nodes`" in output
    )
    assert told == {}
