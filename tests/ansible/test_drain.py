"""A node is emptied for an upgrade, and takes Pods again whatever happens. kubectl is simulated."""

from pathlib import Path

import pytest

from tests.ansible.stand_ins import ROOT, Machine

INVENTORY = "gpu_nodes: {hosts: {gpu-1: , gpu-2: }}"
REFUSAL = "cannot delete Pods that declare no controller (use --force to override): ml/notebook"


pytestmark = pytest.mark.slow


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    made.asked = tmp_path / "asked"
    return made


def kubectl(machine: Machine, closed: str = "", drain: str = "true") -> None:
    """A kubectl that notes what it is asked to change."""
    machine.program(
        "kubectl",
        f"""
case $1 in
  get) printf '%s' '{closed}' ;;
  *) echo "$1 $2" >>{machine.asked} ;;
esac
[ "$1" != drain ] || {drain}""",
    )


def empty(machine: Machine, *more: str, fails: bool = False) -> tuple[list[str], str]:
    """Run the play: what kubectl was asked to change, and the output."""
    arguments = ["--tags", "drain", "-e", "hami_drain=true", *more]
    output = machine.play(ROOT / "playbooks/upgrade.yml", *arguments, inventory=INVENTORY, fails=fails)
    return Path(machine.asked).read_text().splitlines(), output


def test_one_node_is_emptied_after_the_other_and_opened_before_the_next(machine):
    kubectl(machine)
    asked, _ = empty(machine)
    assert asked == ["drain gpu-1", "uncordon gpu-1", "drain gpu-2", "uncordon gpu-2"]


def test_a_node_that_its_owner_had_closed_stays_closed(machine):
    kubectl(machine, closed="true")
    assert empty(machine)[0] == ["drain gpu-1", "drain gpu-2"]


def test_a_pod_that_would_be_lost_is_named_the_node_opened_and_the_next_left_alone(machine):
    kubectl(machine, drain=f"{{ echo 'error: {REFUSAL}' >&2; exit 1; }}")
    asked, output = empty(machine, fails=True)
    assert asked == ["drain gpu-1", "uncordon gpu-1"]
    assert f"gpu-1: the node gpu-1 cannot be emptied: error: {REFUSAL}; end these Pods yourself" in output


def test_of_a_batch_the_node_that_cannot_be_emptied_is_named_alone_and_all_are_opened(machine):
    kubectl(machine, drain=f"[ $2 = gpu-1 ] || {{ echo 'error: {REFUSAL}' >&2; exit 1; }}")
    asked, output = empty(machine, "-e", "hami_batch=2", fails=True)
    assert sorted(asked) == ["drain gpu-1", "drain gpu-2", "uncordon gpu-1", "uncordon gpu-2"]
    assert f"gpu-2: the node gpu-2 cannot be emptied: error: {REFUSAL}" in output
    assert "undefined" not in output


def test_without_being_asked_nothing_is_emptied(machine):
    kubectl(machine)
    machine.play(ROOT / "playbooks/upgrade.yml", "--tags", "drain", inventory=INVENTORY)
    assert not machine.asked.exists()
