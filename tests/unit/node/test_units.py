"""Shares of a device whose parts have numbers get parts of their own, and keep them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hami_dra.model.claim import ClaimRef
from hami_dra.model.device import Capacity, Device
from hami_dra.model.errors import PrepareError
from hami_dra.model.share import PreparedClaim
from hami_dra.node.prepare import Family, plan
from tests.support.cards import NODE, claim, share

DRIVER = "gpu.example"
CARD = Device("gpu-0", "gpu-0", {}, (Capacity("cores", value=100, default=0, units=38),))
NPU = Device("npu-0", "npu-0", {}, (Capacity("memory", 1 << 30, 1 << 30),), shared=False)
FAMILY = Family(DRIVER, False, {"gpu-0": CARD, "npu-0": NPU})


def planned(result: dict[str, object], *prepared: PreparedClaim) -> PreparedClaim:
    body = claim("c", share(device="gpu-0") | {"driver": DRIVER} | result)
    return plan(ClaimRef("default", "c", body["metadata"]["uid"]), body, NODE, FAMILY, prepared)


def cores(amount: int) -> dict[str, object]:
    return {"consumedCapacity": {"cores": str(amount)}}


def units(one: PreparedClaim) -> tuple[int, ...]:
    return one.shares[0].units["cores"]


def test_a_share_gets_neighbouring_units_that_no_other_share_has() -> None:
    first = planned(cores(50))
    second = planned(cores(25), first)
    assert units(first) == tuple(range(19))
    assert units(second) == tuple(range(19, 28))
    assert units(planned(cores(20), second)) == tuple(range(7)), "units that were given back are used again"


def test_a_share_that_reserves_nothing_owns_no_unit() -> None:
    assert units(planned(cores(0))) == ()


def test_scattered_units_are_given_when_no_run_is_long_enough() -> None:
    held = [planned(cores(25))]
    for _ in range(3):
        held.append(planned(cores(25), *held))
    assert units(planned(cores(50), held[1], held[3])) == (*range(9), *range(18, 27), 36)


def test_a_share_that_is_prepared_again_keeps_its_units() -> None:
    first = planned(cores(25))
    body = claim("c", share(device="gpu-0") | {"driver": DRIVER} | cores(25))
    ref = ClaimRef("default", "c", body["metadata"]["uid"])
    once = plan(ref, body, NODE, FAMILY, [first])
    assert plan(ref, body, NODE, FAMILY, [once]) == once, "although lower ones are free by now"


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=12))
def test_however_shares_come_and_go_no_unit_is_ever_given_to_two(wishes: list[tuple[int, bool]]) -> None:
    held: list[PreparedClaim] = []
    for amount, release in wishes:
        if release and held:
            held.pop(0)
        try:
            held.append(planned(cores(amount), *held))
        except PrepareError:
            continue
        given_away = [unit for one in held for unit in units(one)]
        assert len(given_away) == len(set(given_away))
        assert len(units(held[-1])) == amount * 38 // 100


def test_a_device_that_is_not_shared_needs_no_share_id_and_goes_to_one_claim() -> None:
    whole = {"device": "npu-0", "shareID": None, "consumedCapacity": None}
    first = planned(whole)
    assert (first.shares[0].share_id, first.shares[0].consumed) == ("", {})
    with pytest.raises(PrepareError, match="npu-0 is given away more than once: with this claim to 2 claims"):
        planned(whole, first)
