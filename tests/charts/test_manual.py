"""values.yaml is the manual: every value is explained there, and every value that docs name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from .conftest import CHART

VALUES = CHART / "charts" / "hami-dra" / "values.yaml"
EXPLAINED_BY_ITS_NAME = {
    "nodeSelector",
    "tolerations",
    "affinity",
    "priorityClassName",
    "resources",
    "registry",
}
EXPLAINED_BY_ITS_NAME |= {"repository"}


def keys_with_their_comments() -> Iterator[tuple[str, str]]:
    """Each key of values.yaml with the comment lines right above it."""
    comment = ""
    for line in VALUES.read_text().splitlines():
        text = line.strip()
        if text.startswith("#"):
            comment += text
        elif found := re.match(r"([A-Za-z]+):", text):
            yield found[1], comment
            comment = ""
        else:
            comment = ""


def test_every_setting_has_a_comment_above_it() -> None:
    groups = {
        "global",
        "drivers",
        "audit",
        "prometheus",
        "serviceMonitor",
        "podMonitor",
        "rules",
        "grafana",
        "dashboards",
        "daemonSet",
        "kubelet",
        "webhook",
        "monitor",
        "config",
        "scope",
        "dra",
    }
    groups |= {
        "nvidia",
        "service",
        "nodePort",
        "certManager",
        "secret",
        "requests",
        "limits",
        "cpu",
        "memory",
        "gpu",
    }
    silent = [name for name, comment in keys_with_their_comments() if not comment]
    allowed = groups | EXPLAINED_BY_ITS_NAME | {"pluginsDirectory", "registryDirectory"}
    assert sorted(set(silent) - allowed) == []


def test_every_value_that_the_readme_names_exists() -> None:
    values: Any = {
        **yaml.safe_load((CHART / "values.yaml").read_text()),
        "hami-dra": yaml.safe_load(VALUES.read_text()),
    }
    named = re.findall(
        r"^\| `([a-z-]+\.[A-Za-z.*-]+)` \|", (CHART / "README.md").read_text(), flags=re.MULTILINE
    )
    assert len(named) > 5
    for path in named:
        found = values
        for part in path.removesuffix(".*").split("."):
            assert part in found, path
            found = found[part]


def test_one_version_stands_in_the_package_and_in_both_charts() -> None:
    from hami_dra import __version__

    for path in (CHART / "Chart.yaml", VALUES.with_name("Chart.yaml")):
        chart = yaml.safe_load(path.read_text())
        assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
