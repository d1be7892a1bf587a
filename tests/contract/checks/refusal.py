"""What must not be granted."""

from __future__ import annotations

from hami_dra.kube import RESOURCE_CLAIMS
from hami_dra.model.quantity import parse_int
from tests.contract.bench import Bench
from tests.contract.check import Skipped, required, wanted


@required
def another_uid(bench: Bench) -> None:
    """A claim of the same name and another uid is refused"""
    old = bench.claim(bench.result())
    bench.forget(old)
    body = {**old, "metadata": {"name": old["metadata"]["name"], "namespace": "default"}}
    status = {"status": body.pop("status")}
    bench.kube.create(RESOURCE_CLAIMS, body, "default")
    bench.kube.patch(RESOURCE_CLAIMS, old["metadata"]["name"], status, "default", subresource="status")
    try:
        bench.refused_claim(old, why="another claim was allocated that")
    finally:
        bench.unprepare(old)
        bench.forget(old)


@required
def not_allocated(bench: Bench) -> None:
    """A claim that is not allocated is refused"""
    bench.refused(why="the claim is not allocated")


@required
def unknown_device(bench: Bench) -> None:
    """A device that does not exist is refused"""
    bench.refused(bench.result(device="no-such-device"), why="the device does not exist")


@required
def share_without_identity(bench: Bench) -> None:
    """A share without shareID (feature gate off) is refused"""
    _shared(bench)
    bench.refused(bench.result(shareID=None), why="it has no shareID")


@required
def share_without_amounts(bench: Bench) -> None:
    """A share without consumedCapacity (feature gate off) is refused"""
    _shared(bench)
    bench.refused(bench.result(consumedCapacity=None), why="it has no consumedCapacity")


@wanted
def given_away_twice(bench: Bench) -> None:
    """A device that is given away twice, as a whole or by sums of capacity, is refused"""
    _, device = bench.devices()[0]
    first = second = bench.result()
    if device.get("allowMultipleAllocations"):
        most = {name: each["value"] for name, each in device["capacity"].items()}
        first, second = bench.result(consumedCapacity=most), bench.result(consumedCapacity=most)
        assert any(parse_int(value) > 0 for value in most.values())
    with bench.prepared(first):
        bench.refused(second, why="the device is in use as a whole")


def _shared(bench: Bench) -> None:
    if not bench.devices()[0][1].get("allowMultipleAllocations"):
        raise Skipped("its devices are not shared")
