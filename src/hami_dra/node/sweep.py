"""Removes what no live claim owns: checkpoint entries, share folders, CDI files; puts back what one lost."""

from __future__ import annotations

import threading

import structlog

from hami_dra.kube import RESOURCE_CLAIMS, KubeClient
from hami_dra.model import errors
from hami_dra.model.share import PreparedClaim
from hami_dra.node import metrics
from hami_dra.node.driver import NodeDriver

log = structlog.get_logger(__name__)

EVERY_S = 600.0
PATIENCE_S = 1.0
"""For an answer that kubelet's calls wait for as well."""


def run(driver: NodeDriver, kube: KubeClient, stop: threading.Event) -> None:
    """Sweep at once, and every ten minutes after that, until STOP is set."""
    while not stop.is_set():
        try:
            sweep(driver, kube)
        except (errors.HamiError, OSError) as problem:
            log.warning("sweep failed, will be tried again", error=str(problem))
        stop.wait(EVERY_S)


def sweep(driver: NodeDriver, kube: KubeClient) -> None:
    """One round. Claims are asked for one by one: a list of a big cluster's claims is no node's business."""
    with driver.locked():
        claims = driver.load()
    for claim in claims.values():
        if not _alive(driver, kube, claim):
            _forget_dead(driver, kube, claim.uid)
    with driver.locked():
        claims = driver.load()
        for uid in (stray := driver.cdi.uids() - claims.keys()):
            driver.cdi.remove(uid)
        _report("cdi", stray)
        owned = {share.share_id for claim in claims.values() for share in claim.shares}
        for share_id in (stray := driver.folders.ids() - owned):
            driver.folders.remove(share_id)
        _report("share", stray)
    # kubelet does not ask again for what it knows as prepared, and no container of it would start any more.
    for found in driver.restore(only_missing=True):
        log.warning("prepared claims looked after", reason=found.reason, what=found.message)


def _forget_dead(driver: NodeDriver, kube: KubeClient, uid: str) -> None:
    """Ask once more while nothing can be prepared: it may have been allocated anew, in the very same way, and
    prepared, since the first answer.

    One that is still used is kubelet's to give back: its Pod was deleted by force, and is ending.
    """
    with driver.locked():
        claim = driver.load().get(uid)
        if claim and not _used(driver, claim) and not _alive(driver, kube, claim, patience_s=PATIENCE_S):
            try:
                driver.forget(uid)
            except errors.DriverError as problem:  # the others must not wait for its device
                log.warning("dead claim stays until the next sweep", uid=uid, error=str(problem))
            else:
                _report("claim", {uid})


def _used(driver: NodeDriver, claim: PreparedClaim) -> bool:
    """Whether a process computes on one of its shares now."""
    return any(driver.folders.is_used(share.share_id) for share in claim.shares)


def _alive(
    driver: NodeDriver, kube: KubeClient, claim: PreparedClaim, *, patience_s: float | None = None
) -> bool:
    """Whether CLAIM is allocated as it was prepared."""
    try:
        found = kube.get(RESOURCE_CLAIMS, claim.name, claim.namespace, patience_s=patience_s)
    except errors.NotFound:
        return False
    return bool(found["metadata"]["uid"] == claim.uid) and driver.is_allocated(claim, found)


def _report(kind: str, names: set[str]) -> None:
    if names:
        metrics.SWEPT.labels(kind).inc(len(names))
        log.info("swept", kind=kind, names=sorted(names))
