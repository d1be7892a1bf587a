"""What logs and metrics tell of a plugin's work."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY
from structlog.testing import LogCapture

from hami_dra.devices.backend import ClaimEdits, Grant
from hami_dra.kube import RESOURCE_CLAIMS
from hami_dra.node import driver, reporter, services, sweep
from hami_dra.node.plugin import Config
from tests.contract.conftest import Add, KubeletOf, Start
from tests.support.cards import A10, DRIVER, SECOND, CardBackend, card_driver, claim, share
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
        assert REGISTRY.get_sample_value("hami_node_prepared_claims", {"driver": DRIVER}) == 1
        kubelet.unprepare(good)
        kubelet.prepare()  # a health check, which prepares nothing: it would make most calls look fast
        assert (prepares(), unprepares(), over_committed(), missing()) == (2, 1, 1, 1)
    assert REGISTRY.get_sample_value("hami_node_prepared_claims", {"driver": DRIVER}) == 0


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Reasons that the Pods of a claim hear."""
    reasons: list[str] = []
    monkeypatch.setattr(
        reporter.Reporter, "refused", lambda _self, _ref, reason, _message: reasons.append(reason)
    )
    return reasons


def test_a_node_that_cannot_be_written_is_told_and_an_unprepare_is_not_the_pods_business(
    kubelet: Kubelet, config: Config, add: Add, told: list[str]
) -> None:
    body = add(claim("half", share()))
    uid = body["metadata"]["uid"]
    shutil.rmtree(config.cdi, ignore_errors=True)
    config.cdi.write_text("no folder")
    with (
        counted("hami_node_claim_failures_total", operation="prepare", reason="NodeState") as prepares,
        counted("hami_node_claim_failures_total", operation="unprepare", reason="NodeState") as unprepares,
    ):
        assert "state on the node cannot be written" in kubelet.prepare(body)[uid].error
        config.cdi.unlink()
        assert kubelet.prepare(body)[uid].error == ""
        (file,) = config.cdi.iterdir()
        file.unlink()
        file.mkdir()
        assert "state on the node cannot be written" in kubelet.unprepare(body)[uid].error
        assert (prepares(), unprepares(), told) == (1, 1, ["NodeState"])
    file.rmdir()
    assert kubelet.unprepare(body)[uid].error == ""


def test_a_defect_costs_the_claim_and_not_the_call(
    kubelet: Kubelet, add: Add, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = (
        add(claim(name, share("1Gi", device=card)))
        for name, card in (("bad", SECOND.name), ("good", A10.name))
    )
    well = CardBackend.edits

    def edits(self: CardBackend, grants: Sequence[Grant]) -> ClaimEdits:
        if any(device.name == SECOND.name for device, _ in grants):
            raise ZeroDivisionError("unforeseen")
        return well(self, grants)

    monkeypatch.setattr(CardBackend, "edits", edits)
    answers = kubelet.prepare(bad, good)
    assert "a defect of the plugin, see its log" in answers[bad["metadata"]["uid"]].error
    assert answers[good["metadata"]["uid"]].error == ""
    assert told == ["Defect"]


def test_metrics_count_what_is_swept(start: Start, kubelet_of: KubeletOf, kube: FakeKube, add: Add) -> None:
    plugin = start()
    kubelet_of(DRIVER).prepare(add(claim("half", share())))
    kube.delete(RESOURCE_CLAIMS, "half", "default")
    with counted("hami_node_swept_total", kind="claim") as claims:
        sweep.sweep(plugin.driver, kube)
        assert claims() == 1
    assert REGISTRY.get_sample_value("hami_node_prepared_claims", {"driver": DRIVER}) == 0


def test_of_a_claim_that_is_given_back_at_once_nobody_is_told_that_it_is_ready(
    config: Config, kube: FakeKube, kubelet_of: KubeletOf, add: Add
) -> None:
    later, socket = 0.0, config.registry / f"{DRIVER}-reg.sock"
    reporting = reporter.Reporter(kube, DRIVER, clock=lambda: later)
    calls = services.dra(card_driver(kube, config.state, config.cdi, A10), reporting)
    server = services.serve(f"unix:{socket}", [*calls, services.registration(DRIVER, socket, print)], 2)
    kubelet = kubelet_of(DRIVER)
    back, kept = (add(claim(name, share("1Gi", "5"))) for name in ("back", "kept"))
    kubelet.prepare(back, kept)
    kubelet.unprepare(back)
    server.stop(None).wait()
    later = 60.0
    reporting.write_due()
    told = {name: kube.get(RESOURCE_CLAIMS, name, "default")["status"] for name in ("back", "kept")}
    assert ["devices" in told[name] for name in ("back", "kept")] == [False, True]
