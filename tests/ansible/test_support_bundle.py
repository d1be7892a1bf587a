"""What support_bundle.yml writes; `hami bundle` itself has tests of its own."""

import pytest

from tests.ansible.stand_ins import ROOT, Machine

pytestmark = pytest.mark.slow

INVENTORY = "control_plane: {hosts: {control: }}\ngpu_nodes: {hosts: {gpu-1: }}\n"


def test_a_bundle_has_the_cluster_and_each_node_and_is_for_its_owner_alone(tmp_path):
    machine = Machine(tmp_path)
    machine.program("hami", 'echo "$@" >"$3"')
    bundle = tmp_path / "bundle"
    variables = [
        f"--extra-vars=hami_bundle_folder={bundle}",
        f"--extra-vars=hami_command={machine.programs}/hami",
    ]
    machine.play(ROOT / "playbooks/support_bundle.yml", *variables, inventory=INVENTORY)
    assert (bundle / "cluster.tar.gz").read_text().startswith("bundle --file")
    for node in ("control", "gpu-1"):
        report = bundle / f"{node}.txt"
        assert "== kept originals" in report.read_text()
        assert report.stat().st_mode & 0o777 == 0o600
    assert bundle.stat().st_mode & 0o777 == 0o700
