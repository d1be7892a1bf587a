"""Paths that an inventory names are those of the folder in which ansible-playbook is started."""

import os

import pytest

from tests.ansible.stand_ins import ROOT, Machine

pytestmark = pytest.mark.slow

HOSTS = "children: {control_plane: {hosts: {control: }}, gpu_nodes: {hosts: {gpu-1: }}}"


@pytest.fixture
def machine(tmp_path):
    """Programs that note where they look for the cluster, and what they are told."""
    made = Machine(tmp_path)
    made.told = made.helm("$KUBECONFIG $*")
    made.program("kubectl", 'echo \'{"serverVersion": {"gitVersion": "v1.36.1"}}\'')
    return made


def inventory(**variables):
    return f"all: {{vars: {{{', '.join(f'{key}: {value}' for key, value in variables.items())}}}, {HOSTS}}}\n"


def from_here(path):
    """PATH as somebody in the checkout would write it."""
    return os.path.relpath(path, ROOT)


def test_chart_and_kubeconfig(machine, tmp_path):
    told = inventory(
        hami_driver="operator",
        hami_chart="./charts/hami",
        hami_kubeconfig="one:~/two",
        gpu_operator_chart=from_here(tmp_path),
        gpu_operator_repository='""',
    )
    machine.play(
        ROOT / "playbooks/site.yml", "--limit=control", "--tags=operator,driver", "--check", inventory=told
    )
    said = machine.told.read_text()
    assert f"upgrade --install hami {ROOT}/charts/hami " in said
    assert f"upgrade --install gpu-operator {tmp_path} " in said
    assert said.startswith(f"{ROOT}/one:{os.path.expanduser('~/two')} ")


def test_a_name_in_a_repository_is_no_path(machine):
    told = inventory(
        hami_driver="host", hami_chart="charts", hami_chart_repository="https://charts.example.com"
    )
    machine.play(ROOT / "playbooks/site.yml", "--limit=control", "--tags=driver", "--check", inventory=told)
    assert "upgrade --install hami charts --create-namespace" in machine.told.read_text()


def test_the_simulated_gpus_of_the_sample_inventory(machine):
    told = inventory(hami_simulated_gpus="tests/guide/gpus-a10.yaml")
    output = machine.play(ROOT / "playbooks/preflight.yml", inventory=told, fails=True)
    assert "no such file on this machine" not in output
    assert f"(item={ROOT}/tests/guide/gpus-a10.yaml)" in output


def test_the_folder_of_a_bundle(machine, tmp_path):
    machine.program("hami", 'echo "$@" >"$3"')
    folder = f"--extra-vars=hami_bundle_folder={from_here(tmp_path / 'bundle')}"
    command = f"--extra-vars=hami_command={machine.programs}/hami"
    machine.play(ROOT / "playbooks/support_bundle.yml", folder, command, inventory=f"all: {{{HOSTS}}}\n")
    assert (tmp_path / "bundle/cluster.tar.gz").exists()
    assert (tmp_path / "bundle/gpu-1.txt").exists()
