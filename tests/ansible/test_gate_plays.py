"""The plays that switch gates on, with nothing to do or nothing that they may do. kubectl is simulated."""

import json
import os
import subprocess
import sys
from pathlib import Path

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

    def run(on, tag, fails=False, gate=GATE):
        machine = Machine(tmp_path)
        machine.program("kubectl", f"echo '{gate} {on}'")
        return machine.play(ROOT / "playbooks/site.yml", "--tags", tag, inventory=INVENTORY, fails=fails)

    return run


@pytest.mark.parametrize("tag", ["control_plane", "kubelet"])
def test_a_gate_that_is_on_is_looked_at_and_nothing_else(roll_out, tag):
    output = roll_out(1, tag)
    assert "changed=0" in output
    assert "failed=0" in output


@pytest.mark.parametrize("tag", ["control_plane", "kubelet"])
def test_a_release_in_which_the_gate_is_none_any_more_has_what_it_stood_for(roll_out, tag):
    output = roll_out(0, tag, gate=GATE.replace("DRAConsumableCapacity", "Another"))
    assert "changed=0" in output


def test_a_gate_that_is_off_in_the_control_plane_is_the_providers_to_switch(roll_out):
    output = roll_out(0, "control_plane", fails=True)
    assert "only the provider can switch it: upgrade the cluster to Kubernetes 1.36" in output


def test_a_gate_that_is_off_in_a_kubelet_is_told_with_the_providers_own_place_for_it(roll_out):
    output = roll_out(0, "kubelet", fails=True)
    assert "GKE and Azure: the node pool's, EKS: the NodeConfig of the launch template" in output


@pytest.mark.parametrize(("version", "fails"), [("v1.33.9", True), ("v1.34.0-gke.1", False)])
def test_a_kubelet_that_does_not_know_the_gate_yet_is_not_taken_for_one_that_always_has_it(
    tmp_path, version, fails
):
    machine = Machine(tmp_path)
    silent = GATE.replace("DRAConsumableCapacity", "Another")
    machine.program("kubectl", f"case $* in *kubeletVersion*) echo {version} ;; *) echo '{silent} 1' ;; esac")
    play = ("playbooks/site.yml", "--tags", "kubelet")
    output = machine.play(*play, inventory=INVENTORY, fails=fails)
    assert (f"is {version}, and shares begin with 1.34; upgrade the node first" in output) == fails


@pytest.mark.parametrize("playbook", ["site", "support_bundle"])
def test_nothing_is_loaded_on_or_collected_from_the_machine_that_stands_for_a_providers_control_plane(
    tmp_path, playbook
):
    machine = Machine(tmp_path)
    machine.program("systemctl", "echo inactive")
    settings = ["-e", "hami_image_archive=/nowhere", "-e", f"hami_bundle_folder={tmp_path}/bundle"]
    arguments = ["--tags", "images,nodes", "--limit", "localhost", *settings]
    output = machine.play(ROOT / f"playbooks/{playbook}.yml", *arguments, inventory=INVENTORY)
    assert "changed=0" in output


def test_localhost_in_an_inventory_is_asked_without_ssh(tmp_path, monkeypatch):
    """As the sample inventory names it where a provider runs the control plane."""
    machine = Machine(tmp_path)
    machine.program("kubectl", f"echo '{GATE} 1'")
    monkeypatch.setenv("PATH", f"{machine.programs}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    book = [
        Path(sys.executable).parent / "ansible-playbook",
        "-i",
        tmp_path / "hosts.yml",
        ROOT / "playbooks/site.yml",
    ]
    no_ssh = ["--tags", "control_plane", "-e", "ansible_ssh_executable=/nowhere/ssh"]
    done = subprocess.run([*book, *no_ssh], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_component_that_restarts_just_now_gets_its_time(tmp_path):
    """As when a run was killed that had just changed the API server: the others end without it."""
    machine = Machine(tmp_path)
    up = tmp_path / "up"
    machine.program("kubectl", f"[ -e {up} ] || {{ touch {up}; exit 1; }}; echo '{GATE} 1'")
    inventory = INVENTORY.replace("managed", "k3s")
    output = machine.play(ROOT / "playbooks/site.yml", "--tags", "control_plane", inventory=inventory)
    assert "RETRYING" in output
    assert "changed=0" in output


def test_an_api_server_of_k3s_is_asked_behind_the_port_that_its_kubeconfig_names(tmp_path):
    machine = Machine(tmp_path)
    (tmp_path / "k3s.yaml").write_text("clusters: [{cluster: {server: 'https://127.0.0.1:7443'}}]\n")
    machine.program("kubectl", f"case $* in *127.0.0.1:6444*) exit 1 ;; *) echo '{GATE} 1' ;; esac")
    signs = json.dumps({"control_plane_gates_signs": {"k3s": str(tmp_path / "k3s.yaml")}})
    inventory = INVENTORY.replace("managed", "k3s")
    output = machine.play(
        ROOT / "playbooks/site.yml", "--tags", "control_plane", "-e", signs, "-vvv", inventory=inventory
    )
    assert "failed=0" in output
    assert "--server=https://127.0.0.1:7444" in output


@pytest.fixture
def kubeadm(tmp_path):
    """Run the control plane's play on nodes of kubeadm whose gate is off; nothing answers at CLOSED_PORT."""

    def run(*arguments, closed_port="1", flags=""):
        machine = Machine(tmp_path)
        (tmp_path / "config-map").write_text(
            json.dumps({"data": {"ClusterConfiguration": "apiVersion: kubeadm.k8s.io/v1beta4\n"}})
        )
        machine.program(
            "kubectl",
            f"""
case $* in
  *"127.0.0.1:{closed_port} "*) exit 1 ;;
  *replace*) cat >/dev/null; echo write >>{tmp_path}/writes ;;
  *configmaps*) cat {tmp_path}/config-map ;;
  *) echo '{GATE} 0' ;;
esac""",
        )
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
            manifest = f"spec:\n  containers:\n  - command:\n    - {name}\n{flags}"
            (tmp_path / f"{name}.yaml").write_text(manifest)
        inventory = "control_plane: {hosts: {a: , b: , c: }}\ngpu_nodes: {hosts: {d: }}\n"
        more = ["--check", "--tags", "control_plane", "-e", "hami_distribution=kubeadm"]
        more += ["-e", f"control_plane_gates_manifests={tmp_path}"]
        return machine.play(ROOT / "playbooks/site.yml", *more, *arguments, inventory=inventory)

    return run


def test_a_dry_run_tells_of_what_kubeadm_keeps_for_all_control_plane_nodes_once(kubeadm, tmp_path):
    kubeadm()
    assert (tmp_path / "writes").read_text().splitlines() == ["write"]


def test_an_api_server_is_asked_at_the_port_that_kubeadm_gave_it(kubeadm):
    assert "failed=0" in kubeadm("--limit=a", closed_port="6443", flags="    - --secure-port=7443\n")


def test_the_administrators_keys_are_in_no_output_however_much_is_asked_for(kubeadm, tmp_path):
    (tmp_path / "admin.conf").write_text("client-key-data: planted-secret-4711\n")
    signs = {"control_plane_gates_signs": {"kubeadm": str(tmp_path / "admin.conf")}}
    output = kubeadm("-vvv", "--limit=a", "-e", "hami_distribution=", "-e", json.dumps(signs))
    assert "failed=0" in output
    assert "planted-secret-4711" not in output


def test_a_kubelet_is_changed_where_it_reads_its_configuration(tmp_path):
    """As Kubespray lays it out: the unit's command line names the file. The process is a shell's."""
    machine = Machine(tmp_path)
    config = tmp_path / "kubelet-config.yaml"
    config.write_text("kind: KubeletConfiguration\n")
    config_map = json.dumps({"data": {"kubelet": "kind: KubeletConfiguration"}})
    machine.program(
        "kubectl",
        f"""
case $* in
  *replace*) cat ;;
  *configmaps*) echo '{config_map}' ;;
  *) echo '{GATE} 0' ;;
esac""",
    )
    command = ["sh", "-c", "read line", "kubelet", "--node-ip=192.0.2.1", f"--config={config}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as kubelet:
        machine.program(
            "systemctl",
            f"""
case $* in
  *MainPID*) echo {kubelet.pid} ;;
  *) printf 'Id=kubelet.service\\nLoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n' ;;
esac""",
        )
        arguments = ["--check", "--diff", "--tags", "kubelet", "-e", "hami_distribution=kubeadm"]
        output = machine.play(ROOT / "playbooks/site.yml", *arguments, inventory=INVENTORY)
        assert kubelet.stdin is not None
        kubelet.stdin.close()
    assert f"+++ {config} @@ -1,0 +2,2 @@ +featureGates: + DRAConsumableCapacity: true" in output
