"""Devices as the ResourceSlice that the guide prints."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hami_dra.devices.backend import Problem
from hami_dra.model.device import Capacity, Device, Parts
from hami_dra.model.names import DRIVER, MIB
from hami_dra.node.slices import dropped_fields, dropped_message, pool, resource_slice, semver, without_times
from tests.support.cards import A10, NODE, SECOND, card

GUIDE = Path(__file__).parents[2] / "guide" / "resourceslice.expected.yaml"


def without_sharing(body: dict[str, Any]) -> dict[str, Any]:
    """The guide's print leaves these two out."""
    short = copy.deepcopy(body)
    for device in short["spec"]["devices"]:
        del device["allowMultipleAllocations"]
        for capacity in device["capacity"].values():
            del capacity["requestPolicy"]
    return short


def test_the_guides_card_becomes_the_guides_slice() -> None:
    expected = yaml.safe_load(GUIDE.read_text())
    uid = expected["metadata"]["ownerReferences"][0]["uid"]
    assert without_sharing(resource_slice(NODE, DRIVER, [A10], node_uid=uid)) == expected


def test_a_card_can_be_given_to_many_by_memory_and_cores() -> None:
    (device,) = resource_slice(NODE, DRIVER, [A10])["spec"]["devices"]
    assert device["allowMultipleAllocations"] is True
    assert device["capacity"]["memory"]["requestPolicy"] == {
        "default": "23028Mi",
        "validRange": {"min": "1Mi", "max": "23028Mi", "step": "1Mi"},
    }
    assert device["capacity"]["cores"]["requestPolicy"] == {
        "default": "0",
        "validRange": {"min": "0", "max": "100", "step": "1"},
    }


def test_without_a_cluster_there_is_no_owner() -> None:
    assert resource_slice(NODE, DRIVER, [A10])["metadata"] == {
        "generateName": f"{NODE}-hami-core-gpu.project-hami.io-"
    }


def test_devices_come_in_the_order_in_which_the_scheduler_shall_fill_them() -> None:
    devices = resource_slice(NODE, DRIVER, [SECOND, A10])["spec"]["devices"]
    assert [device["name"] for device in devices] == ["hami-gpu-1", "hami-gpu-0"]


def test_a_pool_without_devices_is_known_again_although_no_empty_list_is_stored() -> None:
    (planned,) = pool(NODE, DRIVER, (), {}, node_uid=None, generation=1)
    stored = {key: value for key, value in planned["spec"].items() if value}
    assert without_times(stored) == planned["spec"]


def test_a_device_that_is_not_shared_tells_what_it_has_and_goes_to_one_claim() -> None:
    whole = Device(
        "npu-0", "npu-0", {"ready": True}, (Capacity("memory", 1 << 30, 1 << 30, in_bytes=True),), False
    )
    (device,) = resource_slice(NODE, "npu.example", [whole])["spec"]["devices"]
    assert device == {
        "attributes": {"ready": {"bool": True}},
        "capacity": {"memory": {"value": "1Gi"}},
        "name": "npu-0",
    }


def test_amounts_that_come_in_sizes_are_published_as_the_sizes() -> None:
    sizes = Capacity("memory", 4 << 30, 4 << 30, values=(1 << 30, 4 << 30), in_bytes=True)
    (device,) = resource_slice(NODE, "npu.example", [Device("npu-0", "npu-0", {}, (sizes,))])["spec"][
        "devices"
    ]
    assert device["capacity"]["memory"] == {
        "requestPolicy": {"default": "4Gi", "validValues": ["1Gi", "4Gi"]},
        "value": "4Gi",
    }


def test_a_card_with_no_known_pcie_root_is_published_without_the_attribute() -> None:
    attributes = {name: value for name, value in A10.attributes.items() if "pcieRoot" not in name}
    (device,) = resource_slice(NODE, DRIVER, [replace(A10, attributes=attributes)])["spec"]["devices"]
    assert not [name for name in device["attributes"] if "pcieRoot" in name]


def test_memory_that_is_no_whole_mib_is_rounded_down_so_that_the_steps_end_on_it() -> None:
    (device,) = resource_slice(NODE, DRIVER, [card(0, "GPU-1", "0000:65:01.0", memory=23028 * MIB + 5)])[
        "spec"
    ]["devices"]
    assert device["capacity"]["memory"]["value"] == "23028Mi"


@pytest.mark.parametrize(
    ("text", "strict"),
    [("550.144.03", "550.144.3"), ("12.4", "12.4.0"), ("8.6", "8.6.0"), ("535", "535.0.0")],
)
def test_versions_are_written_in_the_strict_form(text: str, strict: str) -> None:
    assert semver(text) == strict


def test_fields_that_the_server_dropped_are_named() -> None:
    sent = resource_slice(NODE, DRIVER, [A10])["spec"]
    assert dropped_fields(sent, sent) == []
    lost = dropped_fields(sent, without_sharing({"spec": sent})["spec"])
    assert "spec.devices[0].allowMultipleAllocations" in lost
    assert "spec.devices[0].capacity.memory.requestPolicy" in lost


def test_a_name_that_is_too_long_is_cut_and_does_not_cost_the_slice() -> None:
    """The API server counts bytes."""
    for name in ("NVIDIA " * 20, "Ascend " + "昇腾" * 20):
        long = replace(A10, attributes={**A10.attributes, "productName": name})
        (device,) = resource_slice(NODE, DRIVER, [long])["spec"]["devices"]
        cut = device["attributes"]["productName"]["string"]
        assert name.startswith(cut)
        assert 60 < len(cut.encode()) <= 64


def cut(whole: int, start: int, size: int, total: int = 8) -> Device:
    name = f"hami-mig-{whole}-{size}-{start}"
    parts = Parts(f"hami-gpu-{whole}", tuple(range(start, start + size)), total)
    return Device(name, f"GPU-{name}", {"productName": "NVIDIA A100"}, shared=False, parts=parts)


def specs(devices: list[Device], kubernetes: int = 36) -> list[dict[str, Any]]:
    made = pool(NODE, DRIVER, devices, {}, node_uid="uid", generation=1, kubernetes=kubernetes)
    assert {item["spec"]["pool"]["resourceSliceCount"] for item in made} == {len(made)}
    return [item["spec"] for item in made]


def test_devices_that_are_cut_from_one_consume_its_slices_which_stand_by_themselves() -> None:
    counters, devices = specs([A10, cut(1, 0, 4), cut(1, 4, 4)])
    assert "devices" not in counters
    (of_card,) = counters["sharedCounters"]
    assert (of_card["name"], len(of_card["counters"])) == ("hami-gpu-1", 8)
    assert "consumesCounters" not in devices["devices"][0]
    taken = [list(device["consumesCounters"][0]["counters"]) for device in devices["devices"][1:]]
    assert taken == [[f"slice-{at}" for at in range(4)], [f"slice-{at}" for at in range(4, 8)]]


def test_more_cards_and_instances_than_a_slice_holds_are_in_several() -> None:
    devices = [cut(whole, start, 1) for whole in range(9) for start in range(8)]
    found = specs(devices)
    assert [len(spec.get("sharedCounters", [])) for spec in found] == [8, 1, 0, 0]
    assert [len(spec.get("devices", [])) for spec in found] == [0, 0, 64, 8]


def test_before_counters_stood_by_themselves_what_needs_them_is_left_out() -> None:
    (spec,) = specs([A10, cut(1, 0, 4)], kubernetes=34)
    assert [device["name"] for device in spec["devices"]] == ["hami-gpu-0"]


def test_counters_that_the_server_dropped_are_told_with_their_gate() -> None:
    (_, sent) = specs([cut(1, 0, 4)])
    stored = copy.deepcopy(sent)
    del stored["devices"][0]["consumesCounters"]
    said = dropped_message(dropped_fields(sent, stored))
    assert said is not None
    assert "DRAPartitionableDevices" in said


def test_a_device_with_more_problems_than_the_api_takes_as_taints_does_not_cost_the_slice() -> None:
    problems = [Problem(A10.name, f"fault-{at:02}", "", "") for at in range(20)]
    (device,) = resource_slice(NODE, DRIVER, [A10], {A10.name: problems})["spec"]["devices"]
    assert len(device["taints"]) == 16, "ResourceSlice: at most 16 taints a device"


def test_a_slice_of_counters_is_compared_as_it_is() -> None:
    """Else a plugin that starts would write slices anew which are as they should be."""
    spec = resource_slice("n", DRIVER, [], counters=[{"name": "card", "counters": {}}])["spec"]
    assert without_times(spec) == spec
