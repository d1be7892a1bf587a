"""A claim is granted in full or refused with the cause."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hami_dra.model.claim import ClaimRef
from hami_dra.model.errors import PrepareError
from hami_dra.model.names import DRIVER
from hami_dra.model.share import PreparedClaim
from hami_dra.node.prepare import Family, plan
from tests.support.cards import A10, NODE, SECOND, claim, share

DEVICES = {device.name: device for device in (A10, SECOND)}
FAMILY = Family(DRIVER, True, DEVICES)


def planned(body: dict[str, Any], *prepared: PreparedClaim, uid: str = "") -> PreparedClaim:
    ref = ClaimRef("default", body["metadata"]["name"], uid or body["metadata"]["uid"])
    return plan(ref, body, NODE, FAMILY, prepared)


def reason(body: dict[str, Any], *prepared: PreparedClaim, uid: str = "") -> str:
    with pytest.raises(PrepareError) as caught:
        planned(body, *prepared, uid=uid)
    return caught.value.reason


def test_memory_and_cores_become_the_share_of_that_card() -> None:
    (got,) = planned(claim("c", share("10Gi", "50", "hami-gpu-1"))).shares
    assert (got.uuid, got.consumed) == (SECOND.uuid, {"cores": 50, "memory": 10 << 30})


def test_results_of_other_drivers_and_nodes_are_none_of_our_business() -> None:
    foreign = share() | {"driver": "gpu.nvidia.com"}
    elsewhere = share() | {"pool": "another-node"}
    assert len(planned(claim("c", foreign, elsewhere, share())).shares) == 1
    assert reason(claim("c", foreign)) == "NotOnThisNode"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"device": "hami-gpu-7"}, "UnknownDevice"),
        ({"adminAccess": True}, "AdminAccess"),
        ({"shareID": None}, "NoShareID"),
        ({"shareID": "../../etc"}, "BadAllocation"),
        ({"consumedCapacity": {"memory": "1Gi"}}, "NoConsumedCapacity"),
        ({"consumedCapacity": {"cores": "50"}}, "NoConsumedCapacity"),
        ({"consumedCapacity": {"memory": "0", "cores": "1"}}, "BadAllocation"),
        ({"consumedCapacity": {"memory": "24Gi", "cores": "1"}}, "BadAllocation"),
        ({"consumedCapacity": {"memory": "1Gi", "cores": "101"}}, "BadAllocation"),
        ({"consumedCapacity": {"memory": "much", "cores": "1"}}, "BadAllocation"),
    ],
)
def test_an_allocation_that_cannot_be_limited_is_refused(change: dict[str, Any], expected: str) -> None:
    assert reason(claim("c", share() | change)) == expected


def with_parameters(*entries: dict[str, Any]) -> dict[str, Any]:
    body = claim("c", share())
    body["status"]["allocation"]["devices"]["config"] = list(entries)
    return body


def opaque(source: str, driver: str = "hami-core-gpu.project-hami.io", **fields: Any) -> dict[str, Any]:
    head = {"apiVersion": "hami-core-gpu.project-hami.io/v1", "kind": "ShareParameters"}
    return {"source": source, "opaque": {"driver": driver, "parameters": head | fields}}


def test_parameters_of_class_and_claim_reach_the_share_and_its_limits_file() -> None:
    body = with_parameters(
        opaque("FromClass", priority="high", logLevel=1),
        opaque("FromClaim", coresPolicy="soft", logLevel=3, memoryOversubscription=True),
    )
    (got,) = planned(body).shares
    lines = got.limits().splitlines()
    assert {"version=1", "priority=0", "cores_policy=soft", "oversubscribe=1", "log_level=3"} <= set(lines)


def test_without_parameters_a_share_has_low_priority_and_hard_limits() -> None:
    (got,) = planned(claim("c", share())).shares
    assert got.limits().splitlines()[5:] == ["priority=1", "cores_policy=hard", "oversubscribe=0"]


def test_parameters_that_are_not_understood_refuse_the_claim_and_all_are_named() -> None:
    body = with_parameters(opaque("FromClaim", prio="high", logLevel=9, enforcement="none"))
    with pytest.raises(PrepareError, match=r"\.prio: .*\.logLevel: .*\.enforcement: ") as caught:
        planned(body)
    assert caught.value.reason == "BadParameters"
    foreign = opaque("FromClaim", driver="gpu.nvidia.com", prio="high")
    assert planned(with_parameters(foreign)).shares
    with pytest.raises(PrepareError, match=r"config\[1\]\.opaque\.parameters\.prio: "):
        planned(with_parameters(foreign, opaque("FromClaim", prio="high")))


def test_parameters_of_a_claim_over_two_families_are_for_the_one_that_knows_some() -> None:
    other = Family("amd.project-hami.io", False, DEVICES)
    body = claim("c", share(), share() | {"driver": other.driver})
    body["status"]["allocation"]["devices"]["config"] = [opaque("FromClaim", priority="high")]
    ref = ClaimRef("default", "c", body["metadata"]["uid"])
    priorities = [plan(ref, body, NODE, each, []).shares[0].parameters.priority for each in (FAMILY, other)]
    assert priorities == ["high", "low"]


def test_another_uid_or_no_allocation_is_refused() -> None:
    assert reason(claim("c", share()), uid="other") == "UidMismatch"
    assert reason(claim("c")) == "NotAllocated"


def test_what_a_card_has_is_granted_to_the_last_mib_and_not_beyond() -> None:
    first = planned(claim("first", share("13028Mi", "50")))
    assert planned(claim("second", share("10000Mi", "50")), first)
    assert reason(claim("second", share("10001Mi", "50")), first) == "OverCommitted"
    assert reason(claim("second", share("1Gi", "51")), first) == "OverCommitted"
    assert planned(claim("second", share("23028Mi", "100", "hami-gpu-1")), first)


def test_a_card_that_is_given_away_twice_is_refused_by_what_is_too_much_alone() -> None:
    for memory, cores, words in (
        ("12Gi", "10", "with this claim 24Gi of 23028Mi memory"),
        ("1Gi", "60", "with this claim 120 of 100 cores"),
        ("12Gi", "60", "with this claim 120 of 100 cores and 24Gi of 23028Mi memory"),
    ):
        body = claim("c", share(memory, cores), share(memory, cores))
        with pytest.raises(PrepareError, match=f"given away more than once: {words}$"):
            planned(body)


def test_shares_of_one_claim_count_together() -> None:
    assert reason(claim("c", share("12Gi", "0"), share("12Gi", "0"))) == "OverCommitted"


def test_a_claim_does_not_count_against_itself_when_it_is_prepared_again() -> None:
    body = claim("c", share("20Gi", "100"))
    assert planned(body, planned(body)) == planned(body)


@given(st.lists(st.tuples(st.integers(-1, 30 << 30), st.integers(-1, 110), st.sampled_from(sorted(DEVICES)))))
def test_however_claims_come_no_card_is_ever_given_away_twice(wishes: list[tuple[int, int, str]]) -> None:
    granted: list[PreparedClaim] = []
    for memory, cores, device in wishes:
        try:
            granted.append(planned(claim("c", share(str(memory), str(cores), device)), *granted))
        except PrepareError:
            continue
    for name, device in DEVICES.items():
        shares = [each for one in granted for each in one.shares if each.device == name]
        assert sum(each.consumed["memory"] for each in shares) <= device.capacity("memory")
        assert sum(each.consumed["cores"] for each in shares) <= 100
