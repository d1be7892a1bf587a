"""When the plays that call Helm do so, and when they leave it alone. kubectl and helm are simulated."""

import json

import pytest

from tests.ansible.stand_ins import ROOT, Machine

pytestmark = pytest.mark.slow

INVENTORY = "control_plane: {hosts: {control: }}\ngpu_nodes: {hosts: {gpu-1: {hami_driver: DRIVER}}}\n"


def claim(driver: str) -> dict:
    devices = {"results": [{"driver": driver, "request": "gpu"}]}
    status = {"allocation": {"devices": devices}, "reservedFor": [{"uid": "1"}]}
    return {"metadata": {"namespace": "ml", "name": "notebook"}, "status": status}


@pytest.fixture
def machine(tmp_path):
    """A cluster with a release, in which a claim of DRIVER is in use; helm notes what it is told."""
    made = Machine(tmp_path)
    made.told = made.helm("$*")
    made.program("kubectl", f"cat {tmp_path / 'claims.json'}")
    return made


def run(machine, playbook, *arguments, driver="host", used="amd.project-hami.io", fails=False):
    """Run the cluster's part of a playbook: what helm was told, and the output."""
    (machine.folder / "claims.json").write_text(json.dumps({"items": [claim(used)]}))
    inventory = INVENTORY.replace("DRIVER", driver)
    # Only what runs once for the cluster: this machine is no node.
    arguments = ["--limit=control", *arguments]
    output = machine.play(ROOT / "playbooks" / playbook, *arguments, inventory=inventory, fails=fails)
    return (machine.told.read_text() if machine.told.exists() else ""), output


def test_a_removal_is_refused_while_a_claim_of_any_family_is_in_use(machine):
    told, output = run(machine, "reset.yml", "--tags=driver", fails=True)
    assert told == ""
    assert "claims are in use: ml/notebook; delete their Pods first, or run again" in output


def test_a_removal_goes_ahead_when_nobody_of_ours_is_in_the_way(machine):
    told, _ = run(machine, "reset.yml", "--tags=driver", used="gpu.example.com")
    assert "uninstall hami --wait" in told
    assert "--no-hooks" not in told


def test_a_removal_that_is_told_to_goes_ahead_without_the_charts_own_question(machine):
    told, _ = run(machine, "reset.yml", "--tags=driver", "-e", "hami_reset_force=true")
    assert "uninstall hami" in told
    assert "--no-hooks" in told


def test_a_reset_takes_our_files_and_no_others_out_of_folders_that_the_values_name(machine):
    limiter, plugins = (machine.folder / name for name in ("limiter", "plugins"))
    ours = [limiter / "libvgpu.so.0123456789ab", limiter / "ld.so.preload", plugins / "x.project-hami.io"]
    for file in (*ours, limiter / "of-others", plugins / "of-others"):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    nvidia = {"limiterDirectory": str(limiter), "kubelet": {"pluginsDirectory": str(plugins)}}
    values = json.dumps({"hami_values": {"hami-dra": {"drivers": {"nvidia": nvidia}}}})
    arguments = ("--tags=state", "--check", "-e", values)
    inventory = INVENTORY.replace("DRIVER", "host")
    output = machine.play(ROOT / "playbooks/reset.yml", *arguments, inventory=inventory)
    assert all(f"changed: [gpu-1] => (item={file})" in output for file in ours)
    assert "of-others" not in output


@pytest.mark.parametrize(
    ("driver", "certificates", "installed"), [("operator", "cert_manager", True), ("host", "self", False)]
)
def test_gpu_operator_and_cert_manager_are_installed_where_they_are_asked_for(
    machine, driver, certificates, installed
):
    arguments = ("--tags=operator,certs", "--check", "-e", f"hami_certificates={certificates}")
    told, _ = run(machine, "site.yml", *arguments, driver=driver)
    assert [name in told for name in ("gpu-operator", "cert-manager")] == [installed] * 2


def test_a_cluster_whose_nvidia_cards_are_left_alone_gets_no_gpu_operator(machine):
    values = json.dumps({"hami_values": {"hami-dra": {"drivers": {"nvidia": {"enabled": False}}}}})
    told, _ = run(machine, "site.yml", "--tags=operator", "--check", "-e", values, driver="operator")
    assert "gpu-operator" not in told


def roll_back(machine, history, *arguments, fails=False):
    """Run rollback.yml where `helm history` says HISTORY, (revision, status) of each: what helm was told."""
    listed = json.dumps([{"revision": number, "status": status} for number, status in history])
    machine.program("helm", f"echo \"$*\" >>{machine.told}; case $* in *history*) echo '{listed}' ;; esac")
    machine.program("kubectl", "echo '{\"items\": []}'")
    arguments = ["--tags=driver", "--limit=control", *arguments]
    playbook, inventory = ROOT / "playbooks/rollback.yml", INVENTORY.replace("DRIVER", "host")
    return machine.play(playbook, *arguments, inventory=inventory, fails=fails)


@pytest.mark.parametrize(("arguments", "revision"), [([], 3), (["-e", "hami_revision=1"], 1)])
def test_a_rollback_goes_to_the_revision_that_ran_before_or_that_is_asked_for(machine, arguments, revision):
    history = [(1, "superseded"), (2, "failed"), (3, "superseded"), (4, "failed"), (5, "deployed")]
    roll_back(machine, history, *arguments)
    assert f"rollback hami {revision} --wait" in machine.told.read_text()


def test_a_rollback_to_nothing_is_refused(machine):
    output = roll_back(machine, [(1, "deployed")], fails=True)
    assert "release hami-system/hami has no earlier revision that worked" in output
    assert "rollback" not in machine.told.read_text()
