"""What became of a claim is said on the claim and on its Pods, and never holds up the answer to kubelet."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hami_dra.kube import EVENTS, RESOURCE_CLAIMS
from hami_dra.model import errors
from hami_dra.model.claim import ClaimRef
from hami_dra.model.names import DRIVER
from hami_dra.node.claim_files import Granted
from hami_dra.node.reporter import Reporter
from tests.support.cards import NODE, claim, share
from tests.support.fake_kube import FakeKube

GRANTED = Granted("gpu", NODE, "hami-gpu-0", "6108e68f-a7ec-4a30-9782-634885c0c728", ("ours",))


@pytest.fixture
def kube() -> FakeKube:
    return FakeKube()


@pytest.fixture
def ref(kube: FakeKube) -> ClaimRef:
    body = claim("half", share())
    body["status"]["reservedFor"] = [
        {"resource": "pods", "name": "first", "uid": "1"},
        {"resource": "pods", "name": "second", "uid": "2"},
    ]
    stored = kube.create(RESOURCE_CLAIMS, body, "default")
    return ClaimRef("default", "half", stored["metadata"]["uid"])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reporter(kube: FakeKube, clock: Clock) -> Reporter:
    return Reporter(kube, DRIVER, clock)


def settled(reporter: Reporter, clock: Clock) -> None:
    """What was reported is written, and what was prepared has been so for a while."""
    clock.now += 10
    reporter.write_due()


def events(kube: FakeKube) -> list[Any]:
    return [(item["involvedObject"]["name"], item["reason"]) for item in kube.list(EVENTS)[0]]


def test_every_pod_of_a_refused_claim_gets_one_event_for_one_cause(
    reporter: Reporter, clock: Clock, kube: FakeKube, ref: ClaimRef
) -> None:
    for _ in range(3):
        reporter.refused(ref, "OverCommitted", "given away more than once")
    reporter.refused(ref, "UnknownDevice", "no such device")
    settled(reporter, clock)
    assert sorted(events(kube)) == [
        ("first", "OverCommitted"),
        ("first", "UnknownDevice"),
        ("second", "OverCommitted"),
        ("second", "UnknownDevice"),
    ]


def test_a_prepared_claim_says_which_device_is_ready(
    reporter: Reporter, clock: Clock, kube: FakeKube, ref: ClaimRef
) -> None:
    reporter.prepared(ref, [GRANTED])
    settled(reporter, clock)
    (device,) = kube.get(RESOURCE_CLAIMS, "half", "default")["status"]["devices"]
    assert {key: device[key] for key in ("driver", "pool", "device", "shareID")} == {
        "driver": DRIVER,
        "pool": NODE,
        "device": "hami-gpu-0",
        "shareID": GRANTED.share_id,
    }
    assert (device["conditions"][0]["type"], device["conditions"][0]["status"]) == ("Ready", "True")


def test_a_cluster_that_forbids_the_status_is_asked_once(
    reporter: Reporter, clock: Clock, kube: FakeKube, ref: ClaimRef
) -> None:
    kube.fail_next = [errors.Denied("forbidden", status=403)]
    reporter.prepared(ref, [GRANTED])
    settled(reporter, clock)
    before = len(kube.calls)
    reporter.prepared(ref, [GRANTED])
    settled(reporter, clock)
    assert len(kube.calls) == before


def test_a_status_that_is_refused_for_one_claim_is_still_written_for_others(
    reporter: Reporter, clock: Clock, kube: FakeKube, ref: ClaimRef
) -> None:
    kube.fail_next = [errors.Denied("invalid", status=422)]
    for _ in range(2):
        reporter.prepared(ref, [GRANTED])
        settled(reporter, clock)
    assert kube.get(RESOURCE_CLAIMS, "half", "default")["status"]["devices"]


def test_a_later_claim_of_the_same_name_is_not_written_about(
    reporter: Reporter, clock: Clock, kube: FakeKube, ref: ClaimRef
) -> None:
    reporter.prepared(ref, [GRANTED])
    kube.delete(RESOURCE_CLAIMS, "half", "default")
    kube.create(RESOURCE_CLAIMS, claim("half", share()), "default")
    settled(reporter, clock)
    assert "devices" not in kube.get(RESOURCE_CLAIMS, "half", "default")["status"]


def test_pods_of_a_later_claim_of_the_same_name_hear_nothing_of_a_refusal(
    reporter: Reporter, clock: Clock, kube: FakeKube, ref: ClaimRef
) -> None:
    kube.delete(RESOURCE_CLAIMS, "half", "default")
    later = claim("half", share())
    later["status"]["reservedFor"] = [{"resource": "pods", "name": "third", "uid": "3"}]
    kube.create(RESOURCE_CLAIMS, later, "default")
    reporter.refused(ref, "UidMismatch", "is gone")
    settled(reporter, clock)
    assert events(kube) == []


def test_however_many_causes_come_at_once_each_is_told_once(
    reporter: Reporter, clock: Clock, kube: FakeKube, ref: ClaimRef
) -> None:
    causes = [f"Cause{at}" for at in range(200)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda cause: reporter.refused(ref, cause, ""), causes))
    finally:
        sys.setswitchinterval(before)
    for cause in causes:
        reporter.refused(ref, cause, "")
    settled(reporter, clock)
    assert sorted(events(kube)) == sorted((pod, cause) for pod in ("first", "second") for cause in causes)


def test_an_api_server_that_is_away_holds_up_nobody(
    reporter: Reporter, clock: Clock, kube: FakeKube, ref: ClaimRef
) -> None:
    kube.fail_next = [errors.Unavailable("away")] * 3
    for _ in range(3000):
        reporter.prepared(ref, [GRANTED])
    reporter.refused(ref, "OverCommitted", "")
    assert len(kube.fail_next) == 3, "nobody has asked it yet"


def test_a_claim_that_went_at_once_is_not_written_about(
    reporter: Reporter, clock: Clock, kube: FakeKube, ref: ClaimRef
) -> None:
    reporter.prepared(ref, [GRANTED])
    reporter.unprepared(ref)
    settled(reporter, clock)
    assert "devices" not in kube.get(RESOURCE_CLAIMS, "half", "default")["status"]
