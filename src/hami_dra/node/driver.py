"""Prepares and unprepares claims on this node: reads the API, asks `prepare` for a plan, writes what it says.

Order of writing: checkpoint (synced), share folders, CDI file. Each prepare writes all three again, so
a crash anywhere, a reboot or a lost folder is mended by kubelet's next call. Unprepare goes backwards.
"""

from __future__ import annotations

import re
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from hami_dra.devices.backend import Backend
from hami_dra.kube import RESOURCE_CLAIMS, KubeClient
from hami_dra.model import errors
from hami_dra.model.claim import ClaimRef, results
from hami_dra.model.share import PreparedClaim, Share
from hami_dra.node import cdi, findings, metrics, prepare
from hami_dra.node.checkpoint import Checkpoint, Claims
from hami_dra.node.findings import Finding
from hami_dra.node.inventory import Inventory
from hami_dra.node.limiter_files import LimiterFiles
from hami_dra.node.shares import ShareFolders
from hami_dra.node.state_lock import StateLock

log = structlog.get_logger(__name__)

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

PATIENCE_S = 30.0
"""For what may mend itself; a gRPC call ends earlier when kubelet's 45 s are near."""


@dataclass(frozen=True)
class Granted:
    """One device of a prepared claim, as kubelet wants to hear it."""

    request: str
    pool: str
    device: str
    share_id: str
    cdi_ids: tuple[str, ...]


class NodeDriver:
    """State of one node. Safe for threads, and for a second plugin process during a rolling update."""

    def __init__(
        self,
        kube: KubeClient,
        node: str,
        backend: Backend,
        inventory: Inventory,
        *,
        state: Path,
        limiter: LimiterFiles | None,
        cdi_folder: Path,
    ) -> None:
        self._kube = kube
        self._node = node
        self._backend = backend
        self.update(inventory)
        self._limiter = limiter
        self._state = state
        self._lock = StateLock(state / "lock")
        self.checkpoint = Checkpoint(state / "checkpoint.json")
        self.folders = ShareFolders(state)
        self.cdi = cdi.CdiFolder(cdi_folder, backend.driver)

    def update(self, inventory: Inventory) -> None:
        """Use another set of devices from now on."""
        devices = {device.name: device for device in inventory.devices}
        self._family = prepare.Family(self._backend.driver, self._backend.limiter, devices)

    def prepare(self, ref: ClaimRef, within_s: float = PATIENCE_S) -> list[Granted]:
        """Prepare one claim; errors.HamiError says why not. Calling it again rebuilds everything.

        What may mend itself (the API server, the state's lock) is tried again WITHIN_S, since kubelet waits
        long before it calls again.
        """
        _refuse_odd_names(ref)
        end = time.monotonic() + within_s
        claim = self._claim(ref, within_s)
        with self._lock.held(end):
            claims = self.load()
            planned = _plan(ref, claim, self._node, self._family, claims)
            if claims.get(ref.uid) != planned:
                self._save(claims | {ref.uid: planned})
            return self._carry_out(planned)

    def unprepare(self, ref: ClaimRef, within_s: float = PATIENCE_S) -> None:
        """Remove what the claim has here, by its uid; fine when there is nothing."""
        _refuse_odd_names(ref)
        with self._lock.held(time.monotonic() + within_s):
            self.forget({ref.uid})

    def restore(self) -> list[Finding]:
        """Rebuild the files of all prepared claims: after a reboot the CDI folder is empty. Returns what a
        person should hear about. One claim that cannot be rebuilt must not keep the others from starting."""
        found: list[Finding] = []
        with self.locked():
            claims = self.load(found)
            for claim in claims.values():
                try:
                    self._refuse_strangers(claim)
                    self._carry_out(claim)
                except (errors.HamiError, OSError) as problem:
                    text = f"claim {claim.namespace}/{claim.name} is prepared but not rebuilt: {problem}"
                    found.append(Finding("ClaimNotRebuilt", text))
            metrics.PREPARED.set(len(claims))
        return found + findings.reboot(self._state, len(claims))

    def forget(self, uids: set[str]) -> None:
        """Remove files and records of these claims. Call with the lock held."""
        claims = self.load()
        for uid in uids:
            self.cdi.remove(uid)
            for share in claims[uid].shares if uid in claims else ():
                self.folders.remove(share.share_id)
        if uids & claims.keys():
            self._save({uid: claim for uid, claim in claims.items() if uid not in uids})

    def load(self, found: list[Finding] | None = None) -> Claims:
        """The prepared claims; a damaged checkpoint, or one of a later version, is set aside and made anew
        from the API. That is added to FOUND."""
        try:
            return self.checkpoint.load()
        except errors.StateError as problem:
            claims = self._from_api()
            kept = self.checkpoint.set_aside()
            self.checkpoint.save(claims)
            log.error("checkpoint rebuilt", error=str(problem), kept=str(kept), claims=len(claims))
            if found is not None:
                text = f"{problem}; kept as {kept.name}, {len(claims)} claims taken from the API"
                found.append(Finding("CheckpointRebuilt", text))
            return claims

    def locked(self) -> AbstractContextManager[None]:
        """Exclude other threads and processes from the state; the kernel unlocks when we die."""
        return self._lock.held(time.monotonic() + PATIENCE_S)

    def _save(self, claims: Claims) -> None:
        self.checkpoint.save(claims)
        metrics.PREPARED.set(len(claims))

    def _claim(self, ref: ClaimRef, within_s: float) -> dict[str, Any]:
        try:
            return self._kube.get(RESOURCE_CLAIMS, ref.name, ref.namespace, patience_s=within_s)
        except errors.NotFound as problem:
            raise errors.PrepareError(f"{ref} is gone", reason="ClaimGone") from problem

    def _carry_out(self, claim: PreparedClaim) -> list[Granted]:
        edits = self._backend.edits([(self._family.devices[share.device], share) for share in claim.shares])
        limits = {}
        for share in claim.shares if self._limiter else ():
            self.folders.write(share)
            if share.limited and self._limiter:
                limits[share.key] = cdi.limiter_edits(share, self.folders.path(share.share_id), self._limiter)
        self.cdi.write(claim.uid, cdi.specification(self._family.driver, claim, edits, limits))
        return [
            _granted(self._family.driver, claim.uid, share, edits.vendor.get(share.key, ()))
            for share in claim.shares
        ]

    def _refuse_strangers(self, claim: PreparedClaim) -> None:
        for share in claim.shares:
            device = self._family.devices.get(share.device)
            if device is None or device.uuid != share.uuid:
                raise errors.StateError(f"{share.device} is not the device {share.uuid} any more")

    def _from_api(self) -> Claims:
        """All claims allocated on this node: more than were prepared, which only makes the sums stricter."""
        claims: Claims = {}
        noted = self.cdi.uids()
        # Those that containers hold come first: what they were told is theirs, the others get what is left.
        for item in sorted(
            self._kube.list(RESOURCE_CLAIMS)[0], key=lambda item: item["metadata"]["uid"] not in noted
        ):
            meta = item["metadata"]
            ref = ClaimRef(meta["namespace"], meta["name"], meta["uid"])
            if not results(item, self._family.driver, self._node):
                continue
            try:
                planned = prepare.plan(ref, item, self._node, self._family, claims.values())
                claims[ref.uid] = self._with_noted_units(planned)
            except errors.PrepareError as problem:
                log.warning("claim left out of the rebuilt checkpoint", claim=str(ref), error=str(problem))
        return claims

    def _with_noted_units(self, claim: PreparedClaim) -> PreparedClaim:
        noted = self.cdi.units(claim.uid)
        shares = (
            replace(share, units=noted.get(cdi.device_name(claim.uid, share), share.units))
            for share in claim.shares
        )
        return replace(claim, shares=tuple(shares))


def _refuse_odd_names(ref: ClaimRef) -> None:
    """They become names of files and paths of the API."""
    for name in (ref.uid, ref.name, ref.namespace):
        if not _NAME.fullmatch(name):
            raise errors.PrepareError(f"{ref}: {name!r} is no name of an object", reason="BadRequest")


def _plan(
    ref: ClaimRef, claim: dict[str, Any], node: str, family: prepare.Family, claims: Claims
) -> PreparedClaim:
    try:
        return prepare.plan(ref, claim, node, family, claims.values())
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as problem:
        text = f"{ref}: what the API server answers is no claim: {problem!r}"
        raise errors.PrepareError(text, reason="BadAllocation") from problem


def _granted(driver: str, uid: str, share: Share, vendor: tuple[str, ...]) -> Granted:
    own = f"{cdi.kind(driver)}={cdi.device_name(uid, share)}"
    return Granted(share.request, share.pool, share.device, share.share_id, (*vendor, own))
