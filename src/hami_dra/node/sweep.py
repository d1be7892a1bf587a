"""Removes what no live claim owns: checkpoint entries, share folders, CDI files."""

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


def run(driver: NodeDriver, kube: KubeClient, stop: threading.Event) -> None:
    """Sweep now and then every ten minutes until STOP is set."""
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
    gone = {uid: claim for uid, claim in claims.items() if not _alive(kube, claim)}
    with driver.locked():
        # A claim that was allocated anew since then, and prepared, has other shares.
        dead = {uid for uid, claim in driver.load().items() if claim == gone.get(uid)}
        if dead:
            driver.forget(dead)
            _report("claim", dead)
        claims = driver.load()
        for uid in (stray := driver.cdi.uids() - claims.keys()):
            driver.cdi.remove(uid)
        _report("cdi", stray)
        owned = {share.share_id for claim in claims.values() for share in claim.shares}
        for share_id in (stray := driver.folders.ids() - owned):
            driver.folders.remove(share_id)
        _report("share", stray)


def _alive(kube: KubeClient, claim: PreparedClaim) -> bool:
    try:
        found = kube.get(RESOURCE_CLAIMS, claim.name, claim.namespace)
    except errors.NotFound:
        return False
    allocated = (found.get("status") or {}).get("allocation")
    return bool(found["metadata"]["uid"] == claim.uid and allocated)


def _report(kind: str, names: set[str]) -> None:
    if names:
        metrics.SWEPT.labels(kind).inc(len(names))
        log.info("swept", kind=kind, names=sorted(names))
