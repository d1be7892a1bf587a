"""The slice in the API stays what we planned, whoever touches it and whatever the API server does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from hami_dra.devices.backend import Problem
from hami_dra.kube import NODES, RESOURCE_SLICES, Client
from hami_dra.model import errors
from hami_dra.model.names import DRIVER
from hami_dra.node import publisher
from hami_dra.node.inventory import Inventory
from hami_dra.node.publisher import Publisher
from tests.support import kube_server
from tests.support.cards import A10, NODE, SECOND
from tests.support.counted import counted
from tests.support.fake_kube import FakeKube, Gate
from tests.support.waiting import until
from tests.unit.node.published import devices_of, drop_sharing, drops, slices

FIELDS = f"spec.nodeName={NODE},spec.driver={DRIVER}"


@contextmanager
def runs(one: Publisher, kube: FakeKube, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in the plugin, in a hurry."""
    monkeypatch.setattr(publisher, "PAUSE_S", 0.01)
    stop = threading.Event()
    threads = [threading.Thread(target=work, args=(stop,)) for work in (one.run, one.run_updates)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        until(lambda: kube.end_watches() or not any(thread.is_alive() for thread in threads))


@pytest.fixture
def running(kube: FakeKube, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    one = Publisher(kube, NODE, DRIVER, Inventory((A10,)))
    with runs(one, kube, monkeypatch):
        until(lambda: one.problem is None)
        yield one


def test_writes_are_counted_and_so_are_those_that_fail(
    kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Publisher(kube, NODE, DRIVER, Inventory((A10,)))
    with (
        counted("hami_node_slice_publishes_total") as publishes,
        counted("hami_node_slice_publish_failures_total") as failures,
    ):
        one.sync()
        one.sync()
        assert (publishes(), failures()) == (1, 0)
        kube.fail_next = [errors.Unavailable("connection refused")]
        one.update(Inventory((A10, SECOND)))
        with runs(one, kube, monkeypatch):
            until(lambda: (publishes(), failures()) == (2, 1))


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


def test_what_the_publisher_writes_itself_is_no_change_by_someone_else(
    kube: FakeKube, running: Publisher
) -> None:
    name = slices(kube)[0]["metadata"]["name"]
    looks = kube.calls.count(("list", RESOURCE_SLICES.plural, ""))
    for devices in ((A10, SECOND), (A10,)):
        running.update(Inventory(devices))
        wanted = [device.name for device in devices]
        until(lambda wanted=wanted: devices_of(kube.get(RESOURCE_SLICES, name)) == wanted)
    time.sleep(0.1)
    assert kube.calls.count(("list", RESOURCE_SLICES.plural, "")) == looks + 2


def test_an_api_server_that_was_away_is_published_to_when_it_is_back(
    kube: FakeKube, running: Publisher
) -> None:
    kube.fail_next = [errors.Unavailable("connection refused")] * 5
    kube.lose(RESOURCE_SLICES)
    kube.end_watches()
    until(lambda: not kube.fail_next and slices(kube))
    until(lambda: running.problem is None)


def test_a_gate_that_is_switched_on_later_is_made_use_of(
    kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Publisher(kube, NODE, DRIVER, Inventory((A10,)))
    with monkeypatch.context() as off:
        drops(kube, off, drop_sharing)
        one.sync()
    with runs(one, kube, monkeypatch):
        until(lambda: one.problem is None)
    assert slices(kube)[0]["spec"]["devices"][0]["allowMultipleAllocations"]


SIGN_IN = "<html><body>Sign in to the network</body></html>"


def test_a_page_of_a_proxy_in_place_of_the_api_servers_answer_is_waited_for_to_go(
    kube: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hami_dra.kube.client.RETRY_FOR_S", 0.1)
    listing = f"{RESOURCE_SLICES.path(None)}?{urlencode({'fieldSelector': FIELDS})}"
    kube.texts |= {listing: SIGN_IN, "/version": SIGN_IN}
    with kube_server.serving(kube, tmp_path) as kubeconfig:
        one = Publisher(Client.from_environment(str(kubeconfig)), NODE, DRIVER, Inventory((A10,)))
        with runs(one, kube, monkeypatch):
            until(lambda: "no answer of an API server: '<html>" in (one.problem or ""))
            del kube.texts[listing]
            until(lambda: "/version" in (one.problem or ""))
            kube.texts["/version"] = '{"minor": "36"}'
            until(lambda: one.problem is None)
            assert devices_of(slices(kube)[0]) == [A10.name]


def test_an_api_server_that_comes_back_with_our_slices_as_they_were_is_no_problem_any_more(
    kube: FakeKube, running: Publisher
) -> None:
    with counted("hami_node_slice_publish_failures_total") as failures:
        kube.fail_on = ("list", "resourceslices", 1)
        kube.end_watches()
        until(failures)  # the problem itself may be over before one looks
    until(lambda: running.problem is None, "the plugin to be ready again")
    assert slices(kube)[0]["spec"]["pool"]["generation"] == 1


def test_a_node_that_is_registered_anew_owns_its_slices_again(kube: FakeKube, running: Publisher) -> None:
    """kubectl delete node: the garbage collector takes all that the former Node owned."""
    kube.delete(NODES, NODE)
    kube.create(NODES, {"metadata": {"name": NODE}})
    kube.delete(RESOURCE_SLICES, slices(kube)[0]["metadata"]["name"])
    (item,) = until(lambda: slices(kube))
    assert item["metadata"]["ownerReferences"][0]["uid"] == kube.get(NODES, NODE)["metadata"]["uid"]


def test_a_watch_that_fell_too_far_behind_begins_anew_and_is_no_failure(
    kube: FakeKube, running: Publisher
) -> None:
    with counted("hami_node_slice_publish_failures_total") as failures:
        kube.fail_next = [errors.Gone("too old resource version", status=410)]
        kube.end_watches()
        until(lambda: not kube.fail_next)
        kube.delete(RESOURCE_SLICES, slices(kube)[0]["metadata"]["name"])
        until(lambda: slices(kube))
        assert (failures(), running.problem) == (0, None)


def test_a_changed_inventory_is_published_at_once_and_not_taken_for_a_foreign_change(
    kube: FakeKube, running: Publisher
) -> None:
    running.update(Inventory((A10, SECOND)))
    until(lambda: len(devices_of(slices(kube)[0])) == 2)
    time.sleep(0.1)
    assert slices(kube)[0]["spec"]["pool"]["generation"] == 2


def test_an_inventory_that_could_not_be_published_is_published_when_the_api_server_is_back(
    kube: FakeKube, running: Publisher
) -> None:
    kube.fail_next = [errors.Unavailable("connection refused")] * 3
    running.update(Inventory((A10, SECOND)))
    until(lambda: not kube.fail_next)
    until(lambda: len(devices_of(slices(kube)[0])) == 2)


def test_who_looks_after_the_devices_never_waits_for_the_api_server(
    kube: FakeKube, running: Publisher
) -> None:
    """One list is on its way for ever; meanwhile a card falls sick and recovers, and another is added."""
    gate = kube.gate = Gate("list", "resourceslices", "")
    running.update(Inventory((A10,), {A10.name: (Problem(A10.name, "lost", ""),)}))
    assert gate.reached.wait(60)
    for devices in ((A10,), (A10, SECOND)):
        running.update(Inventory(devices))
    gate.opened.set()
    until(lambda: len(devices_of(slices(kube)[0])) == 2)
    assert "taints" not in slices(kube)[0]["spec"]["devices"][0]
