"""What is wrong stops the rollout before anything changes, in one line with the remedy."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.ansible.stand_ins import ROOT, Machine


@pytest.fixture
def run(tmp_path):
    """Run a task list of a role on an inventory; the output, which must be a failure."""

    def play(inventory, tasks_from, hosts="all"):
        hosts_file = tmp_path / "hosts.yml"
        hosts_file.write_text(inventory)
        (tmp_path / "group_vars").symlink_to(ROOT / "playbooks/group_vars")
        book = tmp_path / "play.yml"
        book.write_text(
            f"- hosts: {hosts}\n  gather_facts: false\n"
            f"  tasks:\n  - import_role: {{name: preflight, tasks_from: {tasks_from}}}\n"
            "  - debug: {msg: something was changed}\n"
        )
        environment = dict(os.environ) | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOST_KEY_CHECKING": "False"}
        command = [Path(sys.executable).parent / "ansible-playbook", "-i", hosts_file, book]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        output = " ".join((done.stdout + done.stderr).split())
        assert done.returncode != 0, output
        assert "something was changed" not in done.stdout
        return output

    return play


LOCAL = f"ansible_connection: local, ansible_python_interpreter: {sys.executable}"


@pytest.mark.parametrize(
    ("inventory", "group"),
    [
        ("control_plane: {hosts: {a: }}", "gpu_nodes"),
        ("control-plane: {hosts: {a: }}\ngpu_nodes: {hosts: {b: }}", "control_plane"),
        ("gpu_nodes: [not an inventory", "gpu_nodes"),
    ],
)
def test_an_inventory_without_one_of_the_groups_is_refused(tmp_path, inventory, group):
    """Ansible itself would run no play of a group that is missing, and end well."""
    output = Machine(tmp_path).play(ROOT / "playbooks/site.yml", "--check", inventory=inventory, fails=True)
    assert f"inventory: the group {group} is empty; list the" in output
    assert "changed=0" in output


def test_a_strategy_that_goes_on_where_a_host_has_failed_is_refused(run, monkeypatch):
    monkeypatch.setenv("ANSIBLE_STRATEGY", "free")
    output = run(f"gpu_nodes: {{hosts: {{a: {{{LOCAL}}}}}}}", "settings")
    assert "the strategy free lets hosts go on where another has failed" in output


def test_an_inventory_with_two_kinds_of_driver_is_refused(run):
    hosts = "{a: {hami_driver: host}, b: {hami_driver: operator}}"
    output = run(f"gpu_nodes: {{hosts: {hosts}, vars: {{{LOCAL}}}}}", "inventory")
    assert "hami_driver differs between GPU nodes (host, operator)" in output


def test_a_file_of_simulated_gpus_that_is_not_there_is_named(run):
    output = run(
        f"gpu_nodes: {{hosts: {{a: {{{LOCAL}, hami_simulated_gpus: /nowhere/gpus.yaml}}}}}}\n", "inventory"
    )
    assert "/nowhere/gpus.yaml: no such file on this machine; correct hami_simulated_gpus" in output


def test_a_node_that_cannot_be_reached_is_named_with_the_remedy(run, tmp_path):
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho connection refused >&2\nexit 255\n")
    ssh.chmod(0o755)
    output = run(f"all: {{hosts: {{gpu-1: {{ansible_ssh_executable: {ssh}}}}}}}\n", "reach")
    assert "gpu-1: cannot be reached (" in output
    assert "correct ansible_host and ansible_user in the inventory, or take the host out" in output


def test_a_machine_without_an_ssh_client_is_told(run):
    output = run("all: {hosts: {gpu-1: {ansible_ssh_executable: /nowhere/ssh}}}\n", "reach")
    assert "gpu-1: cannot be asked, for this machine has no SSH client (" in output
    assert "install openssh-client here" in output


GROUPS = "control_plane: {hosts: {control: }}\ngpu_nodes: {hosts: {gpu-1: }}\n"


@pytest.mark.parametrize("told", ["one", None])
def test_an_api_server_that_does_not_answer_is_told_with_the_kubeconfig_that_counts(
    tmp_path, monkeypatch, told
):
    for name in ("one", "two"):
        (tmp_path / name).touch()
    used = tmp_path / (told or "two")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "two"))
    machine = Machine(tmp_path)
    machine.program("helm", "true")
    machine.program("kubectl", 'echo "no route, asked with $KUBECONFIG" >&2; exit 1')
    inventory = (f"all: {{vars: {{hami_kubeconfig: {used}}}}}\n" if told else "") + GROUPS
    output = machine.play(ROOT / "playbooks/preflight.yml", inventory=inventory, fails=True)
    assert (
        f"does not answer with the kubeconfig {used}: no route, asked with {used}; set hami_kubeconfig"
        in output
    )


def test_a_node_where_nobody_becomes_root_is_told_apart_from_one_that_cannot_be_reached(run, tmp_path):
    sudo = tmp_path / "sudo"
    sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    sudo.chmod(0o755)
    become = f"ansible_become: true, ansible_become_exe: {sudo}, ansible_become_user: nobody"
    output = run(f"all: {{hosts: {{gpu-1: {{{LOCAL}, {become}}}}}}}\n", "reach")
    assert "gpu-1: nothing can be run there as root (" in output
    assert "sudo: a password is required); let ansible_user become root without a password, or" in output


@pytest.mark.parametrize(
    ("kubeconfig", "said"),
    [
        ("/nowhere/config", "the kubeconfig /nowhere/config does not exist; set hami_kubeconfig to one that"),
        ("/nowhere/a:/nowhere/b", "the API server does not answer with the kubeconfig /nowhere/a:/nowhere/b"),
    ],
)
def test_a_kubeconfig_that_is_not_there_is_named(tmp_path, kubeconfig, said):
    machine = Machine(tmp_path)
    machine.program("helm", "true")
    machine.program("kubectl", "echo 'connection to localhost:8080 refused' >&2; exit 1")
    inventory = f"all: {{vars: {{hami_kubeconfig: '{kubeconfig}'}}}}\n{GROUPS}"
    output = machine.play(ROOT / "playbooks/preflight.yml", inventory=inventory, fails=True)
    assert f"cluster: {said}" in output


def test_settings_with_a_slip_are_refused_before_anything_is_asked(tmp_path):
    """In a run that is limited to some hosts as well."""
    machine = Machine(tmp_path)

    def said(settings, *limit):
        of_nodes = f"{{hosts: {{b: }}, vars: {{{settings}}}}}"
        inventory = f"control_plane: {{hosts: {{a: }}}}\ngpu_nodes: {of_nodes}\n"
        output = machine.play(ROOT / "playbooks/site.yml", *limit, inventory=inventory, fails=True)
        assert "changed=0" in output
        return output

    for limit in ([], ["--limit=a"]):
        assert "inventory: hami_drvier: the rollout has no such setting; the names of all of" in said(
            "hami_drvier: host", *limit
        )
    output = said("hami_driver: hosts, hami_certificates: certManager, hami_distribution: gke")
    assert "inventory: hami_driver is hosts; it must be one of operator, host, simulated" in output
    assert "inventory: hami_certificates is certManager; it must be one of" in output
    assert "inventory: hami_distribution is gke; it must be one of kubeadm, k3s," in output


def test_what_a_playbook_notes_is_not_taken_for_a_setting_by_the_next_one_of_the_same_run():
    files = [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("roles/*/tasks/*.yml")]
    assert [path for path in files if re.search(r"register: hami_", path.read_text())] == []


def test_every_setting_of_the_sample_inventory_is_known_and_every_known_one_is_explained_somewhere():
    known = set(yaml.safe_load((ROOT / "roles/preflight/vars/main.yml").read_text())["preflight_settings"])
    sample = (ROOT / "inventory/sample/group_vars/all.yml").read_text()
    sample += (ROOT / "inventory/sample/hosts.yml").read_text()
    explained = set(re.findall(r"\bhami_\w+", sample))
    derived = set(
        re.findall(r"^(hami_\w+):", (ROOT / "playbooks/group_vars/all.yml").read_text(), re.MULTILINE)
    )
    assert known == explained | derived
