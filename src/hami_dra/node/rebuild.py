"""A checkpoint that is damaged, of a later version or gone, made anew from the API.

What counts is every claim that is allocated on this node: more than were prepared, which only makes the sums
stricter. What containers were told is read out of their CDI files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog

from hami_dra.kube import RESOURCE_CLAIMS, KubeClient
from hami_dra.model import errors
from hami_dra.model.claim import ClaimRef, results
from hami_dra.model.share import PreparedClaim
from hami_dra.node import cdi, prepare
from hami_dra.node.checkpoint import Claims
from hami_dra.node.together import Together

log = structlog.get_logger(__name__)

Object = dict[str, Any]


def claims(
    kube: KubeClient,
    node: str,
    family: prepare.Family,
    files: cdi.CdiFolder,
    beside: Callable[[ClaimRef, Object], Together],
) -> Claims:
    """Those of FAMILY that are allocated on NODE; errors.KubeError. BESIDE: see `NodeDriver`."""
    found: Claims = {}
    noted = files.uids()
    # Those that containers hold come first: what they were told is theirs, the others get what is left.
    for item in sorted(kube.list(RESOURCE_CLAIMS)[0], key=lambda item: item["metadata"]["uid"] not in noted):
        meta = item["metadata"]
        ref = ClaimRef(meta["namespace"], meta["name"], meta["uid"])
        if not results(item, family.driver, node):
            continue
        try:
            planned = prepare.plan(ref, item, node, family, found.values())
        except errors.PrepareError as problem:
            log.warning("claim left out of the rebuilt checkpoint", claim=str(ref), error=str(problem))
            continue
        planned = replace(planned, together=beside(ref, item).uids)
        found[ref.uid] = _with_noted_units(planned, files.units(ref.uid))
    return found


def _with_noted_units(claim: PreparedClaim, noted: dict[str, dict[str, tuple[int, ...]]]) -> PreparedClaim:
    shares = (
        replace(share, units=noted.get(cdi.device_name(claim.uid, share), share.units))
        for share in claim.shares
    )
    return replace(claim, shares=tuple(shares))
