"""What is published, and what becomes of it when others change it."""

from __future__ import annotations

from hami_dra.kube import RESOURCE_SLICES
from hami_dra.model import errors
from tests.contract.bench import Bench
from tests.contract.check import Skipped, required, wanted
from tests.support.waiting import until


@required
def pool_is_complete(bench: Bench) -> None:
    """The pool is complete: one generation, as many slices as it says, names unique"""
    bench.devices()
    pools = [item["spec"]["pool"] for item in bench.slices()]
    for name in {pool["name"] for pool in pools}:
        mine = [pool for pool in pools if pool["name"] == name]
        newest = max(pool["generation"] for pool in mine)
        current = [pool for pool in mine if pool["generation"] == newest]
        assert {pool["resourceSliceCount"] for pool in current} == {len(current)}
    names = [(pool, device["name"]) for pool, device in bench.devices()]
    assert len(set(names)) == len(names), "a device name comes twice"


@required
def wiped_slices_come_back(bench: Bench) -> None:
    """Slices that kubelet wiped come back within 60 s"""
    bench.devices()
    for item in bench.slices():
        bench.kube.delete(RESOURCE_SLICES, item["metadata"]["name"])
    until(bench.slices, "the slices", 60)


@wanted
def changed_slices_are_put_back(bench: Bench) -> None:
    """A slice that somebody else changed is put back within 60 s"""
    bench.devices()
    item = bench.slices()[0]
    name = item["spec"]["devices"][0]["name"]
    item["spec"]["devices"] = item["spec"]["devices"][1:]
    try:
        bench.kube.replace(RESOURCE_SLICES, item)
    except errors.Conflict:
        raise Skipped("it publishes all the time") from None
    until(lambda: name in [device["name"] for _, device in bench.devices()], "the device", 60)
