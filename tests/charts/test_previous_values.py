"""Values that somebody wrote for the previous release still render."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cluster.previous import previous
from tests.cluster.versions import REPO

from .conftest import Render


def git(*arguments: str) -> str:
    """What git says of the previous release; nothing where this checkout has not got it."""
    return subprocess.run(["git", *arguments], cwd=REPO, capture_output=True, text=True).stdout


SHAPES = git("ls-tree", "--name-only", previous(), "charts/hami/ci/").split()
DEFAULTS = git("show", f"{previous()}:charts/hami/charts/hami-dra/values.yaml")

pytestmark = pytest.mark.skipif(not DEFAULTS, reason="this checkout has not the previous release")


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_the_previous_release_is_still_accepted(
    render: Render, tmp_path: Path, shape: str
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(git("show", f"{previous()}:{shape}"))
    assert render("--values", str(values)).kind("DaemonSet")


def test_every_value_of_the_previous_release_still_has_its_name(render: Render, tmp_path: Path) -> None:
    """All of its defaults written down, as by somebody who copied the file."""
    values = tmp_path / "values.yaml"
    written = {"dra": {"enabled": True}, "hami-dra": yaml.safe_load(DEFAULTS)}
    values.write_text(yaml.safe_dump(written))
    assert render("--values", str(values)).kind("DaemonSet")


def test_an_upgrade_that_reuses_values_from_before_a_setting_existed_renders(render: Render) -> None:
    """`helm upgrade --reuse-values` hands the new templates the old values, without what is new."""
    new = [
        *("global.commonLabels", "hami-dra.networkPolicy", "hami-dra.webhook.topologySpreadConstraints"),
        *(
            f"hami-dra.{part}.{key}"
            for part in ("webhook", "monitor")
            for key in ("podLabels", "podAnnotations")
        ),
        *(
            f"hami-dra.drivers.nvidia.{key}"
            for key in ("driverRoot", "daemonSet.podLabels", "daemonSet.podAnnotations")
        ),
    ]
    without = ",".join(f"{key}=null" for key in new)
    assert render("--set", without) == render()
