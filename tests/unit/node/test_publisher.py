"""The slice in the API is what we planned, whoever touches it."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from hami_dra.devices.backend import Problem
from hami_dra.kube import NODES, RESOURCE_SLICES, Client
from hami_dra.model import errors
from hami_dra.model.device import Device
from hami_dra.model.names import DRIVER
from hami_dra.node import publisher
from hami_dra.node.inventory import Inventory
from hami_dra.node.publisher import Publisher
from tests.support import kube_server
from tests.support.cards import A10, NODE, SECOND, card
from tests.support.counted import counted
from tests.support.fake_kube import FakeKube, Gate
from tests.support.waiting import until
from tests.unit.node.test_slices import without_sharing

FIELDS = f"spec.nodeName={NODE},spec.driver={DRIVER}"


@pytest.fixture
def kube() -> FakeKube:
    fake = FakeKube()
    fake.create(NODES, {"metadata": {"name": NODE}})
    return fake


def slices(kube: FakeKube) -> list[dict[str, Any]]:
    return kube.list(RESOURCE_SLICES)[0]


@pytest.mark.parametrize(("minor", "count"), [("34", 2), ("34+", 2), ("35", 1), ("36", 1)])
def test_before_1_35_every_card_has_a_slice_of_its_own_so_that_the_scheduler_finds_its_room(
    kube: FakeKube, minor: str, count: int
) -> None:
    kube.texts["/version"] = f'{{"major": "1", "minor": "{minor}"}}'
    Publisher(kube, NODE, DRIVER, Inventory((A10, SECOND))).sync()
    found = slices(kube)
    assert [len(item["spec"]["devices"]) for item in found] == [2 // count] * count
    assert {item["spec"]["pool"]["resourceSliceCount"] for item in found} == {count}


def test_the_first_slice_is_owned_by_the_node_and_named_after_it(kube: FakeKube) -> None:
    one = Publisher(kube, NODE, DRIVER, Inventory((A10,)))
    assert one.problem
    one.sync()
    (item,) = slices(kube)
    assert item["metadata"]["name"].startswith(f"{NODE}-hami-core-gpu.project-hami.io-")
    assert item["metadata"]["ownerReferences"][0]["uid"] == kube.get(NODES, NODE)["metadata"]["uid"]
    assert (item["spec"]["pool"]["generation"], one.problem) == (1, None)


def test_a_restart_with_the_same_cards_writes_nothing(kube: FakeKube) -> None:
    Publisher(kube, NODE, DRIVER, Inventory((A10,))).sync()
    before = slices(kube)
    again = Publisher(kube, NODE, DRIVER, Inventory((A10,)))
    again.sync()
    assert slices(kube) == before
    assert again.problem is None


def test_other_cards_replace_the_slice_with_a_higher_generation(kube: FakeKube) -> None:
    Publisher(kube, NODE, DRIVER, Inventory((A10,))).sync()
    Publisher(kube, NODE, DRIVER, Inventory((A10, SECOND))).sync()
    (item,) = slices(kube)
    assert len(item["spec"]["devices"]) == 2
    assert item["spec"]["pool"]["generation"] == 2


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


def test_other_slices_of_ours_on_this_node_go_and_those_of_others_stay(kube: FakeKube) -> None:
    one = Publisher(kube, NODE, DRIVER, Inventory((A10,)))
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
    one = Publisher(kube, NODE, DRIVER, Inventory((A10,)))
    one.sync()
    assert "DRAConsumableCapacity" in (one.problem or "")
    one.sync()
    assert "DRAConsumableCapacity" in (one.problem or "")
    assert slices(kube)[0]["spec"]["pool"]["generation"] == 1, "it is not written over and over"


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
    kube.lose(RESOURCE_SLICES)
    kube.end_watches()
    until(lambda: not kube.fail_next and slices(kube))
    until(lambda: running.problem is None)


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
    kube.fail_on = ("list", "resourceslices", 1)
    kube.end_watches()
    until(lambda: running.problem)
    until(lambda: running.problem is None, "the plugin to be ready again", 10)
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


def many(count: int) -> tuple[Device, ...]:
    return tuple(card(at, f"GPU-{at}", "0000:65:01.0") for at in range(count))


def devices_of(item: dict[str, Any]) -> list[str]:
    return [device["name"] for device in item["spec"]["devices"]]


def test_more_devices_than_a_slice_holds_become_slices_of_one_generation(kube: FakeKube) -> None:
    Publisher(kube, NODE, DRIVER, Inventory(many(300))).sync()
    found = slices(kube)
    assert sorted(len(devices_of(item)) for item in found) == [44, 128, 128]
    assert {item["spec"]["pool"]["resourceSliceCount"] for item in found} == {3}
    assert {item["spec"]["pool"]["generation"] for item in found} == {1}
    assert len({name for item in found for name in devices_of(item)}) == 300
    again = Publisher(kube, NODE, DRIVER, Inventory(many(300)))
    again.sync()
    assert slices(kube) == found, "a restart writes nothing"


def test_with_a_taint_among_them_slices_hold_64_and_go_back_when_it_is_gone(kube: FakeKube) -> None:
    one = Publisher(kube, NODE, DRIVER, Inventory(many(100)))
    one.sync()
    sick = Problem("hami-gpu-70", "xid", "fallen off the bus", "79")
    one.update(Inventory(many(100), {"hami-gpu-70": (sick,)}))
    one.sync()
    assert sorted(len(devices_of(item)) for item in slices(kube)) == [36, 64]
    (tainted,) = [device for item in slices(kube) for device in item["spec"]["devices"] if "taints" in device]
    assert tainted["name"] == "hami-gpu-70"
    assert tainted["taints"] == [
        {"key": "hami-core-gpu.project-hami.io/xid", "value": "79", "effect": "NoSchedule"}
    ]
    one.update(Inventory(many(100)))
    one.sync()
    (item,) = slices(kube)
    assert (len(devices_of(item)), item["spec"]["pool"]["generation"]) == (100, 3)


def test_a_problem_that_is_not_fatal_is_no_taint(kube: FakeKube) -> None:
    mild = Problem("hami-gpu-0", "hot", "87 C", fatal=False)
    Publisher(kube, NODE, DRIVER, Inventory((A10,), {"hami-gpu-0": (mild,)})).sync()
    assert "taints" not in slices(kube)[0]["spec"]["devices"][0]


def test_where_the_cluster_drops_taints_a_sick_device_is_left_out(
    kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dropping(call: Any) -> Any:
        def store(kind: Any, body: dict[str, Any], *rest: Any) -> Any:
            body = copy.deepcopy(body)
            for device in body["spec"]["devices"]:
                device.pop("taints", None)
            return call(kind, body, *rest)

        return store

    monkeypatch.setattr(kube, "create", dropping(kube.create))
    monkeypatch.setattr(kube, "replace", dropping(kube.replace))
    one = Publisher(
        kube, NODE, DRIVER, Inventory((A10, SECOND), {SECOND.name: (Problem(SECOND.name, "lost", ""),)})
    )
    one.sync()
    assert devices_of(slices(kube)[0]) == [A10.name]
    assert one.problem is None
    one.update(Inventory((A10, SECOND)))
    one.sync()
    assert devices_of(slices(kube)[0]) == [A10.name, SECOND.name]


def test_a_node_without_devices_publishes_an_empty_slice(
    kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = kube.create

    def without_empty_list(kind: Any, body: dict[str, Any], *rest: Any) -> Any:
        spec = {key: value for key, value in body["spec"].items() if value != []}
        return create(kind, body | {"spec": spec}, *rest)

    monkeypatch.setattr(kube, "create", without_empty_list)
    one = Publisher(kube, NODE, DRIVER, Inventory(()))
    one.sync()
    assert [item["spec"].get("devices") for item in slices(kube)] == [None]
    assert one.problem is None
    one.sync()
    assert slices(kube)[0]["spec"]["pool"]["generation"] == 1


def test_during_a_rolling_update_the_older_plugin_puts_nothing_back(kube: FakeKube) -> None:
    newer_is_there = False
    old = Publisher(kube, NODE, DRIVER, Inventory((A10,)), quiet=lambda: newer_is_there)
    old.sync()
    newer_is_there = True
    Publisher(kube, NODE, DRIVER, Inventory((A10, SECOND))).sync()
    old.sync()
    assert (devices_of(slices(kube)[0]), old.problem) == ([A10.name, SECOND.name], None)
    newer_is_there = False  # it crashed
    old.sync()
    assert devices_of(slices(kube)[0]) == [A10.name]


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
