"""Cards that fail, vanish, come back or change places, as the rest of the plugin hears of them."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from hami_dra.devices.backend import Problem
from hami_dra.model.device import Device, Parts
from hami_dra.model.errors import DriverError
from hami_dra.model.names import DRIVER
from hami_dra.node.inventory import DeviceWatch, Inventory
from tests.support.cards import A10, SECOND, CardBackend, card
from tests.support.counted import counted


@pytest.fixture
def backend() -> CardBackend:
    return CardBackend(A10, SECOND)


@pytest.fixture
def watch(backend: CardBackend) -> DeviceWatch:
    return DeviceWatch(backend)


@pytest.fixture
def heard(watch: DeviceWatch) -> list[Inventory]:
    seen: list[Inventory] = []
    watch.on_change(seen.append)
    return seen


def keys(inventory: Inventory, device: str) -> list[str]:
    return [problem.key for problem in inventory.problems.get(device, ())]


def test_as_long_as_nothing_happens_nobody_is_called(watch: DeviceWatch, heard: list[Inventory]) -> None:
    watch.poll()
    assert heard == []


def test_a_problem_comes_and_goes(watch: DeviceWatch, backend: CardBackend, heard: list[Inventory]) -> None:
    backend.problems = [Problem(SECOND.name, "xid", "fallen off the bus", "79")]
    watch.poll()
    watch.poll()
    assert REGISTRY.get_sample_value("hami_node_device_sick", {"driver": DRIVER, "device": SECOND.name}) == 1
    backend.problems = []
    watch.poll()
    assert REGISTRY.get_sample_value("hami_node_device_sick", {"driver": DRIVER, "device": SECOND.name}) == 0
    assert [keys(each, SECOND.name) for each in heard] == [["xid"], []]


def test_a_card_that_is_sick_when_the_plugin_starts_is_told_as_sick(backend: CardBackend) -> None:
    backend.problems = [Problem(SECOND.name, "recovery", "the driver asks for: reset", "reset")]
    with counted("hami_node_device_sick", driver=DRIVER, device=SECOND.name) as sick:
        DeviceWatch(backend)
        assert sick() == 1
        backend.problems = []
        DeviceWatch(backend)
        assert sick() == 0


def test_devices_of_two_families_may_have_the_same_name(watch: DeviceWatch, backend: CardBackend) -> None:
    other = CardBackend(SECOND)
    other.driver = "other.project-hami.io"
    other.problems = [Problem(SECOND.name, "xid", "fallen off the bus", "79")]
    DeviceWatch(other)
    sick = {
        driver: REGISTRY.get_sample_value("hami_node_device_sick", {"driver": driver, "device": SECOND.name})
        for driver in (backend.driver, other.driver)
    }
    assert sick == {backend.driver: 0, other.driver: 1}


def test_a_card_that_vanishes_is_lost_until_it_is_back(
    watch: DeviceWatch, backend: CardBackend, heard: list[Inventory]
) -> None:
    backend.devices = [A10]
    watch.poll()
    assert keys(heard[-1], SECOND.name) == ["lost"]
    assert heard[-1].devices == (A10, SECOND)
    backend.devices = [A10, SECOND]
    watch.poll()
    assert heard[-1] == Inventory((A10, SECOND))


def instance(number: int) -> Device:
    own = {"parentUUID": A10.uuid, "uuid": f"MIG-{number}"}
    return replace(A10, name=f"hami-mig-0-{number}-0", uuid=own["uuid"], attributes={**A10.attributes, **own})


def test_what_an_administrator_cuts_anew_is_not_lost(
    watch: DeviceWatch, backend: CardBackend, heard: list[Inventory]
) -> None:
    backend.devices = [SECOND]
    watch.poll()
    assert keys(heard[-1], A10.name) == ["lost"], "while the card is reset"
    for cut in ([instance(1), instance(2)], [instance(3)], [A10]):
        backend.devices = [*cut, SECOND]
        watch.poll()
        assert heard[-1] == Inventory((*cut, SECOND))
        told = {"driver": DRIVER, "device": A10.name}
        assert (REGISTRY.get_sample_value("hami_node_device_sick", told) == 0) == (cut == [A10])
    backend.devices = [SECOND]
    watch.poll()
    assert keys(heard[-1], A10.name) == ["lost"]


def test_what_was_cut_on_demand_stays_known_until_its_claim_is_given_back(
    watch: DeviceWatch, backend: CardBackend, heard: list[Inventory]
) -> None:
    made = replace(instance(1), shared=False, parts=Parts(A10.name, (0,), 7))
    for devices in ([made, SECOND], [instance(3), SECOND]):
        backend.devices = devices
        watch.poll()
    assert keys(heard[-1], made.name) == ["lost"]


def test_another_card_in_the_same_place_takes_its_name(
    watch: DeviceWatch, backend: CardBackend, heard: list[Inventory]
) -> None:
    other = replace(SECOND, uuid="GPU-other")
    backend.devices = [A10, other]
    watch.poll()
    assert heard == [Inventory((A10, other))]


def test_a_card_that_is_added_is_known(
    watch: DeviceWatch, backend: CardBackend, heard: list[Inventory]
) -> None:
    third = card(2, "GPU-third", "0000:67:01.0")
    backend.devices.append(third)
    watch.poll()
    assert heard[-1].devices == (A10, SECOND, third)


@pytest.mark.parametrize("problem", [DriverError("driver unloaded"), OSError(errno.EIO, "/sys/bus/pci")])
def test_while_the_driver_does_not_answer_no_card_is_trusted(
    watch: DeviceWatch,
    backend: CardBackend,
    heard: list[Inventory],
    monkeypatch: pytest.MonkeyPatch,
    problem: Exception,
) -> None:
    def broken() -> None:
        raise problem

    with monkeypatch.context() as patch:
        patch.setattr(backend, "discover", broken)
        watch.poll()
        watch.poll()
    assert [keys(heard[-1], name) for name in (A10.name, SECOND.name)] == [["driver"], ["driver"]]
    assert len(heard) == 1
    watch.poll()
    assert heard[-1] == Inventory((A10, SECOND))
