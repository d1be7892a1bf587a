"""The e2e suite runs from inside real Pods of the kind cluster that `make demo` or `make e2e` made."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.cluster import Cluster, require
from tests.e2e.kubectl import Kubectl


def pytest_collection_modifyitems(items):
    for item in items:
        if "/tests/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    found = Cluster()
    require(found)
    return found


@pytest.fixture
def namespace(cluster):
    """A namespace of its own for a test; everything in it goes with it."""
    with made_namespace(cluster) as kubectl:
        yield kubectl


@contextmanager
def made_namespace(cluster: Cluster) -> Iterator[Kubectl]:
    """It ends once the cards are free for the next test; the rest of it may take its time."""
    kubectl = Kubectl(cluster, f"e2e-{secrets.token_hex(3)}")
    kubectl("create", "namespace", kubectl.namespace)
    yield kubectl
    controllers = "deployments,statefulsets,daemonsets,jobs"
    kubectl("delete", controllers, "--all", "--cascade=foreground", "--timeout=120s")
    kubectl("delete", "pods,resourceclaims", "--all", "--grace-period=1", "--timeout=120s")
    kubectl("delete", "namespace", kubectl.namespace, "--wait=false")


@pytest.fixture(scope="session")
def gpu_node(cluster) -> str:
    """One worker, to pin Pods to a single card."""
    return next(name for name in cluster.nodes() if name.endswith("worker"))
