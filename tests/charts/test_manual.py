"""values.yaml is the manual: every value is explained there, and every value that docs name exists."""

from __future__ import annotations

import json
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


EXPLAINED_BELOW_THE_TABLE = {
    "hami-dra.drivers.nvidia.daemonSet.privileged",
    "hami-dra.drivers.families.daemonSet.privileged",
}


def test_the_readme_names_every_switch_and_its_defaults_are_those_of_the_values() -> None:
    """`x.*` in its table stands for all that is below x."""
    text = (CHART / "README.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z-]+\.[A-Za-z.*-]+)` \| `?([^|]*?)`? \|", text, flags=re.MULTILINE))
    assert len(rows) > 20
    values = settings()
    named = {path for path in rows if not path.endswith(".*")}
    assert {path: yaml.safe_load(rows[path]) for path in named} == {path: values.get(path) for path in named}
    groups = {path.removesuffix(".*") for path in rows.keys() - named}
    assert groups <= values.keys()
    switches = {path for path, value in values.items() if isinstance(value, bool)}
    covered = {path for path in switches for group in groups if path.startswith(f"{group}.")}
    assert switches - covered - named == EXPLAINED_BELOW_THE_TABLE


def test_every_value_that_the_schema_knows_has_its_default_in_the_values() -> None:
    schema = json.loads(VALUES.with_name("values.schema.json").read_text())
    assert set(_properties("hami-dra", schema)) - settings().keys() == set()


def settings() -> dict[str, Any]:
    """Every value of the chart by its path, groups of values too."""
    umbrella = yaml.safe_load((CHART / "values.yaml").read_text())
    umbrella["hami-dra"] = yaml.safe_load(VALUES.read_text())
    return dict(_values("", umbrella))


def _values(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield path, value
    for key, below in value.items() if isinstance(value, dict) else ():
        yield from _values(f"{path}.{key}".lstrip("."), below)


def _properties(path: str, schema: Any) -> Iterator[str]:
    for key, below in schema.get("properties", {}).items():
        yield f"{path}.{key}"
        yield from _properties(f"{path}.{key}", below)


def test_one_version_stands_in_the_package_and_in_both_charts() -> None:
    from hami_dra import __version__

    for path in (CHART / "Chart.yaml", VALUES.with_name("Chart.yaml")):
        chart = yaml.safe_load(path.read_text())
        assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
