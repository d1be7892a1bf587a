"""Shares of a device whose parts have numbers get parts of their own, and keep them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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


def test_neighbouring_units_are_looked_for_behind_a_gap_that_is_too_short() -> None:
    held = [planned(cores(25))]
    held.append(planned(cores(25), *held))
    assert units(planned(cores(50), held[1])) == tuple(range(18, 37))


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


def anew(
    before: PreparedClaim, *results: dict[str, object], beside: Sequence[PreparedClaim] = ()
) -> PreparedClaim:
    """The claim BEFORE, allocated once more with RESULTS."""
    body = claim("c", *results)
    body["metadata"]["uid"] = before.uid
    return plan(ClaimRef("default", "c", before.uid), body, NODE, FAMILY, [before, *beside])


def on_card(amount: int, share_id: str = "") -> dict[str, object]:
    result = share(device="gpu-0") | {"driver": DRIVER} | cores(amount)
    return result | ({"shareID": share_id} if share_id else {})


def test_a_share_whose_amount_has_changed_gets_as_much_of_the_card_as_it_has_now() -> None:
    before = anew(planned(cores(0)), on_card(60))
    same = before.shares[0].share_id
    assert units(anew(before, on_card(80, same))) == tuple(range(30)), "more than half, so with its own again"
    assert units(anew(before, on_card(20, same))) == tuple(range(7))


def test_a_share_that_stays_keeps_its_units_when_one_beside_it_in_its_claim_grows() -> None:
    before = anew(planned(cores(0)), on_card(25), on_card(25))
    grown, stays = (one.share_id for one in before.shares)
    after = {
        one.share_id: one.units["cores"]
        for one in anew(before, on_card(50, grown), on_card(25, stays)).shares
    }
    assert after[stays] == before.shares[1].units["cores"]
    assert len(after[grown]) == 19
    assert not set(after[grown]) & set(after[stays])


def test_a_claim_that_is_allocated_anew_is_not_short_of_the_units_that_it_had_before() -> None:
    before = anew(planned(cores(0)), on_card(60))
    assert len(units(anew(before, on_card(80)))) == 30


def test_on_a_card_that_is_in_the_place_of_the_former_a_share_gets_units_that_are_free_there() -> None:
    there = planned(cores(25))
    (before,) = planned(cores(25)).shares
    former = PreparedClaim("uid", "default", "c", (replace(before, uuid="gpu-former"),))
    assert former.shares[0].units == there.shares[0].units
    assert units(anew(former, on_card(25, before.share_id), beside=[there])) == tuple(range(9, 18))


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
