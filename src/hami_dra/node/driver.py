"""Prepares and unprepares claims on this node: reads the API, asks `prepare` for a plan, writes what it says.

Order of writing: checkpoint, share folders, CDI file. Each prepare makes sure of all three, so a crash
anywhere, a reboot or a lost folder is mended by kubelet's next call. Unprepare goes backwards.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from hami_dra.devices.backend import LOST, Backend
from hami_dra.kube import RESOURCE_CLAIMS, KubeClient
from hami_dra.model import errors
from hami_dra.model.claim import ClaimRef, results, users
from hami_dra.model.share import PreparedClaim
from hami_dra.node import metrics, prepare, rebuild, together
from hami_dra.node.checkpoint import Checkpoint, Claims
from hami_dra.node.claim_files import ClaimFiles, Granted, present, stranger
from hami_dra.node.findings import Finding
from hami_dra.node.inventory import Inventory
from hami_dra.node.limiter_files import LimiterFiles
from hami_dra.node.state_lock import StateLock

log = structlog.get_logger(__name__)

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

PATIENCE_S = 30.0
"""For what may mend itself; a gRPC call ends earlier when kubelet's 45 s are near."""
MOST_ASKERS = 8
"""Calls that ask the API server at once. More would not be answered sooner, and each needs a connection."""


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
        self._family = self._latest
        self._prepared = metrics.PREPARED.labels(backend.driver)
        self._lock = StateLock(state / "lock")
        self._askers = threading.BoundedSemaphore(MOST_ASKERS)
        self.checkpoint = Checkpoint(state / "checkpoint.json")
        self.files = ClaimFiles(backend, limiter, state=state, cdi_folder=cdi_folder)
        self.folders, self.cdi = self.files.folders, self.files.cdi

    def update(self, inventory: Inventory) -> None:
        """Use another set of devices from the next call on."""
        devices = {device.name: device for device in inventory.devices}
        self._latest = prepare.Family(self._backend.driver, self._backend.limiter, devices)
        self._silent = inventory.silent
        problems = (problem for of in inventory.problems.values() for problem in of)
        self._lost = {problem.device: problem.message for problem in problems if problem.key == LOST}

    def prepare(
        self, ref: ClaimRef, within_s: float = PATIENCE_S, wanted: Callable[[], bool] = lambda: True
    ) -> list[Granted]:
        """Prepare one claim; errors.HamiError says why not. Calling it again rebuilds everything.

        What may mend itself (the API server, the state's lock) is tried again WITHIN_S, since kubelet waits
        long before it calls again. WANTED: whether the caller still waits. One that does not may have
        unprepared the claim meanwhile, and nobody would do that again.
        """
        _refuse_odd_names(ref)
        if self._silent:
            raise errors.DriverError(self._silent)
        end = time.monotonic() + within_s
        with self._asking(within_s):
            claim = self._claim(ref, end - time.monotonic())
            beside = self._beside(ref, claim, lambda: end - time.monotonic())
        with self.locked(end - time.monotonic()):
            _refuse_hung_up(ref, wanted)
            claims, devices = self.load(), self._family.devices
            planned = prepare.plan(ref, claim, self._node, self._family, claims.values())
            self._refuse_lost(ref, planned)
            others = present(claims, (uid for _, uid in beside.others), devices)
            edits = partial(self.files.edits, devices=devices)
            together.refuse_half_told(ref, planned, beside, others, edits)
            pods = [pod["name"] for pod in users(claim)]
            before = [claims[ref.uid]] if ref.uid in claims else []
            now = claims | together.linked({**claims, ref.uid: planned}, {ref.uid, *beside.uids})
            if claims != now:
                self._save(now)
            self.files.settle(now, [planned, *before], devices)
            granted = self.files.write(now[ref.uid], now, devices)
            for share_id in _share_ids(before) - _share_ids([planned]):  # it was allocated anew
                self.folders.remove(share_id)
        log.info("prepared", **ref.fields, pods=pods, shares={each.share_id: each.device for each in granted})
        return granted

    def unprepare(
        self, ref: ClaimRef, within_s: float = PATIENCE_S, wanted: Callable[[], bool] = lambda: True
    ) -> None:
        """Remove what the claim has here, by its uid; fine when there is nothing. WANTED as for `prepare`:
        the claim may be prepared by now, for another Pod."""
        _refuse_odd_names(ref)
        with self.locked(within_s):
            _refuse_hung_up(ref, wanted)
            shares = self.forget(ref.uid)
        log.info("unprepared", **ref.fields, shares=shares)

    def restore(self, *, only_missing: bool = False) -> list[Finding]:
        """Rebuild the files of all prepared claims: after a reboot the CDI folder is empty. Returns what a
        person should hear about. One claim that cannot be rebuilt must not keep the others from starting.

        ONLY_MISSING: of claims without a CDI file. The others' stay as they are, for a driver that is just
        being replaced has little to name."""
        if self._silent:
            return [Finding("DriverSilent", f"prepared claims are not rebuilt: {self._silent}")]
        found: list[Finding] = []
        with self.locked():
            self.checkpoint.tidy()
            claims, devices = self.load(found), self._family.devices
            without_files = claims.keys() - self.cdi.uids()
            if only_missing and not without_files:
                return found
            try:
                self.files.settle(claims, claims.values(), devices)
            except errors.HamiError as problem:
                found.append(Finding("DevicesNotMade", str(problem)))
            for claim in [claims[uid] for uid in (without_files if only_missing else claims)]:
                try:
                    if (share := stranger(claim, devices)) is not None:
                        raise errors.StateError(f"{share.device} is not the device {share.uuid} any more")
                    self.files.write(claim, claims, devices)
                except (errors.HamiError, OSError) as problem:
                    without_files -= {claim.uid}
                    text = f"claim {claim.namespace}/{claim.name} is prepared but not rebuilt: {problem}"
                    found.append(Finding("ClaimNotRebuilt", text))
            self._prepared.set(len(claims))
        if without_files:
            text = f"files of {len(without_files)} prepared claims were gone, as after a boot: made anew"
            found.append(Finding("ClaimsRestored", text, bad=False))
        return found

    def forget(self, uid: str) -> list[str]:
        """Remove files and record of a claim; return its shares. Call with the lock held."""
        claims = self.load()
        claim = claims.get(uid)
        shares = [share.share_id for share in claim.shares] if claim else []
        self.files.remove(uid, shares)
        if claim:
            del claims[uid]
            self.files.settle(claims, [claim], self._family.devices)
            self._save(claims)
        return shares

    def is_allocated(self, claim: PreparedClaim, found: dict[str, Any]) -> bool:
        """Whether FOUND, the object of CLAIM, is still allocated here with all that was prepared."""
        given = {(one.device, one.share_id) for one in results(found, self._family.driver, self._node)}
        return all((share.device, share.share_id) in given for share in claim.shares)

    def load(self, found: list[Finding] | None = None) -> Claims:
        """The prepared claims; a checkpoint that is damaged, of a later version, or gone while there are CDI
        files of claims, is made anew from the API. That is added to FOUND."""
        try:
            claims = self.checkpoint.load()
            if claims or self.checkpoint.is_there() or not self.cdi.uids():
                return claims
            raise errors.StateError("the checkpoint is gone, and CDI files of claims are there")
        except errors.StateError as problem:
            claims = rebuild.claims(self._kube, self._node, self._family, self.cdi, self._beside)
            kept = self.checkpoint.replace_damaged(claims)
            log.error("checkpoint rebuilt", error=str(problem), kept=str(kept), claims=len(claims))
            if found is not None:
                where = f"kept as {kept.name}, " if kept else ""
                text = f"{problem}; {where}{len(claims)} claims taken from the API"
                found.append(Finding("CheckpointRebuilt", text))
            return claims

    @contextmanager
    def locked(self, within_s: float = PATIENCE_S) -> Iterator[None]:
        """Exclude other threads and processes from the state; the kernel unlocks when we die. StateError when
        that cannot be had WITHIN_S. As long as it holds, the devices are those of its beginning."""
        with self._lock.held(time.monotonic() + within_s):
            self._family = self._latest
            yield

    @contextmanager
    def _asking(self, within_s: float) -> Iterator[None]:
        """Be one of the few that ask the API server; errors.Unavailable when WITHIN_S is over before."""
        if not self._askers.acquire(timeout=within_s):
            raise errors.Unavailable("too many claims wait for an answer of the API server")
        try:
            yield
        finally:
            self._askers.release()

    def _save(self, claims: Claims) -> None:
        self.checkpoint.save(claims)
        self._prepared.set(len(claims))

    def _claim(self, ref: ClaimRef, within_s: float) -> dict[str, Any]:
        try:
            return self._kube.get(RESOURCE_CLAIMS, ref.name, ref.namespace, patience_s=within_s)
        except errors.NotFound as problem:
            raise errors.PrepareError(f"{ref} is gone", reason="ClaimGone") from problem

    def _beside(
        self, ref: ClaimRef, claim: dict[str, Any], patience: Callable[[], float | None] = lambda: None
    ) -> together.Together:
        """The claims that the containers of this one use beside it, if that matters to the family."""
        if not self._backend.claim_wide:
            return together.ALONE
        return together.look(self._kube, ref, claim, self._family.driver, self._node, patience)

    def _refuse_lost(self, ref: ClaimRef, planned: PreparedClaim) -> None:
        """A card that fell off after the claim was allocated: the runtime would fail, and not say why."""
        for share in planned.shares:
            if share.device in self._lost:
                text = f"{ref}: {share.device} is lost: {self._lost[share.device]}"
                raise errors.PrepareError(text, reason="DeviceLost")


def _refuse_odd_names(ref: ClaimRef) -> None:
    """They become names of files and paths of the API."""
    for name in (ref.uid, ref.name, ref.namespace):
        if not _NAME.fullmatch(name):
            raise errors.PrepareError(f"{ref}: {name!r} is no name of an object", reason="BadRequest")


def _refuse_hung_up(ref: ClaimRef, wanted: Callable[[], bool]) -> None:
    if not wanted():
        raise errors.PrepareError(f"{ref}: kubelet waits no longer; it will ask again", reason="HungUp")


def _share_ids(claims: Iterable[PreparedClaim]) -> set[str]:
    return {share.share_id for claim in claims for share in claim.shares}
