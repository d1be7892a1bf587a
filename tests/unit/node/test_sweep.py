"""The sweep removes what it has seen to be dead, and nothing that came to life meanwhile."""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hami_dra.kube import RESOURCE_CLAIMS, Kind
from hami_dra.model import errors, ledger
from hami_dra.model.share import PreparedClaim
from hami_dra.node import sweep
from hami_dra.node.checkpoint import Claims
from hami_dra.node.claim_files import Devices
from tests.support.cards import claim, share
from tests.support.crash_points import Node
from tests.support.fake_kube import FakeKube
from tests.support.waiting import until

F_OFD_SETLK = 37


class AllocatedMeanwhile(FakeKube):
    """Answers at first that a claim is not allocated; by the time the answer is read it is given back,
    allocated with ALLOCATION, and prepared."""

    def __init__(self, node: Node, allocation: dict[str, Any]) -> None:
        super().__init__()
        self._node = node
        self._allocation: dict[str, Any] | None = allocation

    def get(self, kind: Kind, name: str, namespace: str | None = None, **options: Any) -> dict[str, Any]:
        answer = self._node.kube.get(kind, name, namespace)
        if allocation := self._allocation:
            self._allocation = None
            del answer["status"]["allocation"]
            driver = self._node.driver()
            driver.unprepare(self._node.neighbour)
            self._node.kube.patch(kind, name, {"status": {"allocation": allocation}}, namespace)
            driver.prepare(self._node.neighbour)
        return answer


ELSE = {"devices": {"results": [share("2Gi", "5") | {"shareID": f"{'0' * 8}-0000-0000-0000-{'0' * 12}"}]}}


@pytest.mark.parametrize("how", ["the same way", "another way"])
def test_a_claim_that_is_allocated_anew_while_the_sweep_looks_keeps_what_it_has(
    tmp_path: Path, how: str
) -> None:
    node = Node(tmp_path)
    found = node.kube.get(RESOURCE_CLAIMS, node.neighbour.name, node.neighbour.namespace)
    allocation = found["status"]["allocation"] if how == "the same way" else ELSE
    sweep.sweep(node.driver(), AllocatedMeanwhile(node, allocation))
    driver = node.driver()
    (kept,) = driver.checkpoint.load()[node.neighbour.uid].shares
    assert kept.share_id == allocation["devices"]["results"][0]["shareID"]
    assert driver.folders.ids() == {kept.share_id}
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


def test_a_dead_claim_that_cannot_be_forgotten_yet_keeps_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path)
    driver = node.driver()
    driver.prepare(node.mine)
    (stray := tmp_path / "state/shares/stray").mkdir()

    def busy(claims: Claims, about: Iterable[PreparedClaim], devices: Devices) -> None:
        if node.neighbour.uid in {claim.uid for claim in about}:
            raise errors.DriverError("a process uses its MIG instance")

    monkeypatch.setattr(driver.files, "settle", busy)
    sweep.sweep(driver, FakeKube())
    assert driver.load().keys() == {node.neighbour.uid}
    assert not stray.exists()


@pytest.mark.parametrize("now", ["gone", "another", "not allocated", "elsewhere", "other share"])
def test_a_claim_that_is_no_more_what_was_prepared_is_swept(tmp_path: Path, now: str) -> None:
    node = Node(tmp_path)
    name, namespace = node.neighbour.name, node.neighbour.namespace
    others = {
        "not allocated": None,
        "elsewhere": {"devices": {"results": [share() | {"pool": "another-node"}]}},
        "other share": ELSE,
    }
    if now in others:
        node.kube.patch(RESOURCE_CLAIMS, name, {"status": {"allocation": others[now]}}, namespace)
    else:
        node.kube.delete(RESOURCE_CLAIMS, name, namespace)
    if now == "another":
        node.kube.create(RESOURCE_CLAIMS, claim(name, share("1Gi")), namespace)
    sweep.sweep(node.driver(), node.kube)
    driver = node.driver()
    assert (driver.folders.ids(), driver.cdi.uids(), driver.checkpoint.load()) == (set(), set(), {})


def test_a_claim_that_is_gone_stays_while_a_process_computes_on_its_share(tmp_path: Path) -> None:
    """Its Pod was deleted by force and has time to end; what it has meanwhile is nobody else's."""
    node = Node(tmp_path)
    node.kube.delete(RESOURCE_CLAIMS, node.neighbour.name, node.neighbour.namespace)
    driver = node.driver()
    (share_id,) = driver.folders.ids()
    with open(driver.folders.path(share_id) / "ledger", "r+b") as file:
        slot = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, ledger.HEADER, ledger.SLOT_BYTES, 0)
        fcntl.fcntl(file, F_OFD_SETLK, slot)  # as the limiter does in the process
        sweep.sweep(driver, node.kube)
        assert (driver.folders.ids(), driver.cdi.uids()) == ({share_id}, {node.neighbour.uid})
    sweep.sweep(driver, node.kube)
    assert (driver.folders.ids(), driver.cdi.uids(), driver.load()) == (set(), set(), {})


def test_cdi_files_that_somebody_removed_are_put_back(tmp_path: Path) -> None:
    """Kubelet does not ask again, and no container of the Pod would start any more."""
    node = Node(tmp_path)
    (kept,) = node.cdi.iterdir()
    node.driver().prepare(node.mine)
    (gone,) = set(node.cdi.iterdir()) - {kept}
    content = gone.read_bytes()
    gone.unlink()
    kept.write_text("as it was")
    sweep.sweep(node.driver(), node.kube)
    assert gone.read_bytes() == content
    assert kept.read_text() == "as it was"
