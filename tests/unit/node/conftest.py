"""An API server that has the node."""

import pytest

from hami_dra.kube import NODES
from tests.support.cards import NODE
from tests.support.fake_kube import FakeKube


@pytest.fixture
def kube() -> FakeKube:
    fake = FakeKube()
    fake.create(NODES, {"metadata": {"name": NODE}})
    return fake
