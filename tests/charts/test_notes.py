"""What Helm prints after an installation: the next steps of the release that it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from .conftest import CHART, INSTALL_LINE, template

Notes = Callable[..., str]
PROBE = 'kind: Notes\nmetadata: {name: notes}\ntext: {{ include "hami/templates/NOTES.txt" . | toJson }}\n'


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """The notes of a release with these values, as an object: Helm shows them where there is a cluster."""
    chart = shutil.copytree(CHART, tmp_path / "hami")
    (chart / "templates/notes.yaml").write_text(PROBE)

    def shown(*values: str) -> str:
        sets = [word for value in values for word in ("--set", f"hami-dra.{value}")]
        line = INSTALL_LINE.replace("charts/hami", str(chart))
        answer = template(line, ("--show-only", "templates/notes.yaml", *sets))
        assert answer.returncode == 0, answer.stderr
        return str(yaml.safe_load(answer.stdout)["text"])

    return shown


def test_the_nodes_get_the_label_that_the_release_goes_by_and_are_looked_at(notes: Notes) -> None:
    said = notes()
    assert said.count("kubectl label nodes NODE gpu=on\n") == 1
    assert said.count("kubectl get resourceslices") == 1
    assert "spec.driver=hami-core-gpu.project-hami.io\n" in said
    assert "containerDriver=false" in said


def test_other_families_have_the_same_steps_with_nvidias_driver_and_without(notes: Notes) -> None:
    alone = notes("drivers.nvidia.enabled=false", "drivers.families.enabled={amd,ascend}")
    assert alone.count("kubectl label nodes NODE gpu=on\n") == 1
    assert "spec.driver=amd.project-hami.io\n" in alone
    assert "spec.driver=ascend.project-hami.io\n" in alone
    assert "hami-core-gpu" not in alone
    assert "containerDriver" not in alone
    assert "helm -n hami-system test hami" in alone
    assert alone.count("NODE gpu=on") == notes("drivers.families.enabled={amd}").count("NODE gpu=on")


def test_a_label_of_ones_own_is_the_one_that_is_named(notes: Notes) -> None:
    npu = "drivers.families.daemonSet.nodeSelector"
    said = notes("drivers.families.enabled={amd}", f"{npu}.gpu=null", f"{npu}.npu=on")
    assert "kubectl label nodes NODE gpu=on\n" in said
    assert "kubectl label nodes NODE npu=on\n" in said


def test_where_every_node_is_served_none_is_labelled(notes: Notes) -> None:
    assert "kubectl label" not in notes("drivers.nvidia.daemonSet.nodeSelector=null")
