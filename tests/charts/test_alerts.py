"""The chart's alerts: tested by promtool, from metrics that we have, with a page for each."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cluster import prometheus
from tests.cluster.versions import REPO
from tests.support import scripts

from .conftest import CHART, Object, Objects, Render, pod_spec

RULES = CHART / "charts/hami-dra/alerts/hami.yaml"
RUNBOOKS = REPO / "docs" / "runbooks"
TESTS = Path(__file__).parent / "alerts"
ALERTS: list[Object] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in ALERTS]


def promtool(*arguments: str | Path) -> str:
    answer = subprocess.run(
        [prometheus.folder() / "promtool", *arguments], capture_output=True, text=True, cwd=REPO
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_prometheus_accepts_the_rules() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", RULES)


@pytest.mark.parametrize("path", sorted(TESTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_not_before(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", path)


def test_each_alert_is_tested_to_fire_and_to_be_silent() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for path in TESTS.glob("*.yaml"):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                (fires if case.get("exp_alerts") else silent).add(case["alertname"])
    assert (sorted(fires), sorted(silent)) == (sorted(NAMES), sorted(NAMES))


def test_every_metric_is_one_that_we_export() -> None:
    known = scripts.load("metrics-reference").names()
    used = {name for rule in ALERTS for name in re.findall(r"\bhami_\w+", rule["expr"])}
    assert used - known == set()


def test_series_that_alerts_are_tested_with_have_the_labels_that_we_export() -> None:
    reference = scripts.load("metrics-reference")
    labels = {
        family.name: {"job", "instance", "node", *table.labels}
        for table in (*reference.ON_NODES, *reference.OF_THE_MONITOR)
        for family in table.families
    }
    series = {
        given["series"]
        for path in TESTS.glob("*.yaml")
        for test in yaml.safe_load(path.read_text())["tests"]
        for given in test["input_series"]
    }
    for each in series:
        name, _, told = each.partition("{")
        if name in labels:
            assert set(re.findall(r"(\w+)=", told)) <= labels[name], each


def test_each_alert_has_its_page_and_each_page_its_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"index"} == set(NAMES)
    index = (RUNBOOKS / "index.md").read_text()
    for name in NAMES:
        text = (RUNBOOKS / f"{name}.md").read_text()
        assert text.startswith(f"# {name}\n")
        assert "\n## Look\n" in text
        assert "\n## Do\n" in text
        assert f"({name}.md)" in index


@pytest.mark.parametrize("rule", ALERTS, ids=NAMES)
def test_each_alert_says_what_is_wrong_in_one_line_and_how_bad_it_is(rule: Object) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert 20 < len(rule["annotations"]["summary"]) < 120
    assert rule["annotations"]["description"].endswith(".")


def test_the_chart_wraps_them_with_the_address_of_their_pages(render: Render) -> None:
    values = ("--values", str(CHART / "ci/observed-values.yaml"))
    rendered = render(*values, "--set", "hami-dra.prometheus.rules.runbookUrl=https://wiki.example.com/gpu/")
    [rule] = rendered.kind("PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    shipped = [each for group in rule["spec"]["groups"] for each in group["rules"]]
    assert [each["alert"] for each in shipped] == NAMES
    for each, original in zip(shipped, ALERTS, strict=True):
        page = each["annotations"].pop("runbook_url")
        assert page == f"https://wiki.example.com/gpu/{each['alert']}.md"
        assert each == original
    assert render().kind("PrometheusRule") == []


def test_scrapes_keep_the_names_of_the_pods_that_hold_the_shares(render: Render) -> None:
    rendered = render("--values", str(CHART / "ci/observed-values.yaml"))
    endpoints = [
        endpoint
        for item in rendered.kind("ServiceMonitor") + rendered.kind("PodMonitor")
        for endpoint in item["spec"].get("endpoints", []) + item["spec"].get("podMetricsEndpoints", [])
    ]
    assert len(endpoints) == 3
    assert all(endpoint["honorLabels"] for endpoint in endpoints)
    # What the plugin tells of itself names no node.
    [plugin] = [item for item in rendered.kind("PodMonitor") if "plugin" in item["metadata"]["name"]]
    [relabeling] = plugin["spec"]["podMetricsEndpoints"][0]["relabelings"]
    assert relabeling == {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}
    assert render().kind("ServiceMonitor") == render().kind("PodMonitor") == []
    alone = render(
        "--values", str(CHART / "ci/observed-values.yaml"), "--set", "hami-dra.monitor.enabled=false"
    )
    assert alone.kind("ServiceMonitor") == [], "there is no Service to read"


@pytest.mark.parametrize(
    ("kind", "workload"),
    [("PodMonitor", "DaemonSet"), ("PodMonitor", "Deployment")],
    ids=["plugin", "webhook"],
)
def test_what_is_scraped_exists(render: Render, kind: str, workload: str) -> None:
    rendered = render("--values", str(CHART / "ci/observed-values.yaml"))
    matched = []
    for monitor in rendered.kind(kind):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        for item in rendered.kind(workload):
            template = item["spec"]["template"]
            if wanted <= template["metadata"]["labels"].items():
                ports = {p["name"] for c in template["spec"]["containers"] for p in c["ports"]}
                assert {e["port"] for e in monitor["spec"]["podMetricsEndpoints"]} <= ports
                matched.append(item["metadata"]["name"])
    assert matched


def reached_by_the_operator(rendered: Objects, component: str, port: str) -> bool:
    """Whether a ServiceMonitor or PodMonitor of the chart reads this port of these Pods."""
    for item in rendered.kind("ServiceMonitor") + rendered.kind("PodMonitor"):
        endpoints = item["spec"].get("endpoints") or item["spec"]["podMetricsEndpoints"]
        wanted = item["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]
        if wanted == component and port in {endpoint["port"] for endpoint in endpoints}:
            return True
    return False


def test_a_prometheus_without_the_operator_scrapes_the_same(render: Render) -> None:
    page = (REPO / "docs/monitoring.md").read_text()
    [text] = re.findall(r"^```yaml\n(scrape_configs:.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    keep = [rule for rule in yaml.safe_load(text)["scrape_configs"][0]["relabel_configs"] if "action" in rule]
    shape = ("--values", str(CHART / "ci/observed-values.yaml"))
    rendered = render(*shape, "--set", "hami-dra.drivers.families.enabled={amd}")
    seen = 0
    for workload in rendered.kind("DaemonSet") + rendered.kind("Deployment"):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        known = {
            f"__meta_kubernetes_pod_label_{re.sub('[^a-z]', '_', key)}": text for key, text in labels.items()
        }
        for port in pod_spec(workload)["containers"][0]["ports"]:
            known["__meta_kubernetes_pod_container_port_name"] = port["name"]
            scraped = all(
                re.fullmatch(rule["regex"], ";".join(known[name] for name in rule["source_labels"]))
                for rule in keep
            )
            component = labels["app.kubernetes.io/component"]
            assert scraped == reached_by_the_operator(rendered, component, port["name"]), (component, port)
            seen += scraped
    assert seen == 4
