"""Every supported shape renders to objects that Kubernetes 1.34 and 1.37 accept."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest

from .conftest import CHART, Render, helm

OF_OTHER_PROJECTS = {"Certificate", "Issuer", "PodMonitor", "ServiceMonitor", "PrometheusRule"}
"""Kinds of cert-manager and of the Prometheus Operator, whose schemas Kubernetes does not have."""


@cache
def complaint(rendered_object: str, kubernetes: str) -> str:
    """What the API's schema says against an object; objects that shapes share are checked once."""
    try:
        kubernetes_validate.validate(json.loads(rendered_object), kubernetes, strict=True)
    except kubernetes_validate.ValidationError as problem:
        return f"{problem.json_path}: {problem.message}"
    return ""


@pytest.mark.parametrize("kubernetes", ["1.34", "1.37"])
def test_every_object_fits_the_schema_of_the_oldest_and_the_newest_kubernetes(
    render: Render, shape: Path, kubernetes: str
) -> None:
    complaints = {}
    for item in render("--kube-version", f"{kubernetes}.0", "--values", str(shape)):
        if item["kind"] in OF_OTHER_PROJECTS:
            continue
        if said := complaint(json.dumps(item, sort_keys=True), kubernetes):
            complaints[f"{item['kind']}/{item['metadata']['name']}"] = said
    assert complaints == {}


@pytest.mark.parametrize("name", ["2026", "1e5", "on"])
def test_names_that_yaml_takes_for_numbers_stay_names(render: Render, name: str) -> None:
    line = f"helm -n {name} install {name} charts/hami --set dra.enabled=true"
    values = (
        *("webhook.priorityClassName", "drivers.nvidia.daemonSet.priorityClassName"),
        *("webhook.dra.deviceClassName", "certs.secret.name"),
    )
    strings = ",".join(f"hami-dra.{value}={name}" for value in values)
    certificate = "hami-dra.certs.mode=secret,hami-dra.networkPolicy.enabled=true"
    given = ("--set", certificate, "--set-string", f"{strings},hami-dra.certs.secret.caBundle=1234")
    for item in render(*given, line=line):
        assert complaint(json.dumps(item, sort_keys=True), "1.37") == "", item["metadata"]["name"]
        assert item["metadata"]["labels"]["app.kubernetes.io/instance"] == name
        assert item["metadata"].get("namespace", name) == name


def test_helm_lint_finds_nothing(shape: Path) -> None:
    answer = helm("lint", "--strict", "--kube-version", "1.37.0", "--values", str(shape), str(CHART))
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_helm_lint_finds_nothing_with_the_values_as_shipped() -> None:
    answer = helm("lint", "--strict", str(CHART))
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_a_cluster_below_1_34_is_refused_with_both_versions() -> None:
    line = ["-n", "hami-system", "template", "hami", str(CHART), "--set", "dra.enabled=true"]
    answer = helm(*line, "--kube-version", "1.33.5")
    assert answer.returncode != 0
    assert "requires kubeVersion: >=1.34.0-0" in answer.stderr
    assert "v1.33.5" in answer.stderr
