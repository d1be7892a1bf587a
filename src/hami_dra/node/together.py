"""Several claims of one family in one container: what it is told of its devices must name all of them.

A variable is in a container once, and of two claims that set it the later one wins. So claims that the same
containers use are described together. Where that cannot be, since another container uses only some of them,
`apart` says which, and `refuse_half_told` refuses the claim.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from hami_dra.devices.backend import ClaimEdits
from hami_dra.kube import RESOURCE_CLAIMS, KubeClient
from hami_dra.kube.kinds import PODS
from hami_dra.model import errors
from hami_dra.model.claim import ClaimRef, results, users
from hami_dra.model.share import PreparedClaim

Object = dict[str, Any]


@dataclass(frozen=True)
class Together:
    """`others`: uids of the claims that containers use beside this one, by name. `apart`: who uses only some
    of them, or may do so later, in a person's words; empty when there is nobody. `parted`: the same for a
    container that uses only some requests of this claim."""

    others: tuple[tuple[str, str], ...] = ()
    apart: str = ""
    parted: str = ""

    @property
    def uids(self) -> tuple[str, ...]:
        """Of the claims that this one is described with."""
        return () if self.apart else tuple(uid for _, uid in self.others)


ALONE = Together()


def look(
    kube: KubeClient,
    ref: ClaimRef,
    claim: Object,
    driver: str,
    node: str,
    patience: Callable[[], float | None] = lambda: None,
) -> Together:
    """Who uses CLAIM, and what beside it of DRIVER on NODE. PATIENCE: what each answer may take by then, see
    KubeClient.get. Raises errors.KubeError."""
    pods = {pod["metadata"]["uid"]: pod for pod in _pods(kube, claim, patience)}
    beside = {name for names in _names(pods.values()).values() if ref.name in names for name in names}
    requests = {result.base_request for result in results(claim, driver, node)}
    split = parted(ref.name, requests, pods.values())
    others: dict[str, Object] = {}
    for name in sorted(beside - {ref.name}):
        try:
            other = kube.get(RESOURCE_CLAIMS, name, ref.namespace, patience_s=patience())
        except errors.NotFound:
            continue
        if results(other, driver, node):
            others[name] = other
    if not others:
        return Together(parted=split)
    for other in others.values():
        pods |= {pod["metadata"]["uid"]: pod for pod in _pods(kube, other, patience)}
    uids = tuple((name, other["metadata"]["uid"]) for name, other in others.items())
    split_up = apart({ref.name, *others}, pods.values()) or standalone([claim, *others.values()])
    return Together(uids, split_up, split)


def linked(claims: Mapping[str, PreparedClaim], group: Collection[str]) -> dict[str, PreparedClaim]:
    """Those of CLAIMS that are in GROUP (uids), each with the others noted. Pure."""
    return {
        uid: replace(claim, together=tuple(sorted(set(group) - {uid})))
        for uid, claim in claims.items()
        if uid in group
    }


def refuse_half_told(
    ref: ClaimRef,
    planned: PreparedClaim,
    beside: Together,
    prepared: Mapping[str, PreparedClaim],
    edits: Callable[[Sequence[PreparedClaim]], ClaimEdits],
) -> None:
    """Where containers use parts of what is described together: refuse the claim whose variables would take
    another's place, or name what is not the container's. PREPARED by uid; EDITS: what claims that are
    described together get. Pure but for EDITS."""
    known = [(name, prepared[uid]) for name, uid in beside.others if uid in prepared]
    group = [planned, *(claim for _, claim in known)]
    requests = {share.request for share in planned.shares}
    if beside.parted and not _told_the_same([planned], [planned.part(each) for each in requests], edits):
        raise errors.PrepareError(
            f"{ref}: {beside.parted}, and the variables that name its devices name all of them. Give each"
            " container a claim of its own",
            reason="ClaimsMixed",
        )
    if beside.apart and known and not _told_the_same(group, group, edits):
        others = " and ".join(name for name, _ in known)
        raise errors.PrepareError(
            f"{ref}: a container uses it beside {others}, and {beside.apart}: the variables that name its"
            f" devices can say one thing only. Ask for all devices of a container"
            " in one claim, with a request for each",
            reason="ClaimsMixed",
        )


def _told_the_same(
    group: Sequence[PreparedClaim],
    parts: Iterable[PreparedClaim],
    edits: Callable[[Sequence[PreparedClaim]], ClaimEdits],
) -> bool:
    """Whether a container with one of PARTS hears the same as one with the whole GROUP."""
    whole, alone = edits(group), [edits([part]) for part in parts]
    return all(
        each.common == whole.common and all(whole.shares[key] == of for key, of in each.shares.items())
        for each in alone
    )


def apart(group: Collection[str], pods: Iterable[Object]) -> str:
    """The first container that uses some of the claims GROUP and not all of them; empty without one. Pure."""
    for user, names in sorted(_names(pods).items()):
        mine = sorted(names & set(group))
        if mine and len(mine) < len(group):
            return f"{user} uses {' and '.join(mine)} alone"
    return ""


def standalone(claims: Iterable[Object]) -> str:
    """The first of CLAIMS that a later Pod may use alone; empty when each belongs to a Pod. Kubelet asks no
    second time for a claim that is prepared, so that Pod would hear what the first one did. Pure."""
    for claim in claims:
        owners = claim["metadata"].get("ownerReferences") or []
        if not any(owner["kind"] == "Pod" for owner in owners):
            return f"{claim['metadata']['name']} belongs to no Pod, so that a later one may use it alone"
    return ""


def parted(claim: str, requests: Collection[str], pods: Iterable[Object]) -> str:
    """The first container that uses some of the REQUESTS of CLAIM and not all; empty without one. Pure."""
    for user, used in sorted(_uses(pods).items()):
        mine = {request for name, request in used if name == claim}
        if "" not in mine and mine & set(requests) and not mine >= set(requests):
            return f"{user} uses {' and '.join(sorted(mine))} of it alone"
    return ""


def _names(pods: Iterable[Object]) -> dict[str, set[str]]:
    """Container, in a person's words -> names of the claims that it uses."""
    return {user: {name for name, _ in used} for user, used in _uses(pods).items()}


def _uses(pods: Iterable[Object]) -> dict[str, set[tuple[str, str]]]:
    """The same, with the request that it uses of each; an empty one stands for all."""
    return {
        f"container {container['name']} of Pod {pod['metadata']['name']}": set(_named(pod, container))
        for pod in pods
        for group in ("initContainers", "containers")
        for container in pod["spec"].get(group) or []
    }


def _named(pod: Object, container: Object) -> Iterator[tuple[str, str]]:
    status = pod.get("status") or {}
    made = {each["name"]: each for each in status.get("resourceClaimStatuses") or []}
    listed = {each["name"]: each for each in pod["spec"].get("resourceClaims") or []}
    for used in (container.get("resources") or {}).get("claims") or []:
        entry = listed.get(used["name"]) or {}
        name = entry.get("resourceClaimName") or made.get(used["name"], {}).get("resourceClaimName")
        if name:
            yield name, used.get("request") or ""
    # What it asks for by an extended resource is a claim of the scheduler's (DRAExtendedResource).
    extended = status.get("extendedResourceClaimStatus") or {}
    for mapped in extended.get("requestMappings") or []:
        if mapped["containerName"] == container["name"]:
            yield extended["resourceClaimName"], mapped["requestName"]


def _pods(kube: KubeClient, claim: Object, patience: Callable[[], float | None]) -> Iterator[Object]:
    for user in users(claim):
        with suppress(errors.NotFound):
            yield kube.get(PODS, user["name"], claim["metadata"]["namespace"], patience_s=patience())
