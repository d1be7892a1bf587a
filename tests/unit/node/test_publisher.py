"""What is written of a node's cards, and what is left alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hami_dra.devices.backend import Problem
from hami_dra.kube import NODES, RESOURCE_SLICES
from hami_dra.model.device import Device
from hami_dra.model.names import DRIVER
from hami_dra.node.inventory import Inventory
from hami_dra.node.publisher import Publisher
from tests.support.cards import A10, NODE, SECOND, card
from tests.support.fake_kube import FakeKube
from tests.unit.node.published import devices_of, drop_sharing, drops, slices
from tests.unit.node.test_slices import cut


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


def test_a_restart_with_the_same_sick_card_writes_nothing(
    kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server adds to a taint since when it is there."""

    def since(spec: dict[str, Any]) -> None:
        for device in spec["devices"]:
            device["taints"][0]["timeAdded"] = "2026-01-01T00:00:00Z"

    drops(kube, monkeypatch, since)
    sick = Inventory((A10,), {A10.name: (Problem(A10.name, "lost", ""),)})
    Publisher(kube, NODE, DRIVER, sick).sync()
    before = slices(kube)
    Publisher(kube, NODE, DRIVER, sick).sync()
    assert slices(kube) == before


def test_of_a_slice_that_is_there_twice_a_restart_leaves_one(kube: FakeKube) -> None:
    """As when the answer to a create was lost, and it was tried again."""
    Publisher(kube, NODE, DRIVER, Inventory((A10,))).sync()
    twice = copy.deepcopy(slices(kube)[0])
    twice["metadata"] = {"name": "twice", "ownerReferences": twice["metadata"]["ownerReferences"]}
    kube.create(RESOURCE_SLICES, twice)
    Publisher(kube, NODE, DRIVER, Inventory((A10,))).sync()
    assert len(slices(kube)) == 1


def test_other_cards_replace_the_slice_with_a_higher_generation(kube: FakeKube) -> None:
    Publisher(kube, NODE, DRIVER, Inventory((A10,))).sync()
    Publisher(kube, NODE, DRIVER, Inventory((A10, SECOND))).sync()
    (item,) = slices(kube)
    assert len(item["spec"]["devices"]) == 2
    assert item["spec"]["pool"]["generation"] == 2


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
    drops(kube, monkeypatch, drop_sharing)
    one = Publisher(kube, NODE, DRIVER, Inventory((A10,)))
    one.sync()
    assert "DRAConsumableCapacity" in (one.problem or "")
    one.sync()
    assert "DRAConsumableCapacity" in (one.problem or "")
    assert slices(kube)[0]["spec"]["pool"]["generation"] == 1, "it is not written over and over"


def many(count: int) -> tuple[Device, ...]:
    return tuple(card(at, f"GPU-{at}", "0000:65:01.0") for at in range(count))


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
    drops(kube, monkeypatch, lambda spec: [device.pop("taints", None) for device in spec.get("devices", [])])
    one = Publisher(
        kube, NODE, DRIVER, Inventory((A10, SECOND), {SECOND.name: (Problem(SECOND.name, "lost", ""),)})
    )
    one.sync()
    assert devices_of(slices(kube)[0]) == [A10.name]
    assert one.problem is None
    one.update(Inventory((A10, SECOND)))
    one.sync()
    assert devices_of(slices(kube)[0]) == [A10.name, SECOND.name]


def test_where_the_cluster_drops_counters_what_they_keep_apart_is_left_out(
    kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_counters(spec: dict[str, Any]) -> None:
        spec.pop("sharedCounters", None)
        for device in spec.get("devices", []):
            device.pop("consumesCounters", None)

    drops(kube, monkeypatch, without_counters)
    one = Publisher(kube, NODE, DRIVER, Inventory((A10, cut(1, 0, 4), cut(1, 0, 8))))
    one.sync()
    (item,) = slices(kube)
    assert devices_of(item) == [A10.name]
    assert item["spec"]["pool"]["resourceSliceCount"] == 1
    assert "DRAPartitionableDevices" in (one.problem or "")


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
