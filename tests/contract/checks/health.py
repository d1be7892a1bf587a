"""What the health stream tells."""

from __future__ import annotations

from itertools import islice

from tests.contract.bench import Bench
from tests.contract.check import Skipped, required
from tests.support.kubelet import HEALTH

FORGOTTEN_AFTER_S = 29
"""A little less than what kubelet believes a word for."""


@required
def health_is_told(bench: Bench) -> None:
    """DRAResourceHealth, where it is offered, tells every device at once"""
    _offers_health(bench)
    first = next(bench.kubelet.health(FORGOTTEN_AFTER_S), None)
    assert first is not None, "nothing came"
    told = {(each.device.pool_name, each.device.device_name) for each in first.devices}
    assert told == {(pool, device["name"]) for pool, device in bench.devices()}


@required
def health_is_told_again(bench: Bench) -> None:
    """and again before kubelet forgets it after 30 s"""
    _offers_health(bench)
    stream = bench.kubelet.health(FORGOTTEN_AFTER_S)
    heard = list(islice(stream, 2))
    assert len(heard) == 2, f"{len(heard)} messages came in {FORGOTTEN_AFTER_S} s"


def _offers_health(bench: Bench) -> None:
    if not {f"{version}.DRAResourceHealth" for version in HEALTH} & set(
        bench.kubelet.info.supported_versions
    ):
        raise Skipped("it is not offered")
