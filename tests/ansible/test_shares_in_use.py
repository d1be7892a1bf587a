"""Pods with shares: an upgrade loses none and tells nothing of theirs; test_release_plays.py has the removal.

kubectl is simulated.
"""

import json

import pytest

from tests.ansible.stand_ins import ROOT, Machine

pytestmark = pytest.mark.slow

INVENTORY = "{gpu_nodes: {hosts: {gpu-1: }}, control_plane: {hosts: {control-1: }}}"
POD = {
    "metadata": {"namespace": "ml", "name": "train", "uid": "u1"},
    "spec": {
        "nodeName": "gpu-1",
        "containers": [{"name": "main", "env": [{"name": "TOKEN", "value": "hunter2"}]}],
    },
    "status": {"containerStatuses": [{"name": "main", "restartCount": 0}]},
}
CLAIM = {
    "metadata": {"namespace": "ml", "name": "share"},
    "status": {
        "reservedFor": [{"resource": "pods", "name": "train", "uid": "u1"}],
        "allocation": {"devices": {"results": [{"driver": "hami-core-gpu.project-hami.io", "device": "a"}]}},
    },
}


@pytest.fixture
def machine(tmp_path):
    """A cluster of one Pod with a share."""
    made = Machine(tmp_path)
    (tmp_path / "pods").write_text(json.dumps({"items": [POD]}))
    (tmp_path / "resourceclaims").write_text(json.dumps({"items": [CLAIM]}))
    made.program(
        "kubectl",
        f'cat "{tmp_path}/$2"; [ ! -e "{tmp_path}/then-$2" ] || cp "{tmp_path}/then-$2" "{tmp_path}/$2"',
    )
    return made


def upgrade(machine: Machine, *arguments: str, fails: bool = False) -> str:
    return machine.play(
        ROOT / "playbooks/upgrade.yml", "--tags", "shares,kept", *arguments, inventory=INVENTORY, fails=fails
    )


def test_a_pod_that_kept_its_share_is_counted_and_its_environment_is_in_no_output(machine):
    output = upgrade(machine, "-vvv")
    assert "1 Pods used a share before, and all of them still do" in output
    assert "hunter2" not in output


def test_a_pod_that_was_lost_is_named(machine):
    (machine.folder / "then-pods").write_text('{"items": []}')
    assert "1 Pods that used a share were lost or restarted meanwhile, the first is" in upgrade(
        machine, fails=True
    )


def test_where_there_is_no_release_none_is_removed(machine):
    (machine.folder / "resourceclaims").write_text('{"items": []}')
    machine.program("helm", "echo 'Error: release: not found' >&2; exit 1")
    reset = ROOT / "playbooks/reset.yml"
    assert "failed=0" in machine.play(reset, "--tags", "driver", inventory=INVENTORY)
