"""What a plugin finds when it starts is mended, and told as Events on the Node."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hami_dra.devices.backend import ClaimEdits, Grant
from hami_dra.kube import EVENTS, NODES, RESOURCE_CLAIMS
from hami_dra.kube.kinds import PODS
from hami_dra.model.claim import ClaimRef
from hami_dra.model.device import Device
from hami_dra.node import checkpoint, findings, sweep, together
from hami_dra.node.driver import NodeDriver
from tests.support.cards import A10, DRIVER, NODE, SECOND, CardBackend, card, card_driver, claim, share
from tests.support.fake_kube import FakeKube

Driver = Callable[..., NodeDriver]


@pytest.fixture
def driver(kube: FakeKube, tmp_path: Path) -> Driver:
    return partial(card_driver, kube, tmp_path, tmp_path / "cdi")


def prepared(kube: FakeKube, driver: NodeDriver, name: str, *shares: dict[str, Any]) -> ClaimRef:
    body = kube.create(RESOURCE_CLAIMS, claim(name, *shares), "default")
    ref = ClaimRef("default", name, body["metadata"]["uid"])
    driver.prepare(ref)
    return ref


class NamesAll(CardBackend):
    """A family whose containers are told of all their cards in one variable."""

    claim_wide = True

    def edits(self, grants: Sequence[Grant]) -> ClaimEdits:
        return ClaimEdits({"env": [f"CARDS={','.join(device.uuid for device, _ in grants)}"]})


def reasons(found: list[findings.Finding]) -> list[str]:
    return [each.reason for each in found]


def test_a_plain_restart_finds_nothing_to_tell(kube: FakeKube, driver: Driver) -> None:
    first = driver(A10)
    first.restore()
    prepared(kube, first, "half", share())
    assert driver(A10).restore() == []


def test_after_a_reboot_the_files_are_back_and_it_is_told(
    kube: FakeKube, driver: Driver, tmp_path: Path
) -> None:
    first = driver(A10)
    first.restore()
    ref = prepared(kube, first, "half", share())
    shutil.rmtree(tmp_path / "cdi")
    again = driver(A10)
    (found,) = again.restore()
    assert (found.reason, found.bad) == ("ClaimsRestored", False)
    assert again.cdi.uids() == {ref.uid}
    assert driver(A10).restore() == [], "it is told once"


@pytest.mark.parametrize("damage", ["{", '{"version": 2, "checksum": "", "payload": "[]"}', ""])
def test_a_damaged_or_later_checkpoint_is_made_anew_and_told(
    kube: FakeKube, driver: Driver, tmp_path: Path, damage: str
) -> None:
    ref = prepared(kube, driver(A10), "half", share())
    (tmp_path / "checkpoint.json").write_text(damage)
    again = driver(A10)
    assert reasons(again.restore()) == ["CheckpointRebuilt"]
    assert again.checkpoint.load().keys() == {ref.uid}
    assert len(list(tmp_path.glob("checkpoint.json.damaged-*"))) == 1


def test_a_state_folder_that_is_wiped_under_running_containers_is_made_anew_and_told(
    kube: FakeKube, driver: Driver, tmp_path: Path
) -> None:
    ref = prepared(kube, driver(A10), "half", share())
    (tmp_path / "checkpoint.json").unlink()
    shutil.rmtree(tmp_path / "shares")
    again = driver(A10)
    assert reasons(again.restore()) == ["CheckpointRebuilt"]
    sweep.sweep(again, kube)
    assert again.checkpoint.load().keys() == again.cdi.uids() == {ref.uid}
    assert len(list(tmp_path.glob("shares/*/limits"))) == 1


def test_a_checkpoint_of_a_later_version_says_so(tmp_path: Path) -> None:
    whole = json.loads(checkpoint.encode({}))
    later = json.dumps(whole | {"version": 2}).encode()
    with pytest.raises(checkpoint.StateError, match="version 2 is not known here"):
        checkpoint.decode(later)


def test_a_claim_whose_card_is_gone_or_another_does_not_keep_the_others_from_starting(
    kube: FakeKube, driver: Driver, tmp_path: Path
) -> None:
    first = driver(A10, SECOND)
    kept = prepared(kube, first, "kept", share())
    prepared(kube, first, "gone", share(device=SECOND.name))
    shutil.rmtree(tmp_path / "cdi")
    for devices, restored in (([A10], True), ([A10, card(1, "GPU-other", "0000:66:01.0")], False)):
        again = driver(*devices)
        found = {each.reason: each.message for each in again.restore()}
        assert ("ClaimsRestored" in found) == restored, "one that cannot be rebuilt is not told as restored"
        assert "claim default/gone is prepared but not rebuilt: hami-gpu-1" in found["ClaimNotRebuilt"]
        assert again.cdi.uids() == {kept.uid}


def test_of_a_card_given_away_twice_the_running_container_keeps_it_when_the_checkpoint_is_damaged(
    kube: FakeKube, driver: Driver, tmp_path: Path
) -> None:
    kube.create(RESOURCE_CLAIMS, claim("a-never-prepared", share("20Gi")), "default")
    running = prepared(kube, driver(A10), "b-running", share("20Gi"))
    (tmp_path / "checkpoint.json").write_text("{")
    again = driver(A10)
    again.restore()
    assert again.checkpoint.load().keys() == {running.uid}


def test_a_claim_is_not_told_of_the_card_that_is_in_the_place_of_its_neighbours(
    kube: FakeKube, tmp_path: Path
) -> None:
    def start(*devices: Device) -> NodeDriver:
        return card_driver(kube, tmp_path, tmp_path / "cdi", *devices, backend=NamesAll)

    mine, other = (
        prepared(kube, start(A10, SECOND), name, share(device=device.name))
        for name, device in (("mine", A10), ("other", SECOND))
    )
    first = start(A10, SECOND)
    claims = first.checkpoint.load()
    first.checkpoint.save(claims | together.linked(claims, {mine.uid, other.uid}))

    def told() -> set[str]:
        specification = json.loads((tmp_path / "cdi" / f"k8s.{DRIVER}-claim_{mine.uid}.yaml").read_text())
        (variable,) = specification["containerEdits"]["env"]
        return set(variable.removeprefix("CARDS=").split(","))

    first.restore()
    assert told() == {A10.uuid, SECOND.uuid}
    start(A10, card(1, "GPU-other", "0000:66:01.0")).restore()
    assert told() == {A10.uuid}


def test_a_claim_beside_one_whose_card_is_gone_is_prepared(kube: FakeKube, tmp_path: Path) -> None:
    def start(*devices: Device) -> NodeDriver:
        return card_driver(kube, tmp_path, tmp_path / "cdi", *devices, backend=NamesAll)

    prepared(kube, start(A10, SECOND), "other", share(device=SECOND.name))
    mine = kube.create(RESOURCE_CLAIMS, claim("mine", share()), "default")
    containers = [
        {"name": name, "resources": {"claims": [{"name": each} for each in used]}}
        for name, used in (("both", ["mine", "other"]), ("one", ["mine"]))
    ]
    listed = [{"name": each, "resourceClaimName": each} for each in ("mine", "other")]
    pod = {"metadata": {"name": "p"}, "spec": {"containers": containers, "resourceClaims": listed}}
    user = {"resource": "pods", "name": "p", "uid": kube.create(PODS, pod, "default")["metadata"]["uid"]}
    kube.patch(RESOURCE_CLAIMS, "mine", {"status": {"reservedFor": [user]}}, "default")
    assert start(A10).prepare(ClaimRef("default", "mine", mine["metadata"]["uid"]))


def test_findings_become_events_on_the_node(kube: FakeKube) -> None:
    findings.tell(
        kube, NODE, [findings.Finding("CheckpointRebuilt", "damaged"), findings.Finding("X", "", False)]
    )
    events = kube.list(EVENTS)[0]
    assert sorted((event["reason"], event["type"]) for event in events) == [
        ("CheckpointRebuilt", "Warning"),
        ("X", "Normal"),
    ]
    involved = events[0]["involvedObject"]
    assert (involved["kind"], involved["name"], involved["namespace"]) == ("Node", NODE, "")
    assert involved["uid"] == kube.get(NODES, NODE)["metadata"]["uid"]
