"""What node, admission and observe rely on, asked of every backend. A new one belongs into conftest.py."""

from __future__ import annotations

import re
import uuid
from pathlib import PurePosixPath
from typing import Any

import pytest

from hami_dra.devices.backend import Backend, ClaimEdits, Grant
from hami_dra.model.claim import ClaimRef
from hami_dra.model.device import CORES, MEMORY, Capacity, Device
from hami_dra.model.errors import PrepareError
from hami_dra.model.share import PreparedClaim, Share
from hami_dra.node import cdi, checkpoint
from hami_dra.node.prepare import Family, plan
from hami_dra.node.slices import resource_slice
from tests.support.cards import NODE, claim

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
IDENTIFIER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,31}")


def amounts(capacity: Capacity) -> list[int]:
    """The least, the middle and the whole that a claim can have."""
    if capacity.values:
        return [capacity.values[0], capacity.values[len(capacity.values) // 2], capacity.values[-1]]
    steps = (capacity.value - capacity.least) // capacity.step
    return [capacity.least, capacity.least + steps // 2 * capacity.step, capacity.value]


def allocated(backend: Backend, device: Device, size: int) -> dict[str, Any]:
    """An allocation result as the scheduler writes it; SIZE 0, 1 or 2 of `amounts`."""
    body: dict[str, Any] = {"device": device.name, "driver": backend.driver, "pool": NODE, "request": "r"}
    if device.consumable:
        consumed = {each.name: str(amounts(each)[size]) for each in device.consumable}
        body |= {"shareID": str(uuid.uuid4()), "consumedCapacity": consumed}
    return body


def prepared(
    backend: Backend, *results: dict[str, Any], others: tuple[PreparedClaim, ...] = ()
) -> list[Grant]:
    """The grants of one claim, planned as the node plans them."""
    devices = {device.name: device for device in backend.discover()}
    body = claim("c", *results)
    ref = ClaimRef("default", "c", body["metadata"]["uid"])
    planned = plan(ref, body, NODE, Family(backend.driver, backend.limiter, devices), others)
    return [(devices[share.device], share) for share in planned.shares]


def edits_of(backend: Backend, grants: list[Grant]) -> ClaimEdits:
    """As the node asks for them: what is made on demand is made first."""
    backend.settle(grants, [device for device, _ in grants])
    return backend.edits(grants)


def specification(backend: Backend, grants: list[Grant], edits: ClaimEdits) -> dict[str, Any]:
    shares = tuple(share for _, share in grants)
    return cdi.specification(backend.driver, PreparedClaim("uid", "default", "c", shares), edits, {})


def test_the_driver_is_named_as_kubernetes_wants(backend: Backend) -> None:
    assert all(LABEL.fullmatch(part) for part in backend.driver.split("."))
    assert len(backend.driver) <= 63


def test_it_finds_devices_and_finds_the_same_again(backend: Backend) -> None:
    first, again = backend.discover(), backend.discover()
    assert len(first) >= 2, "the conformance test needs two devices at least"
    assert first == again


def test_names_and_uuids_are_unique_and_well_formed(backend: Backend) -> None:
    devices = backend.discover()
    assert all(LABEL.fullmatch(device.name) for device in devices)
    assert (
        len({device.name for device in devices}) == len({device.uuid for device in devices}) == len(devices)
    )


def test_people_can_select_by_type_product_and_uuid(backend: Backend) -> None:
    for device in backend.discover():
        assert str(device.attributes["type"]).startswith("hami-")
        assert device.attributes["uuid"] == device.uuid
        assert device.attributes["productName"]


def test_attributes_and_capacities_are_what_the_api_takes(backend: Backend) -> None:
    for device in backend.discover():
        names = [*device.attributes, *(capacity.name for capacity in device.capacities)]
        assert len(names) <= 32
        assert all(IDENTIFIER.fullmatch(name.rpartition("/")[2]) for name in names)
        for value in device.attributes.values():
            assert len(getattr(value, "text", str(value))) <= 64


def test_a_shared_device_has_something_to_share_by(backend: Backend) -> None:
    for device in backend.discover():
        assert bool(device.consumable) == device.shared
        if backend.limiter and device.shared:
            assert {MEMORY, CORES} <= {capacity.name for capacity in device.consumable}


def test_all_devices_of_a_family_have_the_same_capacities(backend: Backend) -> None:
    assert len({tuple(each.name for each in device.capacities) for device in backend.discover()}) == 1


def test_policies_are_what_the_api_takes(backend: Backend) -> None:
    for device in backend.discover():
        for capacity in device.capacities:
            assert capacity.accepts(capacity.default)
            if capacity.values:
                assert len(capacity.values) <= 10
                assert list(capacity.values) == sorted(set(capacity.values))
                assert capacity.values[-1] == capacity.value
            else:
                assert capacity.step > 0
                assert capacity.least + capacity.step <= capacity.value
                for amount in (capacity.value, capacity.default):
                    assert (amount - capacity.least) % capacity.step == 0


def test_edits_of_a_share_depend_on_its_claim_only_where_the_backend_says_so(backend: Backend) -> None:
    first, second, *_ = backend.discover()
    grants = [prepared(backend, allocated(backend, device, 0), others=()) for device in (first, second)]
    alone, whole = [backend.edits(of) for of in grants], backend.edits([*grants[0], *grants[1]])
    same = all(
        each.common == whole.common and dict(each.shares).items() <= dict(whole.shares).items()
        for each in alone
    )
    assert same or backend.claim_wide


def test_the_slice_has_no_empty_field_that_the_server_would_drop(backend: Backend) -> None:
    def empty(value: Any, path: str) -> list[str]:
        if value in ({}, [], ""):
            return [path]
        if isinstance(value, dict):
            return [lost for key, inner in value.items() for lost in empty(inner, f"{path}.{key}")]
        if isinstance(value, list):
            return [lost for inner in value for lost in empty(inner, path)]
        return []

    assert empty(resource_slice(NODE, backend.driver, backend.discover()), "slice") == []


@pytest.mark.parametrize("size", [0, 1, 2])
def test_every_share_gets_edits_that_a_container_runtime_takes(backend: Backend, size: int) -> None:
    for device in backend.discover():
        grants = prepared(backend, allocated(backend, device, size))
        edits = edits_of(backend, grants)
        (share,) = (share for _, share in grants)
        assert set(edits.shares) | set(edits.vendor) == {share.key}
        spec = specification(backend, grants, edits)
        assert all(entry["containerEdits"] for entry in spec["devices"]), "runtimes refuse empty edits"
        for part in (spec["containerEdits"], *(entry["containerEdits"] for entry in spec["devices"])):
            assert set(part) <= {"deviceNodes", "mounts", "env", "hooks"}
            paths = [node["path"] for node in part.get("deviceNodes", [])]
            paths += [mount[key] for mount in part.get("mounts", []) for key in ("hostPath", "containerPath")]
            assert all(PurePosixPath(path).is_absolute() for path in paths)
            variables = [entry.partition("=") for entry in part.get("env", [])]
            assert all(re.fullmatch(r"[A-Za-z_]\w*", name) and value for name, _, value in variables)
            assert len({name for name, *_ in variables}) == len(variables)


def test_edits_are_the_same_however_often_they_are_asked_for(backend: Backend) -> None:
    grants = prepared(backend, allocated(backend, backend.discover()[0], 1))
    assert edits_of(backend, grants) == edits_of(backend, grants)


def test_two_devices_in_one_claim_are_told_apart(backend: Backend) -> None:
    first, second = backend.discover()[:2]
    grants = prepared(backend, allocated(backend, first, 1), allocated(backend, second, 1))
    edits = edits_of(backend, grants)
    keys = [share.key for _, share in grants]
    assert len(set(keys)) == 2
    assert edits.common or edits.shares[keys[0]] != edits.shares[keys[1]]


def test_two_claims_get_different_parts_of_a_device_or_the_second_is_refused(backend: Backend) -> None:
    device = backend.discover()[0]
    ((_, first),) = prepared(backend, allocated(backend, device, 0))
    other = PreparedClaim("other", "default", "other", (first,))
    if not device.consumable:
        with pytest.raises(PrepareError, match="given away more than once"):
            prepared(backend, allocated(backend, device, 0), others=[other])
        return
    ((_, second),) = prepared(backend, allocated(backend, device, 0), others=[other])
    assert set(first.units) == {capacity.name for capacity in device.consumable if capacity.units}
    for name, units in first.units.items():
        assert not set(units) & set(second.units[name])


def test_devices_that_are_cut_from_one_are_not_given_away_with_a_slice_in_common(backend: Backend) -> None:
    cut = [device for device in backend.discover() if device.parts]
    for device in cut[:-1]:
        other = PreparedClaim(
            "other",
            "default",
            "other",
            tuple(share for _, share in prepared(backend, allocated(backend, device, 0))),
        )
        with pytest.raises(PrepareError, match="cut from the same slices"):
            prepared(backend, allocated(backend, cut[-1], 0), others=(other,))


def test_settling_again_changes_nothing_and_what_is_discovered_stays(backend: Backend) -> None:
    devices = backend.discover()
    grants = prepared(backend, allocated(backend, devices[-1], 1))
    for wanted in (grants, grants, [], []):
        backend.settle(wanted, devices)
        assert backend.discover() == devices


def test_health_and_usage_speak_of_the_devices_they_were_asked_about(backend: Backend) -> None:
    devices = backend.discover()
    names = {device.name for device in devices}
    assert backend.health(devices) == [], "all devices of the simulated host are well"
    for usage in backend.usage(devices):
        assert usage.device in names
        assert usage.memory is None or usage.memory >= 0
        assert usage.compute is None or 0 <= usage.compute <= 1
    assert backend.health([]) == []
    assert backend.usage([]) == []


def test_a_share_survives_the_checkpoint(backend: Backend) -> None:
    ((_, share),) = prepared(backend, allocated(backend, backend.discover()[0], 1))
    whole = PreparedClaim("uid", "default", "c", (share,))
    assert checkpoint.decode(checkpoint.encode({"uid": whole})) == {"uid": whole}
    assert isinstance(share, Share)
