"""An API server that takes calls and answers none: what needs no word of it goes on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hami_dra.node.driver import MOST_ASKERS
from hami_dra.node.plugin import Config
from tests.contract.conftest import Add, Start
from tests.contract.test_left_overs import check, registered
from tests.support.cards import claim, share
from tests.support.fake_kube import FakeKube, Gate
from tests.support.ports import free_port
from tests.support.waiting import until

PODS = 110
"""As many as a node has, all new."""


def test_however_many_claims_wait_unprepare_and_the_liveness_probe_are_answered(
    start: Start, kube: FakeKube, config: Config, add: Add
) -> None:
    port = free_port()
    start(health_port=port)
    kubelet = registered(config)
    ended, new = add(claim("ended", share("1Gi", "5"))), add(claim("new", share("1Gi", "5")))
    assert not kubelet.prepare(ended)[ended["metadata"]["uid"]].error
    gate = kube.gate = Gate("get", "resourceclaims", "new")
    with ThreadPoolExecutor(PODS) as pods:
        calls = [pods.submit(kubelet.prepare, new) for _ in range(PODS)]
        try:
            until(lambda: gate.waiting == MOST_ASKERS, "the claims to be asked for")
            assert not kubelet.unprepare(ended, timeout_s=20)[ended["metadata"]["uid"]].error
            assert check(port, "liveness") == "SERVING"
        finally:
            gate.opened.set()
        assert not any(call.result()[new["metadata"]["uid"]].error for call in calls)
    kubelet.close()
