"""The sweep removes what it has seen to be dead, and nothing that came to life meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from hami_dra.kube import RESOURCE_CLAIMS, Kind
from hami_dra.model import errors
from hami_dra.node import sweep
from tests.support.cards import claim, share
from tests.support.crash_points import Node
from tests.support.fake_kube import FakeKube
from tests.support.waiting import until


class AllocatedMeanwhile(FakeKube):
    """Answers that a claim is not allocated; by the time the answer is read it is, and is prepared."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node

    def get(self, kind: Kind, name: str, namespace: str | None = None, **options: Any) -> dict[str, Any]:
        answer = self._node.kube.get(kind, name, namespace)
        allocation = answer["status"].pop("allocation")
        allocation["devices"]["results"] = [
            share("2Gi", "5") | {"shareID": f"{'0' * 8}-0000-0000-0000-{'0' * 12}"}
        ]
        self._node.kube.patch(kind, name, {"status": {"allocation": allocation}}, namespace)
        self._node.driver().prepare(self._node.neighbour)
        return answer


def test_a_claim_that_is_allocated_anew_while_the_sweep_looks_keeps_its_new_share(tmp_path: Path) -> None:
    node = Node(tmp_path)
    sweep.sweep(node.driver(), AllocatedMeanwhile(node))
    driver = node.driver()
    (new,) = driver.checkpoint.load()[node.neighbour.uid].shares
    assert driver.folders.ids() == {new.share_id}
    assert driver.cdi.uids() == {node.neighbour.uid}


def test_a_sweep_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node, stop = Node(tmp_path), threading.Event()
    node.kube.delete(RESOURCE_CLAIMS, node.neighbour.name, node.neighbour.namespace)
    node.kube.fail_next = [errors.Unavailable("connection refused")]
    monkeypatch.setattr(sweep, "EVERY_S", 0.01)
    driver = node.driver()
    thread = threading.Thread(target=sweep.run, args=(driver, node.kube, stop))
    thread.start()
    try:
        until(lambda: driver.cdi.uids() == set())
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("now", ["gone", "another", "not allocated any more"])
def test_a_claim_that_is_no_more_what_was_prepared_is_swept(tmp_path: Path, now: str) -> None:
    node = Node(tmp_path)
    name, namespace = node.neighbour.name, node.neighbour.namespace
    if now == "not allocated any more":
        node.kube.patch(RESOURCE_CLAIMS, name, {"status": {"allocation": None}}, namespace)
    else:
        node.kube.delete(RESOURCE_CLAIMS, name, namespace)
    if now == "another":
        node.kube.create(RESOURCE_CLAIMS, claim(name, share("1Gi")), namespace)
    sweep.sweep(node.driver(), node.kube)
    driver = node.driver()
    assert (driver.folders.ids(), driver.cdi.uids(), driver.checkpoint.load()) == (set(), set(), {})
