"""Why a Pod waits where its cards are not the cause: on its way from admission to kubelet."""

import dataclasses

import pytest

from hami_dra.model import names
from hami_dra.model.explain import explain
from tests.unit.model.waiting import CLAIMS, WAITING, claim, slice_of, waiting_pod

CONVERTED = waiting_pod(CLAIMS, **{names.CONVERTED_LABEL: "true"})
GATED = CLAIMS | {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}, {"name": "mine"}]}
OTHERS = CLAIMS | {"schedulerName": "volcano"}
UNCONVERTED = {"containers": [{"resources": {"limits": {"nvidia.com/gpumem": "1024"}}}]}
IN_AN_INIT_CONTAINER = {
    "initContainers": [{"resources": {"requests": {"nvidia.com/gpu": "1"}}}],
    "containers": [{"resources": {}}],
}
OF_ANOTHER_FAMILY = {"containers": [{"resources": {"limits": {"huawei.com/Ascend910B3": "1"}}}]}
WHOLE_CARD = {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]}
MAPPED = {"metadata": {"name": names.DRIVER}, "spec": {"extendedResourceName": "nvidia.com/gpu"}}


def event(reason, message):
    return {"reason": reason, "message": message}


def dropped(node):
    made = slice_of(node)
    del made["spec"]["devices"][0]["allowMultipleAllocations"]
    return made


CAUSES = {
    "not converted": (
        {"pod": waiting_pod(UNCONVERTED)},
        "NotConverted",
        "nvidia.com/gpumem was not made a claim",
        "replace --force",
    ),
    "an init container not converted": (
        {"pod": waiting_pod(IN_AN_INIT_CONTAINER)},
        "NotConverted",
        "nvidia.com/gpu was not made a claim",
        "replace --force",
    ),
    "another family not converted": (
        {"pod": waiting_pod(OF_ANOTHER_FAMILY), "resources": {"huawei.com/Ascend910B3"}},
        "NotConverted",
        "huawei.com/Ascend910B3 was not made a claim",
        "replace --force",
    ),
    "half converted": (
        {"pod": waiting_pod(UNCONVERTED | CLAIMS)},
        "NotConverted",
        "nvidia.com/gpumem was not made a claim",
        "replace --force",
    ),
    "mapped by Kubernetes": (
        {
            "pod": waiting_pod(WHOLE_CARD),
            "classes": [MAPPED],
            "events": [event("FailedScheduling", "0/3 nodes are available")],
        },
        "Scheduler",
        f"nvidia.com/gpu, which Kubernetes takes from DeviceClass {names.DRIVER}: 0/3 nodes",
        "describe pod",
    ),
    "served by Kubernetes itself, and not yet looked at": (
        {"pod": waiting_pod(WHOLE_CARD), "classes": [MAPPED]},
        "Scheduler",
        f"nvidia.com/gpu, which Kubernetes takes from DeviceClass {names.DRIVER}: not seen yet",
        "describe pod",
    ),
    "gates": (
        {"pod": waiting_pod(GATED)},
        "Gated",
        "is held back by kueue.x-k8s.io/admission, mine:",
        "describe pod",
    ),
    "class": (
        {"classes": []},
        "NoDeviceClass",
        f"DeviceClass {names.DRIVER} does not exist",
        "kubectl get deviceclass",
    ),
    "gate in the API server": (
        {"slices": [dropped("a")]},
        "FeatureGate",
        "DRAConsumableCapacity is off in the API server",
        "site.yml",
    ),
    "gate in the scheduler": (
        {"events": [event("FailedScheduling", "the DRAConsumableCapacity feature is disabled")]},
        "FeatureGate",
        "off in the scheduler",
        "site.yml",
    ),
    "user's claim": (
        {"claims": []},
        "NoClaim",
        "a claim or template that it names does not exist",
        "kubectl -n ml get resourceclaims,resourceclaimtemplates",
    ),
    "our claim": (
        {"claims": [], "pod": CONVERTED, "system": "shares"},
        "NoClaim",
        "claim has not been made yet",
        "kubectl -n shares logs -l app.kubernetes.io/component=webhook",
    ),
    "quota": (
        {"claims": [], "events": [event("ClaimRefused", "exceeded quota: gpus, requested: 1, limited: 0")]},
        "Quota",
        "beyond the namespace's quota: exceeded quota: gpus",
        "kubectl -n ml describe resourcequota",
    ),
    "quota of a template": (
        {"claims": [], "events": [event("FailedResourceClaimCreation", "x exceeded quota: gpus")]},
        "Quota",
        "exceeded quota: gpus",
        "describe resourcequota",
    ),
    "another scheduler": (
        {"pod": waiting_pod(OTHERS)},
        "Scheduler",
        "waits for volcano, which has not said yet",
        "describe pod",
    ),
    "prepare": (
        {
            "claims": [claim(allocated_to="a")],
            "events": [event("FailedPrepareDynamicResources", "no such card")],
            "system": "shares",
        },
        "PrepareFailed",
        "could not be prepared: no such card",
        "kubectl -n shares logs -l app.kubernetes.io/component=driver",
    ),
    "something else": (
        {"claims": [claim(allocated_to="a")]},
        "Other",
        "has its share and waits for something else",
        "describe pod",
    ),
}


@pytest.mark.parametrize(("change", "reason", "words", "command"), CAUSES.values(), ids=CAUSES)
def test_each_cause_has_its_own_sentence_reason_and_a_next_command(change, reason, words, command):
    found = explain(dataclasses.replace(WAITING, **change))
    assert (found.waiting, found.reason) == (True, reason)
    assert words in found.sentence
    assert command in found.next


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


def test_a_pod_that_says_it_wants_no_card_does_not_wait_for_one():
    spec = {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "0", "nvidia.com/gpumem": 0}}}]}
    found = explain(dataclasses.replace(WAITING, pod=waiting_pod(spec), claims=[]))
    assert (found.waiting, found.reason) == (True, "Other")
    assert "asks for no claim" in found.sentence


def test_instances_that_are_created_on_demand_are_whole_and_say_nothing_of_the_gate():
    instance = dropped("a")
    instance["spec"]["devices"][0]["attributes"]["dynamic"] = {"bool": True}
    assert explain(dataclasses.replace(WAITING, slices=[instance])).reason != "FeatureGate"
