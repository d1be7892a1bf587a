"""What verify.yml says when the rollout does not keep a promise; kubectl is simulated.

Where everything is well it runs in the scenarios kind, kind-1.34 and upgrade.
"""

import json

import pytest

from tests.ansible.stand_ins import ROOT, Machine

pytestmark = pytest.mark.slow

INVENTORY = """
all:
  vars: {verify_timeout: "2"} # as -e gives it
  children: {control_plane: {hosts: {control: }}, gpu_nodes: {hosts: {gpu-1: , gpu-2: }}}
"""
NODES = ["gpu-1", "gpu-2"]
SHARED = {"name": "hami-gpu-0", "allowMultipleAllocations": True}
CONVERTED = '{"spec": {"resourceClaims": [{"name": "hami"}]}}'


def slices(nodes=NODES, device=SHARED):
    items = [{"metadata": {"name": n}, "spec": {"nodeName": n, "devices": [device]}} for n in nodes]
    return json.dumps({"items": items})


@pytest.fixture
def verify(tmp_path):
    """Run verify.yml; the output."""
    machine = Machine(tmp_path)

    def run(*arguments, rollout="exit 0", published="", pod=CONVERTED, fails=True):
        (tmp_path / "slices").write_text(published or slices())
        machine.program(
            "kubectl",
            f"""
case $* in
*rollout*) {rollout} ;;
*resourceslices*) cat {tmp_path}/slices ;;
create*) cat >{tmp_path}/asked; echo '{pod}' ;;
esac""",
        )
        return machine.play(ROOT / "playbooks/verify.yml", *arguments, inventory=INVENTORY, fails=fails)

    return run


def test_a_rollout_that_keeps_its_promises_is_looked_at_and_nothing_else(verify):
    assert "changed=0" in verify(fails=False)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"rollout": "echo 'timed out' >&2; exit 1"},
            "DaemonSet hami-system/hami-dra-driver-kubelet-plugin is not ready: timed out; see",
        ),
        (
            {"published": slices(["gpu-1"])},
            "no ResourceSlice of hami-core-gpu.project-hami.io for gpu-2; see",
        ),
        (
            {"published": slices(device={"name": "hami-gpu-0"})},
            "ResourceSlice gpu-1 has cards without allowMultipleAllocations; the feature gate",
        ),
        (
            {"pod": '{"spec": {}}'},
            "the webhook did not turn nvidia.com/gpu into a claim (the Pod came back unchanged)",
        ),
    ],
)
def test_a_promise_that_is_not_kept_is_told_with_where_to_look(verify, wrong, said):
    assert f"cluster: {said}" in verify(**wrong)


def test_of_a_run_that_is_limited_only_its_nodes_must_offer_cards(verify):
    """Nodes are rolled out to a few at a time: the others are not labelled yet."""
    verify("--limit=gpu_nodes[0:0],control", published=slices(["gpu-1"]), fails=False)
    assert "no ResourceSlice of hami-core-gpu.project-hami.io for gpu-1; see" in verify(
        "--limit=gpu-1:control", published=slices([])
    )
    assert "for gpu-2; see" in verify("--limit=control", published=slices(["gpu-1"]))


def values(**chart):
    return "--extra-vars=" + json.dumps({"hami_values": {"hami-dra": chart}})


def test_admission_is_asked_with_the_resource_names_of_the_release(verify, tmp_path):
    names = {"resourceName": "example.com/gpu", "resourceMem": "example.com/memory"}
    verify(values(**names), fails=False)
    [container] = json.loads((tmp_path / "asked").read_text())["spec"]["containers"]
    assert container["resources"]["limits"] == {
        "example.com/gpu": 1,
        "example.com/memory": 1024,
        "nvidia.com/gpucores": 10,
    }
    said = verify(values(**names), pod='{"spec": {}}')
    assert "the webhook did not turn example.com/gpu into a claim" in said


def test_what_the_values_switch_off_is_not_missed(verify):
    """A release for native claims only has no webhook, one for other families only no plugin for NVIDIA."""
    verify(values(webhook={"enabled": False}), pod='{"spec": {}}', fails=False)
    verify(
        values(drivers={"nvidia": {"enabled": False}}), rollout="exit 1", published=slices([]), fails=False
    )


def test_a_release_of_another_name_and_namespace_is_looked_for_under_them(verify):
    named = json.dumps({"dra_release_name": "gpus", "dra_release_namespace": "infra"})
    said = verify(f"--extra-vars={named}", rollout="exit 1")
    assert "DaemonSet infra/gpus-dra-driver-kubelet-plugin is not ready" in said
