"""site.yml as somebody runs it who has the installed collection and no checkout.

kubectl, helm and what a node has are simulated here; scenario kind-1.34 does the same on a real cluster.
"""

import json
import re

import pytest

from tests.ansible.stand_ins import Machine
from tests.ansible.test_playbooks import STEPS
from tests.cluster import collection

pytestmark = pytest.mark.slow

# This machine is a node whose runtime has CDI on, of a cluster whose gate is on.
INVENTORY = """
all:
  vars: {hami_distribution: managed, hami_certificates: cert_manager}
  children: {control_plane: {hosts: {localhost: }}, gpu_nodes: {hosts: {gpu-1: }}}
"""
SLICE = {"metadata": {"name": "gpu-1"}, "spec": {"nodeName": "gpu-1", "devices": []}}
PROGRAMS = {
    "systemctl": r"printf 'inactive\n%.0s' 1 2 3 4 5; echo active",
    "containerd": """
case $* in *dump*) printf 'version = 3\\nenable_cdi = true\\n' ;; *) echo 'containerd v2.1.4' ;; esac""",
    "kubectl": f"""
case $* in
*" --raw"*apis*) ;;
*--raw=*) echo 'kubernetes_feature_enabled{{name="DRAConsumableCapacity",stage="BETA"}} 1' ;;
version*) echo '{{"serverVersion": {{"gitVersion": "v1.36.1"}}}}' ;;
*"get nodes"*) echo 'gpu-1  {{}}' ;;
*resourceslices*) echo '{json.dumps({"items": [SLICE]})}' ;;
create*) cat >/dev/null; echo '{{"spec": {{"resourceClaims": []}}}}' ;;
esac""",
    "helm": """
case $* in
*--values*) cat >/dev/null; echo "$6" >>TOLD ;;
*status*) echo 'release: not found' >&2; exit 1 ;;
esac
echo '{"info": {"status": "deployed"}}'""",
}


def test_the_whole_of_site_runs_from_the_installed_copy_and_tells_what_it_changed(tmp_path):
    installed = collection.install(collection.build(tmp_path), tmp_path)
    machine = Machine(tmp_path)
    for name, script in PROGRAMS.items():
        machine.program(name, script.replace("TOLD", str(tmp_path / "told")))
    output = machine.output("hami.dra.site", inventory=INVENTORY, installed=tmp_path)

    plays = re.findall(r"^PLAY \[(.*?)\]", output, flags=re.MULTILINE)
    assert [play.lower().replace(" ", "_") for play in plays if "Preflight" not in play] == STEPS[1:]
    assert collection.changes(output) == [
        "hami.dra.gpu_operator : Install or upgrade GPU Operator: localhost",
        "hami.dra.cert_manager : Install or upgrade cert-manager: localhost",
        "hami.dra.node_labels : Set the labels of gpu-1: gpu-1",
        "hami.dra.dra_release : Install or upgrade the release: localhost",
    ]
    charts = (tmp_path / "told").read_text().split()
    assert charts[-1] == str(installed / "charts/hami")
