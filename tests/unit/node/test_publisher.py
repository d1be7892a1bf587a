"""The slice in the API is what we planned, whoever touches it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hami_dra.kube import NODES, RESOURCE_SLICES
from hami_dra.model import errors
from hami_dra.model.names import DRIVER
from hami_dra.node import publisher
from hami_dra.node.publisher import Publisher
from tests.support.cards import A10, NODE, SECOND
from tests.support.fake_kube import FakeKube
from tests.unit.node.test_slices import without_sharing


@pytest.fixture
def kube() -> FakeKube:
    fake = FakeKube()
    fake.create(NODES, {"metadata": {"name": NODE}})
    return fake


def slices(kube: FakeKube) -> list[dict[str, Any]]:
    return kube.list(RESOURCE_SLICES)[0]


def test_the_first_slice_is_owned_by_the_node_and_named_after_it(kube: FakeKube) -> None:
    one = Publisher(kube, NODE, DRIVER, [A10])
    assert one.problem
    one.sync()
    (item,) = slices(kube)
    assert item["metadata"]["name"].startswith(f"{NODE}-hami-core-gpu.project-hami.io-")
    assert item["metadata"]["ownerReferences"][0]["uid"] == kube.get(NODES, NODE)["metadata"]["uid"]
    assert (item["spec"]["pool"]["generation"], one.problem) == (1, None)


def test_a_restart_with_the_same_cards_writes_nothing(kube: FakeKube) -> None:
    Publisher(kube, NODE, DRIVER, [A10]).sync()
    before = slices(kube)
    again = Publisher(kube, NODE, DRIVER, [A10])
    again.sync()
    assert slices(kube) == before
    assert again.problem is None


def test_other_cards_replace_the_slice_with_a_higher_generation(kube: FakeKube) -> None:
    Publisher(kube, NODE, DRIVER, [A10]).sync()
    Publisher(kube, NODE, DRIVER, [A10, SECOND]).sync()
    (item,) = slices(kube)
    assert len(item["spec"]["devices"]) == 2
    assert item["spec"]["pool"]["generation"] == 2


def test_other_slices_of_ours_on_this_node_go_and_those_of_others_stay(kube: FakeKube) -> None:
    one = Publisher(kube, NODE, DRIVER, [A10])
    one.sync()
    (ours,) = slices(kube)
    for name, change in (("stray", {}), ("other-node", {"nodeName": "b"}), ("other-driver", {"driver": "d"})):
        kube.create(RESOURCE_SLICES, {"metadata": {"name": name}, "spec": ours["spec"] | change})
    one.sync()
    names = {item["metadata"]["name"] for item in slices(kube)}
    assert names == {ours["metadata"]["name"], "other-node", "other-driver"}


def test_a_server_that_drops_fields_is_reported_with_the_gate(
    kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = kube.create
    monkeypatch.setattr(kube, "create", lambda kind, body, *rest: create(kind, without_sharing(body), *rest))
    one = Publisher(kube, NODE, DRIVER, [A10])
    one.sync()
    assert "DRAConsumableCapacity" in (one.problem or "")
    one.sync()
    assert "DRAConsumableCapacity" in (one.problem or "")
    assert slices(kube)[0]["spec"]["pool"]["generation"] == 1, "it is not written over and over"


@pytest.fixture
def running(kube: FakeKube, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setattr(publisher, "PAUSE_S", 0.01)
    one, stop = Publisher(kube, NODE, DRIVER, [A10]), threading.Event()
    thread = threading.Thread(target=one.run, args=(stop,))
    thread.start()
    until(lambda: one.problem is None)
    yield one
    stop.set()
    until(lambda: kube.end_watches() or not thread.is_alive())


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.01)


def test_a_deleted_slice_comes_back_with_a_higher_generation(kube: FakeKube, running: Publisher) -> None:
    kube.delete(RESOURCE_SLICES, slices(kube)[0]["metadata"]["name"])
    until(lambda: slices(kube))
    assert slices(kube)[0]["spec"]["pool"]["generation"] == 2


def test_a_slice_changed_by_someone_else_is_put_back(kube: FakeKube, running: Publisher) -> None:
    (item,) = slices(kube)
    device = item["spec"]["devices"][0]
    device["capacity"]["memory"]["value"] = "1Ti"
    kube.replace(RESOURCE_SLICES, item)
    until(lambda: slices(kube)[0]["spec"]["devices"][0]["capacity"]["memory"]["value"] == "23028Mi")


def test_an_api_server_that_was_away_is_published_to_when_it_is_back(
    kube: FakeKube, running: Publisher
) -> None:
    kube.fail_next = [errors.Unavailable("connection refused")] * 5
    kube._objects = {key: item for key, item in kube._objects.items() if key[0] != "resourceslices"}
    kube.end_watches()
    until(lambda: not kube.fail_next and slices(kube))
    until(lambda: running.problem is None)
