"""Values that somebody wrote for the previous release still render."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.previous import previous
from tests.cluster.versions import REPO

from .conftest import CHART, Render


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


def new_keys(old: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Paths of the values that the previous release did not have."""
    for key, value in now.items():
        if key not in old:
            yield key
        elif isinstance(value, dict):
            yield from (f"{key}.{below}" for below in new_keys(old[key] or {}, value))


@pytest.mark.parametrize("kubernetes", ["1.34.0", "1.37.0"])
def test_an_upgrade_that_reuses_values_from_before_a_setting_existed_renders(
    render: Render, kubernetes: str
) -> None:
    """`helm upgrade --reuse-values` hands the new templates the old values, without what is new."""
    values = yaml.safe_load((CHART / "charts/hami-dra/values.yaml").read_text())
    paths = [f"hami-dra.{path}=null" for path in new_keys(yaml.safe_load(DEFAULTS), values)]
    version = ("--kube-version", kubernetes)
    without = ",".join(paths).replace("hami-dra.global.", "global.")
    assert render(*version, "--set", without) == render(*version)
