"""What prepared claims have on a node beside their record: share folders, CDI files, devices cut for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hami_dra.devices.backend import Backend, ClaimEdits, Grant
from hami_dra.model.device import Device
from hami_dra.model.share import PreparedClaim, Share
from hami_dra.node import cdi
from hami_dra.node.checkpoint import Claims
from hami_dra.node.limiter_files import LimiterFiles
from hami_dra.node.shares import ShareFolders

Devices = Mapping[str, Device]
"""Of the node, by name."""


@dataclass(frozen=True)
class Granted:
    """One device of a prepared claim, as kubelet wants to hear it."""

    request: str
    pool: str
    device: str
    share_id: str
    cdi_ids: tuple[str, ...]


class ClaimFiles:
    """Of one family. Callers hold the state's lock."""

    def __init__(
        self, backend: Backend, limiter: LimiterFiles | None, *, state: Path, cdi_folder: Path
    ) -> None:
        self._backend = backend
        self._limiter = limiter
        self.folders = ShareFolders(state)
        self.cdi = cdi.CdiFolder(cdi_folder, backend.driver)

    def write(self, claim: PreparedClaim, claims: Claims, devices: Devices) -> list[Granted]:
        """Write the files of CLAIM, and of those of CLAIMS that it is described with."""
        group = [claim, *present(claims, claim.together, devices).values()]
        edits = self.edits(group, devices)
        limits = {}
        for share in (each for each in claim.shares if each.share_id and self._limiter):
            self.folders.write(share)
            if share.limited and self._limiter:
                limits[share.key] = cdi.limiter_edits(share, self.folders.path(share.share_id), self._limiter)
        for one in group:
            self.cdi.write(one.uid, cdi.specification(self._backend.driver, one, edits, limits))
        return [self._granted(claim, share, edits) for share in claim.shares]

    def remove(self, uid: str, share_ids: Iterable[str]) -> None:
        """Remove the files of a claim; fine when there are none."""
        self.cdi.remove(uid)
        for share_id in share_ids:
            self.folders.remove(share_id)

    def edits(self, group: Iterable[PreparedClaim], devices: Devices) -> ClaimEdits:
        """What the containers of these claims get, the same from whichever of them one looks."""
        shares = [share for claim in sorted(group, key=lambda claim: claim.uid) for share in claim.shares]
        return self._backend.edits([(devices[share.device], share) for share in shares])

    def settle(self, claims: Claims, about: Iterable[PreparedClaim], devices: Devices) -> None:
        """Have the devices made that CLAIMS need, and no others; HamiError when that fails for ABOUT."""
        wanted = _grants(claims.values(), devices)
        self._backend.settle(wanted, [device for device, _ in _grants(about, devices)])

    def _granted(self, claim: PreparedClaim, share: Share, edits: ClaimEdits) -> Granted:
        own = f"{cdi.kind(self._backend.driver)}={cdi.device_name(claim.uid, share)}"
        ids = (*edits.vendor.get(share.key, ()), own)
        return Granted(share.request, share.pool, share.device, share.share_id, ids)


def present(claims: Claims, uids: Iterable[str], devices: Devices) -> Claims:
    """Those of UIDS that are prepared, and whose devices are here, and still the same."""
    prepared = {uid: claims[uid] for uid in uids if uid in claims}
    return {uid: claim for uid, claim in prepared.items() if stranger(claim, devices) is None}


def stranger(claim: PreparedClaim, devices: Devices) -> Share | None:
    """The first share whose device is gone, or another one by now."""
    for share in claim.shares:
        if share.device not in devices or devices[share.device].uuid != share.uuid:
            return share
    return None


def _grants(claims: Iterable[PreparedClaim], devices: Devices) -> list[Grant]:
    """Shares of CLAIMS with their devices, without those whose device is gone."""
    shares = (share for claim in claims for share in claim.shares)
    return [(devices[share.device], share) for share in shares if share.device in devices]
