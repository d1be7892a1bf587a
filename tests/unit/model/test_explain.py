import dataclasses

import pytest

from hami_dra.model import names
from hami_dra.model.choice import Choice
from hami_dra.model.explain import explain
from hami_dra.model.explanation import View

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
    attributes = {"productName": "NVIDIA A10", "uuid": f"GPU-{node}", "type": "hami-gpu"}
    device = {
        "name": "hami-gpu-0",
        "allowMultipleAllocations": True,
        "attributes": {key: {"string": value} for key, value in attributes.items()},
        "capacity": CARD,
    }
    return {"spec": {"driver": names.DRIVER, "pool": {"name": node}, "devices": [device]}}


def waiting_pod(spec, **labels):
    return {"metadata": {"name": "train", "namespace": "ml", "labels": labels}, "spec": spec}


CLAIMS = {"resourceClaims": [{"name": "gpu", "resourceClaimName": "half"}]}
GATED = CLAIMS | {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}, {"name": "mine"}]}
OTHERS = CLAIMS | {"schedulerName": "volcano"}
CONVERTED = waiting_pod(CLAIMS, **{names.CONVERTED_LABEL: "true"})
WAITING = View(
    pod={
        "metadata": {"name": "train", "namespace": "ml"},
        "spec": CLAIMS,
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
        ({"claims": []}, "NoClaim", ["a claim or template that it names does not exist"]),
        ({"claims": [], "pod": CONVERTED}, "NoClaim", ["claim has not been made yet"]),
        ({"slices": [], "nodes": [{"metadata": {"name": "a"}}]}, "NoNode", ["no node is labelled gpu=on"]),
        ({"slices": []}, "NoCard", ["no node publishes a card"]),
        ({"slices": [], "labels": "a=b,c=d"}, "NoNode", ["no node is labelled a=b,c=d"]),
        ({"slices": [], "labels": ""}, "NoCard", ["no node publishes a card"]),
        ({"claims": [claim(memory="100Gi")]}, "TooLarge", ["memory 100Gi", "largest card has 23028Mi"]),
        (
            {"all_claims": [claim(memory="20Gi", allocated_to="a")]},
            "NoRoom",
            ["waits for room", "memory 10Gi", "memory 2548Mi"],
        ),
        ({"pod": waiting_pod(GATED)}, "Gated", ["is held back by kueue.x-k8s.io/admission, mine:"]),
        ({"pod": waiting_pod(OTHERS)}, "Scheduler", ["waits for volcano, which has not said yet"]),
        ({"claims": [claim(allocated_to="a")]}, "Other", ["has its share and waits for something else"]),
        (
            {
                "claims": [claim(allocated_to="a")],
                "events": [{"reason": "FailedPrepareDynamicResources", "message": "no such card"}],
            },
            "PrepareFailed",
            ["could not be prepared", "no such card"],
        ),
    ],
    ids=[
        *(
            "class",
            "user's claim",
            "claim",
            "label",
            "plugin",
            "other labels",
            "any node",
            "impossible",
            "full",
        ),
        *("gates", "another scheduler", "a share", "prepare"),
    ],
)
def test_each_cause_has_its_own_sentence_reason_and_a_next_command(change, reason, words):
    found = explain(dataclasses.replace(WAITING, **change))
    assert (found.waiting, found.reason) == (True, reason)
    assert found.next
    for word in words:
        assert word in found.sentence


def with_choice(*choices, memory="1Gi"):
    made = claim(memory=memory)
    expressions = [choice.expression(names.DRIVER) for choice in choices]
    made["spec"]["devices"]["requests"][0]["exactly"]["selectors"] = [
        {"cel": {"expression": expression}} for expression in expressions
    ]
    return made


def percentage(*memories):
    made = claim()
    (request,) = made["spec"]["devices"]["requests"]
    exactly = request.pop("exactly")
    request["firstAvailable"] = [
        exactly | {"name": f"size-{at}", "capacity": {"requests": {"memory": memory}}}
        for at, memory in enumerate(memories)
    ]
    return made


def event(reason, message):
    return {"reason": reason, "message": message}


def dropped(node):
    made = slice_of(node)
    del made["spec"]["devices"][0]["allowMultipleAllocations"]
    return made


UNCONVERTED = {"containers": [{"resources": {"limits": {"nvidia.com/gpumem": "1024"}}}]}
IN_AN_INIT_CONTAINER = {
    "initContainers": [{"resources": {"requests": {"nvidia.com/gpu": "1"}}}],
    "containers": [{"resources": {}}],
}
OF_ANOTHER_FAMILY = {"containers": [{"resources": {"limits": {"huawei.com/Ascend910B3": "1"}}}]}
HALF_CONVERTED = UNCONVERTED | {"resourceClaims": [{"name": "gpu", "resourceClaimName": "half"}]}
WHOLE_CARD = {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]}
MAPPED = {"metadata": {"name": names.DRIVER}, "spec": {"extendedResourceName": "nvidia.com/gpu"}}


TWO_CARDS = claim(memory="1Gi")
TWO_CARDS["spec"]["devices"]["requests"] *= 2
TWO_LARGE = claim(memory="15Gi")
TWO_LARGE["spec"]["devices"]["requests"] *= 2
MIXED = slice_of("a")
SMALL = {"name": "hami-gpu-1", "capacity": CARD | {"memory": {"value": "8Gi"}}}
MIXED["spec"]["devices"].append(MIXED["spec"]["devices"][0] | SMALL)
WHOLE = claim()
del WHOLE["spec"]["devices"]["requests"][0]["exactly"]["capacity"]


@pytest.mark.parametrize(
    ("change", "reason", "words", "command"),
    [
        (
            {"claims": [with_choice(Choice("productName", ("H100",), True))]},
            "NoMatch",
            ["no card is of type h100; there are NVIDIA A10"],
            "kubectl get resourceslices",
        ),
        (
            {"claims": [with_choice(Choice("productName", ("a10",), False))]},
            "NoMatch",
            ["no card is of type other than a10"],
            "kubectl get resourceslices",
        ),
        (
            {"claims": [with_choice(Choice("uuid", ("GPU-x", "GPU-y"), True))]},
            "NoMatch",
            ["no card is of UUID GPU-x or GPU-y; there are GPU-a"],
            "kubectl get resourceslices",
        ),
        (
            {
                "claims": [],
                "events": [event("ClaimRefused", "exceeded quota: gpus, requested: 1, limited: 0")],
            },
            "Quota",
            ["beyond the namespace's quota", "exceeded quota: gpus"],
            "kubectl -n ml describe resourcequota",
        ),
        (
            {"claims": [], "events": [event("FailedResourceClaimCreation", "x exceeded quota: gpus")]},
            "Quota",
            ["exceeded quota: gpus"],
            "describe resourcequota",
        ),
        (
            {"slices": [dropped("a")]},
            "FeatureGate",
            ["DRAConsumableCapacity is off in the API server"],
            "site.yml",
        ),
        (
            {"events": [event("FailedScheduling", "the DRAConsumableCapacity feature is disabled")]},
            "FeatureGate",
            ["off in the scheduler"],
            "site.yml",
        ),
        (
            {"pod": {"metadata": {"name": "train", "namespace": "ml"}, "spec": UNCONVERTED}},
            "NotConverted",
            ["nvidia.com/gpumem was not made a claim"],
            "replace --force",
        ),
        (
            {"pod": waiting_pod(IN_AN_INIT_CONTAINER)},
            "NotConverted",
            ["nvidia.com/gpu was not made a claim"],
            "replace --force",
        ),
        (
            {"pod": waiting_pod(OF_ANOTHER_FAMILY), "resources": {"huawei.com/Ascend910B3"}},
            "NotConverted",
            ["huawei.com/Ascend910B3 was not made a claim"],
            "replace --force",
        ),
        (
            {"pod": waiting_pod(HALF_CONVERTED)},
            "NotConverted",
            ["nvidia.com/gpumem was not made a claim"],
            "replace --force",
        ),
        (
            {
                "pod": waiting_pod(WHOLE_CARD),
                "classes": [MAPPED],
                "events": [{"reason": "FailedScheduling", "message": "0/3 nodes are available"}],
            },
            "Scheduler",
            [f"nvidia.com/gpu, which Kubernetes takes from DeviceClass {names.DRIVER}: 0/3 nodes"],
            "describe pod",
        ),
        (
            {"claims": [TWO_CARDS]},
            "TooLarge",
            ["asks for 2 cards, and no node has more than 1"],
            "kubectl get resourceslices",
        ),
        (
            {"claims": [TWO_LARGE], "slices": [MIXED]},
            "TooLarge",
            ["asks for 2 cards, and no node has more than 1"],
            "kubectl get resourceslices",
        ),
        (
            {"claims": [claim(cores="60"), claim(cores="60")]},
            "TooLarge",
            ["no node has as much as its claims ask for together"],
            "kubectl get resourceslices",
        ),
        (
            {"claims": [WHOLE, claim(memory="1Gi")], "slices": [slice_of("a"), slice_of("b")]},
            "TooLarge",
            ["no node has as much as its claims ask for together"],
            "kubectl get resourceslices",
        ),
        (
            {"claims": [percentage("20Gi", "80Gi")], "all_claims": [claim(memory="10Gi", allocated_to="a")]},
            "NoRoom",
            ["memory 20Gi", "memory 12788Mi free"],
            "kubectl get resourceclaims -A",
        ),
        (
            {"claims": [WHOLE], "all_claims": [claim(memory="1Mi", cores="0", allocated_to="a")]},
            "NoRoom",
            ["asks for a whole card", "memory 23027Mi free"],
            "kubectl get resourceclaims -A",
        ),
        (
            {"claims": [claim(cores="60")], "all_claims": [claim(memory="1Gi", allocated_to="a")]},
            "NoRoom",
            ["asks for cores 60", "cores 50, memory"],
            "kubectl get resourceclaims -A",
        ),
    ],
    ids=[
        *("type", "excluded type", "uuid", "quota", "quota of a template", "gate", "gate in the scheduler"),
        *("not converted", "init container", "another family", "half converted", "mapped by Kubernetes"),
        *(
            "two cards",
            "two large cards",
            "two shares of one node",
            "a card and a share",
            "percentage",
            "whole card",
            "cores",
        ),
    ],
)
def test_what_was_asked_for_is_named_with_what_there_is(change, reason, words, command):
    found = explain(dataclasses.replace(WAITING, **change))
    assert (found.waiting, found.reason) == (True, reason)
    for word in words:
        assert word in found.sentence
    assert command in found.next


def test_a_percentage_that_fits_one_kind_of_card_does_not_wait_for_room():
    found = explain(dataclasses.replace(WAITING, claims=[percentage("1Gi", "80Gi")]))
    assert found.reason == "Scheduler"


def test_selectors_of_a_users_own_are_taken_for_true():
    own = claim()
    own["spec"]["devices"]["requests"][0]["exactly"]["selectors"] = [
        {"cel": {"expression": "device.x > '\\x41'"}}
    ]
    assert explain(dataclasses.replace(WAITING, claims=[own])).reason == "Scheduler"


def test_a_running_pod_does_not_wait():
    pod = WAITING.pod | {"status": {"phase": "Running"}}
    assert not explain(dataclasses.replace(WAITING, pod=pod)).waiting
    leaving = WAITING.pod | {"metadata": WAITING.pod["metadata"] | {"deletionTimestamp": "now"}}
    found = explain(dataclasses.replace(WAITING, pod=leaving))
    assert (found.waiting, found.sentence) == (False, "ml/train does not wait: it is being deleted.")


@pytest.mark.parametrize("reason", ["Unschedulable", "SchedulerError"])
def test_the_schedulers_words_are_told_after_its_events_are_gone(reason):
    said = {"reason": reason, "message": "0/3 nodes are available: 3 Insufficient cpu."}
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


def test_a_pod_that_says_it_wants_no_card_does_not_wait_for_one():
    spec = {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "0", "nvidia.com/gpumem": 0}}}]}
    found = explain(dataclasses.replace(WAITING, pod=waiting_pod(spec), claims=[]))
    assert (found.waiting, found.reason) == (True, "Other")
    assert "asks for no claim" in found.sentence
