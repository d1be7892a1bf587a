"""Claim -> shares: a pure plan that refuses whatever it cannot grant in full (fail closed)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from hami_dra.model import quantity
from hami_dra.model.claim import ClaimRef, Result, configs, results
from hami_dra.model.device import Capacity, Device
from hami_dra.model.errors import PrepareError
from hami_dra.model.parameters import DEFAULTS, ShareParameters, addressed, allocation_problems, effective
from hami_dra.model.share import PreparedClaim, Share
from hami_dra.node.units import assign

# A share's id becomes a folder name and part of a CDI device name.
_SHARE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Family:
    """The devices of one driver on this node, by name. `limiter`: see `devices.backend.Backend`."""

    driver: str
    limiter: bool
    devices: Mapping[str, Device]


def plan(
    ref: ClaimRef,
    claim: dict[str, Any],
    node: str,
    family: Family,
    prepared: Iterable[PreparedClaim],
) -> PreparedClaim:
    """Return the shares of FAMILY that CLAIM has on NODE; PrepareError says why it cannot have them.

    PREPARED: all claims of the checkpoint.
    """
    try:
        return _plan(ref, claim, node, family, prepared)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as problem:
        text = f"{ref}: what the API server answers is no claim: {problem!r}"
        raise PrepareError(text, reason="BadAllocation") from problem


def _plan(
    ref: ClaimRef,
    claim: dict[str, Any],
    node: str,
    family: Family,
    prepared: Iterable[PreparedClaim],
) -> PreparedClaim:
    uid = claim["metadata"]["uid"]
    if uid != ref.uid:
        raise PrepareError(f"{ref} is gone: a claim of that name now has uid {uid}", reason="UidMismatch")
    if not (claim.get("status") or {}).get("allocation"):
        raise PrepareError(f"{ref} is not allocated", reason="NotAllocated")
    parameters = _parameters(ref, claim, family)
    shares = [
        replace(_share(ref, result, family.devices), parameters=parameters(result.request))
        for result in results(claim, family.driver, node)
    ]
    if not shares:
        raise PrepareError(f"{ref} has no device of {family.driver} on node {node}", reason="NotOnThisNode")
    claims = list(prepared)
    held = [share for other in claims if other.uid != ref.uid for share in other.shares]
    before = {share.key: share for other in claims if other.uid == ref.uid for share in other.shares}
    for name in {share.device for share in shares}:
        _refuse_over_commit(ref, family.devices[name], shares, held)
        _refuse_overlap(ref, family.devices[name], shares + held, family.devices)
    return PreparedClaim(ref.uid, ref.namespace, ref.name, _with_units(shares, held, before, family.devices))


def _parameters(ref: ClaimRef, claim: dict[str, Any], family: Family) -> Callable[[str], ShareParameters]:
    """What the claim's opaque parameters mean for a request."""
    given = configs(claim)
    if family.limiter:
        if wrong := allocation_problems(given):
            raise PrepareError(f"{ref}: {'; '.join(map(str, wrong))}", reason="BadParameters")
        return partial(effective, given)
    if any(addressed(entry, family.driver) for entry in given):
        raise PrepareError(
            f"{ref} carries opaque parameters for {family.driver}, which knows none: remove them from"
            " spec.devices.config of the claim or of its DeviceClass",
            reason="BadParameters",
        )
    return lambda request: DEFAULTS


def _share(ref: ClaimRef, result: Result, devices: Mapping[str, Device]) -> Share:
    device = devices.get(result.device)
    if device is None:
        known = ", ".join(devices) or "none"
        raise PrepareError(
            f"{ref}: device {result.device} is not on this node (it has {known})", reason="UnknownDevice"
        )
    if result.admin_access:
        raise PrepareError(f"{ref}: adminAccess is not supported", reason="AdminAccess")
    if device.consumable:
        _refuse_without_limits(ref, result, device)
    return Share(
        share_id=result.share_id,
        request=result.base_request,
        pool=result.pool,
        device=result.device,
        uuid=device.uuid,
        consumed={capacity.name: _amount(ref, result, capacity) for capacity in device.consumable},
    )


def _refuse_without_limits(ref: ClaimRef, result: Result, device: Device) -> None:
    missing = [capacity.name for capacity in device.consumable if capacity.name not in result.consumed]
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


def _amount(ref: ClaimRef, result: Result, capacity: Capacity) -> int:
    name = capacity.name
    try:
        value = quantity.parse_int(result.consumed[name])
    except ValueError as problem:
        raise PrepareError(f"{ref}: consumedCapacity.{name}: {problem}", reason="BadAllocation") from problem
    if not capacity.accepts(value):
        offered = ", ".join(map(str, capacity.values)) or f"{capacity.least} to {capacity.value}"
        raise PrepareError(
            f"{ref}: consumedCapacity.{name} is {value}, {result.device} has {offered}",
            reason="BadAllocation",
        )
    return value


def _refuse_over_commit(ref: ClaimRef, device: Device, shares: list[Share], held: list[Share]) -> None:
    """The last line of defence: the scheduler must never have given a device away twice."""
    users = [share for share in shares + held if share.uuid == device.uuid]
    sums = {
        capacity: sum(share.consumed.get(capacity.name, 0) for share in users)
        for capacity in device.consumable
    }
    exceeded = [
        f"{_show(capacity, total)} of {_show(capacity, capacity.value)} {capacity.name}"
        for capacity, total in sums.items()
        if total > capacity.value
    ]
    if not device.consumable and len(users) > 1:
        exceeded = [f"to {len(users)} claims, and it is not shared"]
    if exceeded:
        raise PrepareError(
            f"{ref}: {device.name} is given away more than once: with this claim {' and '.join(exceeded)}",
            reason="OverCommitted",
        )


def _refuse_overlap(
    ref: ClaimRef, device: Device, shares: list[Share], devices: Mapping[str, Device]
) -> None:
    """The same for devices that are cut from one: two of them must not have a slice in common."""
    for share in shares:
        other = devices.get(share.device)
        if other is None or other.name == device.name or not (device.parts and other.parts):
            continue
        if device.parts.overlap(other.parts):
            raise PrepareError(
                f"{ref}: {device.name} and {other.name}, which is given away as well, are cut from the same"
                f" slices of {device.parts.whole}",
                reason="OverCommitted",
            )


def _with_units(
    shares: list[Share], held: list[Share], before: Mapping[str, Share], devices: Mapping[str, Device]
) -> tuple[Share, ...]:
    """Each share with units of its own; one that was prepared before (BEFORE, by key) keeps those that it has
    while it has as much of the same card."""
    done = {
        share.key: replace(share, units=old.units)
        for share in shares
        if (old := before.get(share.key)) and (old.uuid, old.consumed) == (share.uuid, share.consumed)
    }
    for share in shares:
        if share.key not in done:
            users = [other for other in (*held, *done.values()) if other.uuid == share.uuid]
            done[share.key] = assign(share, devices[share.device], users)
    return tuple(done[share.key] for share in shares)


def _show(capacity: Capacity, amount: int) -> str:
    return quantity.format_bytes(amount) if capacity.in_bytes else str(amount)
