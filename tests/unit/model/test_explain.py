import dataclasses

import pytest

from hami_dra.model import names
from hami_dra.model.explain import View, explain

CARD = {"memory": {"value": "23028Mi"}, "cores": {"value": "100"}}


def claim(memory="10Gi", cores="50", allocated_to=None, device_class=names.DRIVER):
    made = {
        "spec": {
            "devices": {
                "requests": [
                    {
                        "name": "gpu",
                        "exactly": {
                            "deviceClassName": device_class,
                            "capacity": {"requests": {"memory": memory, "cores": cores}},
                        },
                    }
                ]
            }
        }
    }
    if allocated_to:
        result = {
            "driver": names.DRIVER,
            "pool": allocated_to,
            "device": "hami-gpu-0",
            "consumedCapacity": {"memory": memory, "cores": cores},
        }
        made["status"] = {"allocation": {"devices": {"results": [result]}}}
    return made


def slice_of(node):
    device = {"name": "hami-gpu-0", "capacity": CARD}
    return {"spec": {"driver": names.DRIVER, "pool": {"name": node}, "devices": [device]}}


WAITING = View(
    pod={
        "metadata": {"name": "train", "namespace": "ml"},
        "spec": {"resourceClaims": [{"name": "gpu", "resourceClaimName": "half"}]},
        "status": {"phase": "Pending"},
    },
    claims=[claim()],
    events=[],
    slices=[slice_of("a")],
    all_claims=[],
    nodes=[{"metadata": {"name": "a", "labels": {"gpu": "on"}}}],
    classes=[{"metadata": {"name": names.DRIVER}}],
)


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"classes": []}, "NoDeviceClass", ["DeviceClass", names.DRIVER, "does not exist"]),
        ({"claims": []}, "NoClaim", ["claim has not been made yet"]),
        ({"slices": [], "nodes": [{"metadata": {"name": "a"}}]}, "NoNode", ["no node is labelled gpu=on"]),
        ({"slices": []}, "NoCard", ["no node publishes a card"]),
        ({"claims": [claim(memory="100Gi")]}, "TooLarge", ["memory 100Gi", "largest card has 23028Mi"]),
        (
            {"all_claims": [claim(memory="20Gi", allocated_to="a")]},
            "NoRoom",
            ["waits for room", "memory 10Gi", "memory 2548Mi"],
        ),
        (
            {
                "claims": [claim(allocated_to="a")],
                "events": [{"reason": "FailedPrepareDynamicResources", "message": "no such card"}],
            },
            "PrepareFailed",
            ["could not be prepared", "no such card"],
        ),
    ],
    ids=["class", "claim", "label", "plugin", "impossible", "full", "prepare"],
)
def test_each_cause_has_its_own_sentence_reason_and_a_next_command(change, reason, words):
    found = explain(dataclasses.replace(WAITING, **change))
    assert (found.waiting, found.reason) == (True, reason)
    assert found.next
    for word in words:
        assert word in found.sentence


def test_a_running_pod_does_not_wait():
    pod = WAITING.pod | {"status": {"phase": "Running"}}
    assert not explain(dataclasses.replace(WAITING, pod=pod)).waiting


def test_the_schedulers_words_are_told_after_its_events_are_gone():
    said = {"reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient cpu."}
    pod = WAITING.pod | {"status": {"phase": "Pending", "conditions": [said]}}
    found = explain(dataclasses.replace(WAITING, pod=pod))
    assert found.reason == "Scheduler"
    assert "Insufficient cpu" in found.sentence


def test_room_is_that_of_the_family_that_is_asked_for():
    npu = "ascend.project-hami.io"
    device = {"name": "ascend-0", "capacity": {"memory": {"value": "64Gi"}}}
    npus = {"spec": {"driver": npu, "pool": {"name": "a"}, "devices": [device]}}
    asked = claim("96Gi", device_class=npu)
    del asked["spec"]["devices"]["requests"][0]["exactly"]["capacity"]["requests"]["cores"]
    classes = [{"metadata": {"name": npu}}]
    view = dataclasses.replace(WAITING, claims=[asked], slices=[slice_of("a"), npus], classes=classes)
    said = explain(view)
    assert (said.reason, "the largest card has 64Gi" in said.sentence) == ("TooLarge", True)
    large = claim("48Gi")
    said = explain(dataclasses.replace(view, claims=[large], classes=WAITING.classes))
    assert said.reason == "TooLarge", "an NPU's memory is no room for a GPU's share"
