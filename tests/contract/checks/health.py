"""What the health stream tells."""

from __future__ import annotations

from tests.contract.bench import Bench
from tests.contract.check import Skipped, required
from tests.support.kubelet import HEALTH


@required
def health_is_told(bench: Bench) -> None:
    """DRAResourceHealth, where it is offered, tells every device at once"""
    _offers_health(bench)
    first = next(bench.kubelet.health(5))
    told = {(each.device.pool_name, each.device.device_name) for each in first.devices}
    assert told == {(pool, device["name"]) for pool, device in bench.devices()}


@required
def health_is_told_again(bench: Bench) -> None:
    """and again before kubelet forgets it after 30 s"""
    _offers_health(bench)
    stream = bench.kubelet.health(29)
    next(stream)
    assert next(stream, None) is not None, "nothing came for 29 s"


def _offers_health(bench: Bench) -> None:
    if not {f"{version}.DRAResourceHealth" for version in HEALTH} & set(
        bench.kubelet.info.supported_versions
    ):
        raise Skipped("it is not offered")
