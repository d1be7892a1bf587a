"""`hami status` and `hami doctor` of a cluster with many nodes: twice the cluster is twice the work."""

import sys

import pytest

from hami_dra.ops import checks, overview
from hami_dra.ops.facts import Facts
from tests.unit.ops import healthy


def cluster(count):
    """COUNT nodes, each with a card and two shares of it."""
    nodes = [f"node-{at}" for at in range(count)]
    return Facts(
        version={"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
        nodes=[healthy.node(node) for node in nodes],
        leases=[healthy.lease(node) for node in nodes],
        slices=[healthy.slice_of(node, healthy.device()) for node in nodes],
        claims=[healthy.claim(f"{node}-{of}", "uid", pool=node) for node in nodes for of in "ab"],
    )


def steps(work, facts):
    """Calls of functions that WORK takes: unlike its time the same on every machine."""
    count = 0

    def called(_frame, event, _argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        work(facts)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("work", [overview.of, checks.run_all], ids=["status", "doctor"])
def test_twice_the_cluster_is_twice_the_work(work):
    work(cluster(2))  # what is worked out once
    assert steps(work, cluster(200)) < 2.5 * steps(work, cluster(100))
