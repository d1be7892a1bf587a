"""What Argo CD and Flux ask again and again: is what runs what the rendered chart says?"""

from __future__ import annotations

import pytest

from tests.charts.conftest import CHART
from tests.cluster.cluster import Cluster
from tests.cluster.versions import DEFAULT_KUBERNETES, KUBERNETES
from tests.e2e.kubectl import helm

VERSION = KUBERNETES[DEFAULT_KUBERNETES].version


@pytest.mark.parametrize(
    "how", [[], ["--server-side", "--force-conflicts", "--field-manager=argocd-controller"]]
)
def test_nothing_that_runs_differs_from_the_rendered_chart(cluster: Cluster, how: list[str]) -> None:
    values = helm(cluster, "get", "values", "hami", "-o", "yaml").encode()
    template = ["template", "hami", CHART, "--kube-version", VERSION, "--no-hooks", "--values", "-"]
    rendered = helm(cluster, *template, stdin=values).encode()
    cluster.kubectl("diff", *how, "-f", "-", stdin=rendered)
