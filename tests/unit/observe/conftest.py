"""What the tests of the audit start with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.audited import cluster_with_the_pod
from tests.support.fake_kube import FakeKube
from tests.support.limited import SimulatedShares


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SimulatedShares]:
    """A node with a share of 10 GiB."""
    made = SimulatedShares(tmp_path / "state")
    made.add("one")
    yield made
    made.close()


@pytest.fixture
def kube() -> FakeKube:
    """An API with the Pod that holds it."""
    return cluster_with_the_pod()
