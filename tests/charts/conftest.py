"""Render the chart with the real Helm; each set of arguments is rendered once a session."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.go_programs import HELM, build
from tests.cluster.versions import REPO

CHART = REPO / "charts" / "hami"
SUPPORTED_SHAPES = sorted(CHART.glob("ci/*-values.yaml"))
"""Values files, each an installation that must keep working."""

INSTALL_LINE = "helm -n hami-system install hami charts/hami --set dra.enabled=true --create-namespace"
"""The guide's, with the chart of this tree in place of a repository's."""

Object = dict[str, Any]
Render = Callable[..., "Objects"]


class Objects(list[Object]):
    """The objects of one rendering, in the order in which Helm prints them."""

    def one(self, kind: str, name: str) -> Object:
        found = [item for item in self if (item["kind"], item["metadata"]["name"]) == (kind, name)]
        assert len(found) == 1, f"{len(found)} objects {kind}/{name}; there are {self.names()}"
        return found[0]

    def kind(self, kind: str) -> list[Object]:
        return [item for item in self if item["kind"] == kind]

    def names(self) -> set[str]:
        return {f"{item['kind']}/{item['metadata']['name']}" for item in self}


@cache
def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm in the repository's root, as its user would."""
    return subprocess.run([build(HELM) / "helm", *arguments], cwd=REPO, capture_output=True, text=True)


@cache
def template(install_line: str, extra: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Render what INSTALL_LINE would send to a cluster of Kubernetes 1.36."""
    words = [word for word in install_line.split()[1:] if word != "--create-namespace"]
    words[words.index("install")] = "template"
    return helm(*words, "--kube-version", "1.36.0", *extra)


@pytest.fixture(scope="session")
def render() -> Render:
    """`render("--set", "a=b")`: the objects of the guide's install line with more arguments."""

    def rendered(*extra: str, line: str = INSTALL_LINE) -> Objects:
        answer = template(line, extra)
        assert answer.returncode == 0, answer.stderr
        return Objects(item for item in yaml.safe_load_all(answer.stdout) if item)

    return rendered


@pytest.fixture(scope="session")
def refusal() -> Callable[..., str]:
    """`refusal("--set", "a=b")`: what Helm says when it refuses these values."""

    def refused(*extra: str, line: str = INSTALL_LINE) -> str:
        answer = template(line, extra)
        assert answer.returncode != 0, "Helm accepted these values"
        return answer.stderr

    return refused


@pytest.fixture(scope="session")
def objects(render: Render) -> Objects:
    """What the guide's install line creates."""
    return render()


@pytest.fixture(params=SUPPORTED_SHAPES, ids=lambda path: path.name.removesuffix("-values.yaml"))
def shape(request: pytest.FixtureRequest) -> Path:
    """A values file of `charts/hami/ci`."""
    path = request.param
    assert isinstance(path, Path)
    return path


def pod_spec(workload: Object) -> Object:
    """The Pod specification of a DaemonSet, Deployment or Pod."""
    spec = workload["spec"]
    found = spec if workload["kind"] == "Pod" else spec["template"]["spec"]
    assert isinstance(found, dict)
    return found
