"""The chart's dashboards: every query is one that Prometheus can answer from metrics that we have."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import prometheus
from tests.cluster.versions import REPO
from tests.support import scripts

from .conftest import CHART, Object, Render

FOLDER = CHART / "charts/hami-dra/dashboards"
FILES = sorted(FOLDER.glob("*.json"))
VARIABLES = {"$__rate_interval": "5m", "$node": ".+", "$namespace": ".+"}


def queries(dashboard: Object) -> list[str]:
    """Every expression, with Grafana's variables filled in."""
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for name, value in VARIABLES.items():
        found = [query.replace(name, value) for query in found]
    assert not [query for query in found if "$" in query], "a variable that nobody fills"
    return found


def test_there_is_one_for_the_cluster_a_node_and_a_tenant() -> None:
    assert [path.stem for path in FILES] == ["cluster", "node", "tenant"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_query_can_be_parsed(path: Path, tmp_path: Path) -> None:
    rules = [
        {"record": f"query{i}", "expr": query}
        for i, query in enumerate(queries(json.loads(path.read_text())))
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": path.stem, "rules": rules}]}))
    answer = subprocess.run(
        [prometheus.folder() / "promtool", "check", "rules", file], capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert len(rules) > 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_metric_and_variable_is_one_that_we_export(path: Path) -> None:
    known = scripts.load("metrics-reference").names()
    dashboard = json.loads(path.read_text())
    asked = [*queries(dashboard), *(each["query"]["query"] for each in variables(dashboard))]
    used = {name for query in asked for name in re.findall(r"\bhami_\w+", query)}
    assert used
    assert used - known == set()


def variables(dashboard: Object) -> list[Any]:
    return [each for each in dashboard["templating"]["list"] if each["type"] == "query"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_panels_explain_themselves_and_do_not_overlap(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(path.read_text())["panels"]:
        assert panel["description"].endswith("."), panel["title"]
        place = panel["gridPos"]
        cells = {
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_files_are_what_the_script_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, REPO / "scripts/dashboards/build.py", tmp_path], check=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert {path.name: path.read_text() for path in FILES} == made


def test_the_chart_ships_them_for_grafanas_sidecar(render: Render) -> None:
    rendered = render("--values", str(CHART / "ci/observed-values.yaml"))
    found = [item for item in rendered.kind("ConfigMap") if "dashboard" in item["metadata"]["name"]]
    assert len(found) == len(FILES)
    for item in found:
        assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
        [(name, text)] = item["data"].items()
        assert json.loads(text) == json.loads((FOLDER / name.removeprefix("hami-")).read_text())
    assert not [item for item in render().kind("ConfigMap") if "dashboard" in item["metadata"]["name"]]
