"""Claim -> shares: a pure plan that refuses whatever it cannot grant in full (fail closed)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from hami_dra.model import quantity
from hami_dra.model.claim import ClaimRef, Result, opaque_configs, results
from hami_dra.model.device import Device
from hami_dra.model.errors import PrepareError
from hami_dra.model.names import DRIVER, MIB
from hami_dra.model.parameters import allocation_problems, effective
from hami_dra.model.share import PreparedClaim, Share

# A share's id becomes a folder name and part of a CDI device name.
_SHARE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def plan(
    ref: ClaimRef,
    claim: dict[str, Any],
    node: str,
    devices: Mapping[str, Device],
    prepared: Iterable[PreparedClaim],
) -> PreparedClaim:
    """Return the shares that CLAIM has on NODE. DEVICES by name; PREPARED: all claims of the checkpoint."""
    uid = claim["metadata"]["uid"]
    if uid != ref.uid:
        raise PrepareError(f"{ref} is gone: a claim of that name now has uid {uid}", reason="UidMismatch")
    if not (claim.get("status") or {}).get("allocation"):
        raise PrepareError(f"{ref} is not allocated", reason="NotAllocated")
    configs = opaque_configs(claim, DRIVER)
    if wrong := allocation_problems(configs):
        raise PrepareError(f"{ref}: {'; '.join(map(str, wrong))}", reason="BadParameters")
    shares = tuple(
        replace(_share(ref, result, devices), parameters=effective(configs, result.request))
        for result in results(claim, DRIVER, node)
    )
    if not shares:
        raise PrepareError(f"{ref} has no device of {DRIVER} on node {node}", reason="NotOnThisNode")
    wanted = PreparedClaim(ref.uid, ref.namespace, ref.name, shares)
    _refuse_over_commit(wanted, devices, [other for other in prepared if other.uid != ref.uid])
    return wanted


def _share(ref: ClaimRef, result: Result, devices: Mapping[str, Device]) -> Share:
    device = devices.get(result.device)
    if device is None:
        known = ", ".join(devices) or "none"
        raise PrepareError(
            f"{ref}: device {result.device} is not on this node (it has {known})", reason="UnknownDevice"
        )
    if result.admin_access:
        raise PrepareError(f"{ref}: adminAccess is not supported", reason="AdminAccess")
    missing = [name for name in ("memory", "cores") if name not in result.consumed]
    if missing or not result.share_id:
        what = f"consumedCapacity.{missing[0]}" if missing else "shareID"
        raise PrepareError(
            f"{ref}: the allocation of {result.device} has no {what}, so its limit is unknown: switch on"
            " the feature gate DRAConsumableCapacity in kube-apiserver and kube-scheduler, then make the"
            " claim anew",
            reason="NoConsumedCapacity" if missing else "NoShareID",
        )
    if not _SHARE_ID.fullmatch(result.share_id):
        raise PrepareError(f"{ref}: shareID {result.share_id!r} is no UUID", reason="BadAllocation")
    return Share(
        share_id=result.share_id,
        request=result.base_request,
        pool=result.pool,
        device=result.device,
        uuid=device.uuid,
        memory=_amount(ref, result, "memory", 1, device.memory),
        cores=_amount(ref, result, "cores", 0, 100),
    )


def _amount(ref: ClaimRef, result: Result, name: str, least: int, most: int) -> int:
    try:
        value = quantity.parse_int(result.consumed[name])
    except ValueError as problem:
        raise PrepareError(f"{ref}: consumedCapacity.{name}: {problem}", reason="BadAllocation") from problem
    if not least <= value <= most:
        raise PrepareError(
            f"{ref}: consumedCapacity.{name} is {value}, {result.device} has {least} to {most}",
            reason="BadAllocation",
        )
    return value


def _refuse_over_commit(
    wanted: PreparedClaim, devices: Mapping[str, Device], others: list[PreparedClaim]
) -> None:
    """The last line of defence: the scheduler must never have given a card away twice."""
    for name in {share.device for share in wanted.shares}:
        mine = [share for share in wanted.shares if share.device == name]
        held = [share for other in others for share in other.shares if share.uuid == devices[name].uuid]
        memory = sum(share.memory for share in mine + held)
        cores = sum(share.cores for share in mine + held)
        whole = devices[name].memory
        if memory > whole or cores > 100:
            raise PrepareError(
                f"claim {wanted.namespace}/{wanted.name} ({wanted.uid}): {name} is given away more than once:"
                f" with this claim {memory // MIB} of {whole // MIB} MiB and {cores} of 100 cores",
                reason="OverCommitted",
            )
