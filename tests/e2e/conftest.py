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
    _clear(Kubectl(cluster, name))
    kubectl("delete", "namespace", name, "--wait=false")


def _clear(kubectl: Kubectl) -> None:
    """Wait until the cards are free for the next test; the rest of a namespace may take its time."""
    controllers = "deployments,statefulsets,daemonsets,cronjobs,jobs"
    kubectl("delete", controllers, "--all", "--cascade=foreground", "--timeout=120s")
    # `sleep` as a container's first process ignores SIGTERM: do not wait out its grace period.
    kubectl("delete", "pods,resourceclaims", "--all", "--grace-period=1", "--timeout=120s")


@pytest.fixture(scope="session")
def gpu_node(cluster) -> str:
    """One worker, to pin Pods to a single card."""
    return next(name for name in cluster.nodes() if name.endswith("worker"))
