"""The fullest or the emptiest device first, and the slice follows what is prepared."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from hami_dra.kube import NODES, RESOURCE_SLICES
from hami_dra.model.device import Device, Parts
from hami_dra.model.names import DRIVER, MIB
from hami_dra.model.share import Share
from hami_dra.node import order
from hami_dra.node.inventory import Inventory
from hami_dra.node.publisher import Publisher
from tests.support.cards import A10, NODE, SECOND, card
from tests.support.fake_kube import FakeKube
from tests.support.waiting import until

THIRD = card(2, "GPU-00000000-0000-0000-0000-000000000003", "0000:67:01.0")
CARDS = (A10, SECOND, THIRD)
GIB = 1024 * MIB


def share(device: Device, memory: int = 0, cores: int = 0) -> Share:
    return Share("s", "gpu", NODE, device.name, device.uuid, {"memory": memory, "cores": cores})


def numbers(devices: Sequence[Device]) -> list[int]:
    return [CARDS.index(device) for device in devices]


@pytest.mark.parametrize(
    ("policy", "expected"), [("first", [0, 1, 2]), ("binpack", [1, 0, 2]), ("spread", [2, 0, 1])]
)
def test_a_policy_says_which_card_comes_first(policy: str, expected: list[int]) -> None:
    taken = [share(SECOND, 8 * GIB), share(A10, GIB), share(SECOND, GIB)]
    assert numbers(order.ordered(policy, CARDS, taken)) == expected


@pytest.mark.parametrize("policy", order.POLICIES)
def test_cards_that_are_as_full_stay_in_order(policy: str) -> None:
    assert numbers(order.ordered(policy, CARDS, [share(each, GIB) for each in CARDS])) == [0, 1, 2]


def test_a_card_is_as_full_as_the_fullest_of_its_capacities() -> None:
    taken = [share(A10, 10 * GIB, 10), share(SECOND, GIB, 90), share(THIRD, 2 * GIB, 20)]
    assert numbers(order.ordered("spread", CARDS, taken)) == [2, 0, 1]
    assert numbers(order.ordered("binpack", CARDS, taken)) == [1, 0, 2]


def test_shares_of_a_device_that_is_gone_count_for_nothing() -> None:
    assert numbers(order.ordered("spread", CARDS[:2], [share(THIRD, GIB), share(A10, GIB)])) == [1, 0]


def test_parts_of_a_card_come_with_their_card_and_a_whole_device_is_full() -> None:
    def part(whole: str, start: int) -> Device:
        return replace(
            A10, name=f"{whole}-{start}", shared=False, parts=Parts(whole, (start,), 4), capacities=()
        )

    cut = [part("x", 0), part("x", 1), part("y", 0), part("y", 1)]
    found = order.ordered("spread", cut, [share(cut[1])])
    assert [device.name for device in found] == ["y-0", "y-1", "x-0", "x-1"]
    whole = [replace(each, shared=False) for each in CARDS]
    assert numbers(
        [CARDS[whole.index(device)] for device in order.ordered("spread", whole, [share(A10)])]
    ) == [1, 2, 0]


def published(kube: FakeKube) -> list[str]:
    return [device["name"] for item in kube.list(RESOURCE_SLICES)[0] for device in item["spec"]["devices"]]


def test_the_slice_follows_and_is_written_only_for_another_order() -> None:
    kube, taken = FakeKube(), [share(A10, GIB)]
    kube.create(NODES, {"metadata": {"name": NODE}})
    one = Publisher(
        kube, NODE, DRIVER, Inventory(CARDS), order=lambda found: order.ordered("spread", found, taken)
    )
    ended = threading.Event()
    worker = threading.Thread(target=one.run_updates, args=(ended,))
    one.sync()
    (before,) = kube.list(RESOURCE_SLICES)[0]
    assert published(kube) == [SECOND.name, THIRD.name, A10.name]
    worker.start()
    taken.append(share(SECOND, 2 * GIB))
    until(lambda: published(kube) == [THIRD.name, A10.name, SECOND.name], "the new order")
    ended.set()
    worker.join()
    one.sync()
    (after,) = kube.list(RESOURCE_SLICES)[0]
    assert after["metadata"]["name"] == before["metadata"]["name"]
    assert after["spec"]["pool"]["generation"] == before["spec"]["pool"]["generation"] + 1
