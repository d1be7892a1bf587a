"""The e2e suite runs from inside real Pods of the kind cluster that `make demo` or `make e2e` made."""

import secrets

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
    kubectl = Kubectl(cluster)
    name = f"e2e-{secrets.token_hex(3)}"
    kubectl("create", "namespace", name)
    yield Kubectl(cluster, name)
    # `sleep` as a container's first process ignores SIGTERM: do not wait out its grace period.
    Kubectl(cluster, name)("delete", "pods", "--all", "--grace-period=1", "--wait=false")
    kubectl("delete", "namespace", name, "--wait=true", "--timeout=120s")


@pytest.fixture(scope="session")
def gpu_node(cluster) -> str:
    """One worker, to pin Pods to a single card."""
    return next(name for name in cluster.nodes() if name.endswith("worker"))
