"""Why a Pod waits where it is for the cards: what was asked for is named with what there is."""

import dataclasses

import pytest

from hami_dra.model import names
from hami_dra.model.choice import Choice
from hami_dra.model.explain import explain
from tests.unit.model.waiting import CARD, WAITING, claim, slice_of

SLICES, CLAIMS = "kubectl get resourceslices", "kubectl get resourceclaims -A"


def with_choice(attribute, *values, keep=True):
    return with_choices(Choice(attribute, values, keep))


def with_choices(*choices):
    made = claim(memory="1Gi")
    selectors = [{"cel": {"expression": choice.expression(names.DRIVER)}} for choice in choices]
    made["spec"]["devices"]["requests"][0]["exactly"]["selectors"] = selectors
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


def one_of(memory_by_uuid):
    """A card of one UUID with so much memory, or of the next."""
    made = percentage(*memory_by_uuid.values())
    for one, uuid in zip(
        made["spec"]["devices"]["requests"][0]["firstAvailable"], memory_by_uuid, strict=True
    ):
        choice = Choice("uuid", (uuid,), keep=True)
        one["selectors"] = [{"cel": {"expression": choice.expression(names.DRIVER)}}]
    return made


def two_cards(memory, kind=""):
    made = with_choice("productName", kind) if kind else claim(memory=memory)
    made["spec"]["devices"]["requests"] *= 2
    return made


def whole_card():
    made = claim()
    del made["spec"]["devices"]["requests"][0]["exactly"]["capacity"]
    return made


def taken(**result):
    made = claim(allocated_to="a")
    (held,) = made["status"]["allocation"]["devices"]["results"]
    del held["consumedCapacity"]
    held.update(result)
    return made


def mixed_slice(node="a", first="23028Mi", memory="8Gi", **attributes):
    made = slice_of(node)
    (large,) = made["spec"]["devices"]
    large["capacity"] = CARD | {"memory": {"value": first}}
    other = {"attributes": large["attributes"] | attributes, "capacity": CARD | {"memory": {"value": memory}}}
    made["spec"]["devices"].append(large | {"name": "hami-gpu-1"} | other)
    return made


def large_with_few_cores():
    made = mixed_slice()
    made["spec"]["devices"][0]["capacity"]["cores"] = {"value": "40"}
    return made


TWO_UUIDS = mixed_slice(memory="80Gi", uuid={"string": "GPU-b"})

SHORTAGES = {
    "label": (
        {"slices": [], "nodes": [{"metadata": {"name": "a"}}]},
        "NoNode",
        ["no node is labelled gpu=on"],
        "kubectl label node NODE gpu=on",
    ),
    "other labels": (
        {"slices": [], "labels": "a=b,c=d"},
        "NoNode",
        ["no node is labelled a=b,c=d"],
        "kubectl label node NODE a=b c=d",
    ),
    "plugin": ({"slices": []}, "NoCard", ["no node publishes a card"], "hami doctor"),
    "any node": ({"slices": [], "labels": ""}, "NoCard", ["no node publishes a card"], "hami doctor"),
    "type": (
        {"claims": [with_choice("productName", "H100")]},
        "NoMatch",
        ["no card is of type h100; there are NVIDIA A10"],
        SLICES,
    ),
    "excluded type": (
        {"claims": [with_choice("productName", "a10", keep=False)]},
        "NoMatch",
        ["no card is of type other than a10"],
        SLICES,
    ),
    "uuid": (
        {"claims": [with_choice("uuid", "GPU-x", "GPU-y")]},
        "NoMatch",
        ["no card is of UUID GPU-x or GPU-y; there are GPU-a"],
        SLICES,
    ),
    "the type of one card and the uuid of another": (
        {
            "claims": [
                with_choices(Choice("productName", ("L4",), keep=True), Choice("uuid", ("GPU-a",), keep=True))
            ],
            "slices": [
                mixed_slice(productName={"string": "NVIDIA L4"}, uuid={"string": "GPU-other"}),
            ],
        },
        "NoMatch",
        ["no card meets all that it asks for together"],
        SLICES,
    ),
    "impossible": (
        {"claims": [claim(memory="100Gi")]},
        "TooLarge",
        ["memory 100Gi", "largest card has 23028Mi"],
        SLICES,
    ),
    "impossible, each of two in its own way": (
        {"claims": [one_of({"GPU-a": "50Gi", "GPU-b": "200Gi"})], "slices": [TWO_UUIDS]},
        "TooLarge",
        ["asks for memory 200Gi and the largest card has 80Gi"],
        SLICES,
    ),
    "full, each of two in its own way": (
        {
            "claims": [one_of({"GPU-a": "10Gi", "GPU-b": "60Gi"})],
            "slices": [TWO_UUIDS],
            "all_claims": [
                claim(memory=memory, allocated_to="a", device=device)
                for memory, device in (("20Gi", "hami-gpu-0"), ("40Gi", "hami-gpu-1"))
            ],
        },
        "NoRoom",
        ["asks for memory 60Gi, and the emptiest card has memory 40Gi free"],
        CLAIMS,
    ),
    "impossible by one amount on each card": (
        {"claims": [claim(memory="20Gi", cores="60")], "slices": [large_with_few_cores()]},
        "TooLarge",
        ["asks for cores 60 and the largest card has 40"],
        SLICES,
    ),
    "two cards": (
        {"claims": [two_cards("1Gi")]},
        "TooLarge",
        ["asks for 2 cards, and no node has more than 1"],
        SLICES,
    ),
    "two large cards": (
        {"claims": [two_cards("15Gi")], "slices": [mixed_slice()]},
        "TooLarge",
        ["asks for 2 cards, and no node has more than 1"],
        SLICES,
    ),
    "two cards of a type": (
        {"claims": [two_cards("1Gi", "A10")], "slices": [mixed_slice(productName={"string": "NVIDIA L4"})]},
        "TooLarge",
        ["asks for 2 cards, and no node has more than 1"],
        SLICES,
    ),
    "many cards, and a large one elsewhere": (
        {
            "claims": [claim(memory="20Gi", cores="0"), claim(memory="8Gi", cores="0")],
            "slices": [
                mixed_slice(memory="15Gi", first="15Gi"),
                mixed_slice(node="b", memory="1Gi", first="20Gi"),
            ],
        },
        "TooLarge",
        ["no node has as much as its claims ask for together"],
        SLICES,
    ),
    "two shares of one node": (
        {"claims": [claim(cores="60"), claim(cores="60")]},
        "TooLarge",
        ["no node has as much as its claims ask for together"],
        SLICES,
    ),
    "a card and a share": (
        {"claims": [whole_card(), claim(memory="1Gi")], "slices": [slice_of("a"), slice_of("b")]},
        "TooLarge",
        ["no node has as much as its claims ask for together"],
        SLICES,
    ),
    "full": (
        {"all_claims": [claim(memory="20Gi", allocated_to="a")]},
        "NoRoom",
        ["waits for room: it asks for memory 10Gi, and the emptiest card has memory 2548Mi free."],
        CLAIMS,
    ),
    "percentage": (
        {"claims": [percentage("20Gi", "80Gi")], "all_claims": [claim(memory="10Gi", allocated_to="a")]},
        "NoRoom",
        ["memory 20Gi", "memory 12788Mi free"],
        CLAIMS,
    ),
    "whole card": (
        {"claims": [whole_card()], "all_claims": [claim(memory="1Mi", cores="0", allocated_to="a")]},
        "NoRoom",
        ["asks for a whole card", "memory 23027Mi free"],
        CLAIMS,
    ),
    "a device of a family that is not shared": (
        {"claims": [whole_card()], "all_claims": [taken()]},
        "NoRoom",
        ["asks for a whole card, and none is free"],
        CLAIMS,
    ),
    "cores and memory": (
        {"claims": [claim(cores="60")], "all_claims": [claim(memory="20Gi", allocated_to="a")]},
        "NoRoom",
        ["asks for cores 60, memory 10Gi, and the emptiest card has cores 50, memory 2548Mi free."],
        CLAIMS,
    ),
    "cores": (
        {"claims": [claim(cores="60")], "all_claims": [claim(memory="1Gi", allocated_to="a")]},
        "NoRoom",
        ["waits for room: it asks for cores 60, and the emptiest card has cores 50 free."],
        CLAIMS,
    ),
}


@pytest.mark.parametrize(("change", "reason", "words", "command"), SHORTAGES.values(), ids=SHORTAGES)
def test_what_was_asked_for_is_named_with_what_there_is(change, reason, words, command):
    found = explain(dataclasses.replace(WAITING, **change))
    assert (found.waiting, found.reason) == (True, reason)
    for word in words:
        assert word in found.sentence
    assert command in found.next


def test_a_type_that_nobody_has_is_no_cause_while_another_alternative_has_its_card():
    made = claim()
    (request,) = made["spec"]["devices"]["requests"]
    wishes = [with_choice("productName", kind) for kind in ("H100", "A10")]
    request["firstAvailable"] = [wish["spec"]["devices"]["requests"][0]["exactly"] for wish in wishes]
    assert explain(dataclasses.replace(WAITING, claims=[made])).reason == "Scheduler"
    request["firstAvailable"].pop()
    assert explain(dataclasses.replace(WAITING, claims=[made])).reason == "NoMatch"


def test_a_percentage_that_fits_one_kind_of_card_does_not_wait_for_room():
    found = explain(dataclasses.replace(WAITING, claims=[percentage("1Gi", "80Gi")]))
    assert found.reason == "Scheduler"


@pytest.mark.parametrize("result", [{"adminAccess": True}, {"shareID": "one of many"}], ids=["look", "share"])
def test_a_device_that_somebody_only_looks_at_or_shares_is_not_taken_whole(result):
    found = explain(dataclasses.replace(WAITING, claims=[whole_card()], all_claims=[taken(**result)]))
    assert found.reason == "Scheduler"


def test_selectors_of_a_users_own_are_taken_for_true():
    own = claim()
    own["spec"]["devices"]["requests"][0]["exactly"]["selectors"] = [
        {"cel": {"expression": "device.x > '\\x41'"}}
    ]
    assert explain(dataclasses.replace(WAITING, claims=[own])).reason == "Scheduler"


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
    large = claim("48Gi", cores="0")
    said = explain(dataclasses.replace(view, claims=[large], classes=WAITING.classes))
    assert said.reason == "TooLarge", "an NPU's memory is no room for a GPU's share"


def mig_slice():
    made = slice_of("a")
    (device,) = made["spec"]["devices"]
    device["attributes"]["type"] = {"string": names.MIG_TYPE}
    return made


@pytest.mark.parametrize(
    ("asked", "published", "reason", "words"),
    [
        (names.MIG_CLASS, mig_slice(), "Scheduler", "waits for default-scheduler"),
        (names.MIG_CLASS, slice_of("a"), "NoMatch", f"no node publishes a device of {names.MIG_CLASS}"),
        (names.DRIVER, mig_slice(), "NoMatch", f"no node publishes a device of {names.DRIVER}"),
    ],
    ids=["instance", "instance among cards", "card among instances"],
)
def test_cards_and_mig_instances_are_told_apart_although_one_driver_publishes_both(
    asked, published, reason, words
):
    classes = [{"metadata": {"name": asked}}]
    view = dataclasses.replace(
        WAITING, claims=[claim(device_class=asked)], slices=[published], classes=classes
    )
    found = explain(view)
    assert (found.reason, words in found.sentence) == (reason, True), found.sentence
