"""What logs and metrics tell of a plugin's work."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY
from structlog.testing import LogCapture

from hami_dra.kube import RESOURCE_CLAIMS
from hami_dra.node import driver, reporter, services, sweep
from tests.contract.conftest import Add, KubeletOf, Start
from tests.support.cards import DRIVER, claim, share
from tests.support.counted import counted
from tests.support.fake_kube import FakeKube
from tests.support.kubelet import Kubelet
from tests.support.waiting import until


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is logged of claims, however logging is set."""
    captured = LogCapture()
    for module in (driver, reporter, services):
        monkeypatch.setattr(module, "log", structlog.wrap_logger(None, processors=[captured]))
    return captured.entries


def test_logs_name_claim_pod_and_shares(kubelet: Kubelet, add: Add, said: list[Any]) -> None:
    half = share()
    body = claim("half", half)
    body["status"]["reservedFor"] = [{"resource": "pods", "name": "user", "uid": "1"}]
    stored = add(body)
    named = {"namespace": "default", "claim": "half", "uid": stored["metadata"]["uid"]}
    kubelet.prepare(stored)
    kubelet.unprepare(stored)
    told = {each.pop("event"): each for each in said}
    assert told["prepared"] == {
        **named,
        "pods": ["user"],
        "shares": {half["shareID"]: "hami-gpu-0"},
        "log_level": "info",
    }
    assert told["unprepared"] == {**named, "shares": [half["shareID"]], "log_level": "info"}


def test_a_refusal_is_logged_with_its_pods(kubelet: Kubelet, add: Add, said: list[Any]) -> None:
    body = claim("much", share("99Gi"))
    body["status"]["reservedFor"] = [{"resource": "pods", "name": "user", "uid": "1"}]
    kubelet.prepare(add(body))
    until(lambda: [each for each in said if each["event"] == "telling the Pods"], "the reporter")
    refused, telling = (each for each in said if each.get("claim") == "much")
    assert (refused["event"], refused["reason"]) == ("prepare refused", "BadAllocation")
    assert (telling["pods"], telling["reason"]) == (["user"], "BadAllocation")


def test_metrics_count_calls_failures_by_cause_and_what_is_prepared(kubelet: Kubelet, add: Add) -> None:
    good, twice, gone = add(claim("good", share("20Gi"))), add(claim("twice", share("20Gi"))), claim("gone")
    failures = "hami_node_claim_failures_total"
    with (
        counted("hami_node_prepare_duration_seconds_count") as prepares,
        counted("hami_node_unprepare_duration_seconds_count") as unprepares,
        counted(failures, operation="prepare", reason="OverCommitted") as over_committed,
        counted(failures, operation="prepare", reason="ClaimGone") as missing,
    ):
        kubelet.prepare(good)
        kubelet.prepare(twice, gone)
        assert REGISTRY.get_sample_value("hami_node_prepared_claims") == 1
        kubelet.unprepare(good)
        assert (prepares(), unprepares(), over_committed(), missing()) == (2, 1, 1, 1)
    assert REGISTRY.get_sample_value("hami_node_prepared_claims") == 0


def test_metrics_count_what_is_swept(start: Start, kubelet_of: KubeletOf, kube: FakeKube, add: Add) -> None:
    plugin = start()
    kubelet_of(DRIVER).prepare(add(claim("half", share())))
    kube.delete(RESOURCE_CLAIMS, "half", "default")
    with counted("hami_node_swept_total", kind="claim") as claims:
        sweep.sweep(plugin.driver, kube)
        assert claims() == 1
    assert REGISTRY.get_sample_value("hami_node_prepared_claims") == 0
