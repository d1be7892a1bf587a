"""What happens to a claim while other things happen to its node."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hami_dra.devices.backend import Grant
from hami_dra.kube import RESOURCE_CLAIMS
from hami_dra.model.claim import ClaimRef
from hami_dra.model.device import Device
from hami_dra.model.errors import PrepareError
from hami_dra.node.inventory import Inventory, merged
from tests.support.cards import A10, DRIVER, SECOND, CardBackend, card, card_driver, claim, share
from tests.support.fake_kube import FakeKube

LATER = card(7, "GPU-later", "0000:65:01.0")


def test_a_card_that_is_exchanged_in_the_middle_of_prepare_does_not_give_a_claim_parts_of_two(
    tmp_path: Path,
) -> None:
    class Exchanging(CardBackend):
        meanwhile: Callable[[], None] = staticmethod(lambda: None)

        def settle(self, grants: Sequence[Grant], about: Sequence[Device]) -> None:
            self.meanwhile()

    kube = FakeKube()
    driver = card_driver(kube, tmp_path, tmp_path / "cdi", A10, backend=Exchanging)
    exchanged = replace(LATER, name=A10.name)
    Exchanging.meanwhile = staticmethod(lambda: driver.update(Inventory((exchanged,))))
    body = kube.create(RESOURCE_CLAIMS, claim("half", share()), "default")
    driver.prepare(ClaimRef("default", "half", body["metadata"]["uid"]))
    (prepared,) = driver.checkpoint.load().values()
    assert prepared.shares[0].uuid == A10.uuid
    assert "/dev/nvidia0" in (tmp_path / "cdi" / f"k8s.{DRIVER}-claim_{prepared.uid}.yaml").read_text()


def test_a_claim_that_is_allocated_anew_leaves_nothing_of_its_old_share(tmp_path: Path) -> None:
    kube = FakeKube()
    driver = card_driver(kube, tmp_path, tmp_path / "cdi", A10, SECOND)
    body = kube.create(RESOURCE_CLAIMS, claim("half", share(), share()), "default")
    ref = ClaimRef("default", "half", body["metadata"]["uid"])
    driver.prepare(ref)
    kept = body["status"]["allocation"]["devices"]["results"][0]
    anew = [kept, share(device=SECOND.name)]
    kube.patch(RESOURCE_CLAIMS, "half", {"status": {"allocation": {"devices": {"results": anew}}}}, "default")
    ledger = driver.folders.path(kept["shareID"]) / "ledger"
    inode = ledger.stat().st_ino
    driver.prepare(ref)
    assert driver.folders.ids() == {each["shareID"] for each in anew}
    assert ledger.stat().st_ino == inode, "running processes account in it"


def test_a_claim_whose_card_fell_off_after_it_was_allocated_waits_until_the_card_is_back(
    tmp_path: Path,
) -> None:
    kube = FakeKube()
    cards = Inventory((A10, SECOND))
    driver = card_driver(kube, tmp_path, tmp_path / "cdi", A10, SECOND)
    here, away = (
        ClaimRef("default", name, kube.create(RESOURCE_CLAIMS, body, "default")["metadata"]["uid"])
        for name, body in (
            ("here", claim("here", share())),
            ("away", claim("away", share(), share(device=SECOND.name))),
        )
    )
    driver.update(merged(cards, [A10], []))
    assert driver.prepare(here)
    with pytest.raises(PrepareError, match="hami-gpu-1 is lost: the driver does not show it") as refused:
        driver.prepare(away)
    assert refused.value.reason == "DeviceLost"
    assert driver.cdi.uids() == driver.load().keys() == {here.uid}
    driver.update(cards)
    assert len(driver.prepare(away)) == 2
    driver.update(merged(cards, [A10], []))
    driver.unprepare(away)
    assert driver.load().keys() == {here.uid}


def test_a_claim_that_a_read_only_cdi_folder_refused_keeps_no_pod_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a file system also refuses to remove what is not there."""

    def refusing(call: Callable[..., Any]) -> Callable[..., Any]:
        def refused(path: Any, *arguments: Any, **options: Any) -> Any:
            changes = call is not opened or arguments[0] & os.O_CREAT
            if changes and Path(path).is_relative_to(tmp_path / "cdi"):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return call(path, *arguments, **options)

        return refused

    kube, opened = FakeKube(), os.open
    driver = card_driver(kube, tmp_path, tmp_path / "cdi", A10)
    ref = ClaimRef(
        "default", "one", kube.create(RESOURCE_CLAIMS, claim("one", share()), "default")["metadata"]["uid"]
    )
    for name in ("open", "unlink"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    with pytest.raises(OSError, match=r"Read-only file system: .*/cdi/"):
        driver.prepare(ref)
    driver.unprepare(ref)
    assert (driver.load(), driver.folders.ids()) == ({}, set())
