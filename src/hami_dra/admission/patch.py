"""Pod -> the Pod as it is admitted, and the claims or templates that the controller makes for it. Pure.

A bare Pod gets a claim named after it (`<namespace>-<pod>-<container>`). A Pod that a controller made, that
has only a generateName, that belongs to a group, or whose claim name is taken gets a template, shared by all
Pods of its namespace with the same shape; Kubernetes then makes, owns and removes each claim.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hami_dra.admission import claim_spec, init_shares, metadata, reinvocation
from hami_dra.admission.families import Family
from hami_dra.admission.request import (
    CONTAINER_LISTS,
    GpuRequest,
    names_any,
    refuse_put_by_hand,
    requests_of,
)
from hami_dra.admission.selection import Selection, selection
from hami_dra.admission.settings import Settings
from hami_dra.model.errors import RequestDenied
from hami_dra.model.published import Card
from hami_dra.model.room import fits_somewhere, wishes

Object = dict[str, Any]
Find = Callable[[str, str], Object | None]

LONGEST_NAME = 63
"""Names of Pod claims and of claims used in status fields are DNS labels."""

POD_GROUP = "kueue.x-k8s.io/pod-group-name"
"""Label of Pods that Kueue admits together: at most 8 kinds, and names of claims tell kinds apart."""

TRADITIONAL_SCHEDULER = "hami-scheduler"
"""Manifests of HAMi's traditional mode may name it; it does not run here."""


@dataclass(frozen=True)
class Surroundings:
    """What of the cluster bears on a conversion; reading it is not a side effect.

    `claim` finds one by namespace and name. `traditional` names the webhook configuration of HAMi's
    traditional mode, when there is one. `kubernetes`: the cluster's minor version, 0 while it is not known.
    """

    cards: Sequence[Card] = ()
    claim: Find = lambda namespace, name: None
    traditional: str = ""
    kubernetes: int = 0


@dataclass(frozen=True)
class Conversion:
    """`pod` as admitted; `claims` and `templates` map names to specs; `warnings` for the user."""

    pod: Object
    claims: dict[str, Object] = field(default_factory=dict)
    templates: dict[str, Object] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def convert(pod: Object, namespace: str, settings: Settings, surroundings: Surroundings) -> Conversion | None:
    """Convert a Pod; None when it is to stay as it is. Raises errors.RequestDenied."""
    given, pod = pod, reinvocation.unconverted(pod, settings.families)
    fresh = pod is given  # else it carries claims of an earlier conversion, which have to go in any case
    if fresh and settings.extended_resource and is_plain(pod, settings.families):
        return None
    requests = requests_of(pod, settings.families)
    if fresh and not requests:
        return None
    if requests:
        refuse_put_by_hand(pod)
    if surroundings.traditional:
        raise RequestDenied(
            f"HAMi's traditional mode ({surroundings.traditional}) runs in this cluster too and would hand "
            "out the same cards",
            where="cluster",
            fix="Uninstall one of the two",
        )
    selections = {
        family: selection(pod, family, surroundings.cards)
        for family in dict.fromkeys(request.family for request in requests)
    }
    made = _with_claims(pod, namespace, settings, surroundings, requests, selections)
    made.warnings.extend(_warnings(pod, made, requests, selections, surroundings.cards))
    wanted = {"claims": made.claims, "templates": made.templates}
    amounts = {request.container: request.named for request in requests}
    made.pod["metadata"] = metadata.described(made.pod, wanted, amounts)
    return made


def _with_claims(
    pod: Object,
    namespace: str,
    settings: Settings,
    surroundings: Surroundings,
    requests: Sequence[GpuRequest],
    selections: Mapping[Family, Selection],
) -> Conversion:
    """POD with claims in place of its resources; its metadata are still those of before."""
    made = Conversion(pod={**pod, "spec": dict(pod["spec"])})
    spec, taken = made.pod["spec"], _taken(pod)
    lenders = init_shares.lenders(requests)
    entries: dict[str, Object] = {}
    for request in requests:
        if request.container not in lenders:
            name = _entry_name(request.container, taken)
            reference = _reference(request, pod, namespace, selections[request.family], surroundings, made)
            entries[request.container] = {"name": name} | reference
    for group in CONTAINER_LISTS:
        if spec.get(group):
            spec[group] = [
                _handed_over(container, lenders, entries, settings.families) for container in spec[group]
            ]
    spec["resourceClaims"] = [*(spec.get("resourceClaims") or []), *entries.values()]
    if spec.get("schedulerName") == TRADITIONAL_SCHEDULER:
        spec["schedulerName"] = "default-scheduler"
    return made


def _warnings(
    pod: Object,
    made: Conversion,
    requests: Sequence[GpuRequest],
    selections: Mapping[Family, Selection],
    cards: Sequence[Card],
) -> Iterator[str]:
    """What POD asks for and does not get, or not at once."""
    for chosen in selections.values():
        yield from chosen.warnings
    for request in requests:
        yield from claim_spec.doubts(request, selections[request.family])
    yield from _together(made, cards)
    if pod["spec"].get("schedulerName") == TRADITIONAL_SCHEDULER:
        yield f"spec.schedulerName {TRADITIONAL_SCHEDULER} is of HAMi's traditional mode, the default is used"
    yield from _privileged(pod["spec"], requests)


def is_plain(pod: Object, families: Sequence[Family]) -> bool:
    """Whether the Pod names whole cards alone, so that Kubernetes' own mapping serves it."""
    given = (pod.get("metadata") or {}).get("annotations") or {}
    for family in families:
        more = [name for name in family.resources.all if name != family.resources.gpu or not family.mapped]
        if any(name in given for name in family.annotations.all):
            return False
        for group in CONTAINER_LISTS:
            if any(names_any(container, more) for container in pod["spec"].get(group) or []):
                return False
    return True


def claim_name(namespace: str, pod: Object, container: str) -> str | None:
    """The guide's claim name for a bare Pod; None for a Pod that a controller made, or one of a group.

    Dots stay, and the hash of a name that is cut is of all three parts: Pods `a.b` and `a-b` may be made at
    the same moment.
    """
    given = pod.get("metadata") or {}
    owned = any(owner.get("controller") for owner in given.get("ownerReferences") or [])
    grouped = POD_GROUP in (given.get("labels") or {})
    if owned or grouped or not given.get("name") or given.get("generateName"):
        return None
    name = f"{namespace}-{given['name']}-{container}"
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(f"{namespace}/{given['name']}/{container}".encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9].rstrip('-.')}-{digest}"


def _reference(
    request: GpuRequest,
    pod: Object,
    namespace: str,
    selected: Selection,
    surroundings: Surroundings,
    made: Conversion,
) -> Object:
    """What the container's entry in the Pod's list of claims refers to; its content is noted in MADE."""
    spec = claim_spec.specification(request, selected)
    name = claim_name(namespace, pod, request.container)
    if name is None or surroundings.claim(namespace, name) is not None:
        template = claim_spec.template_name(spec)
        made.templates[template] = spec
        return {"resourceClaimTemplateName": template}
    made.claims[name] = spec
    return {"resourceClaimName": name}


def _taken(pod: Object) -> set[str]:
    """Names of the user's own claims in the Pod."""
    return {entry["name"] for entry in pod["spec"].get("resourceClaims") or []}


def _entry_name(container: str, taken: set[str]) -> str:
    """Name in the Pod's list of claims: the container's, unless it is TAKEN; noted there."""
    numbered = (f"{container[: LONGEST_NAME - 4]}-{number}" for number in itertools.count(1))
    name = next(name for name in itertools.chain([container], numbered) if name not in taken)
    taken.add(name)
    return name


def _handed_over(
    container: Object, lenders: dict[str, str], entries: dict[str, Object], families: Sequence[Family]
) -> Object:
    """CONTAINER with its claim in place of the extended resources; itself when it asked for nothing."""
    name: str = container["name"]
    entry = entries.get(lenders.get(name, name))
    if entry is None:
        return container
    listed = left_of(container["resources"], families)
    listed["claims"] = [*(listed.get("claims") or []), {"name": entry["name"]}]
    return dict(container, resources=listed)


def left_of(resources: Object, families: Sequence[Family]) -> Object:
    """A container's RESOURCES without those that admission takes out."""
    left = dict(resources)
    for group in ("limits", "requests"):
        if group in left:
            kept = {
                name: text
                for name, text in (left.pop(group) or {}).items()
                if not any(name in family.resources.all for family in families)
            }
            if kept:
                left[group] = kept
    return left


def _together(made: Conversion, cards: Sequence[Card]) -> Iterator[str]:
    """A warning when some published node could serve each share of the Pod, and none all of them."""
    held = list(metadata.held(made.pod["spec"], {"claims": made.claims, "templates": made.templates}))
    if len(held) < 2:
        return
    requests = [alternatives for claim in held for alternatives in wishes({"spec": claim})]
    if not fits_somewhere(requests, cards) and all(fits_somewhere([each], cards) for each in requests):
        yield "no published node has as much as the containers ask for together: the Pod will wait for one"


def _privileged(spec: Object, requests: Sequence[GpuRequest]) -> Iterator[str]:
    containers = {each["name"]: each for group in CONTAINER_LISTS for each in spec.get(group) or []}
    for request in requests:
        if (containers[request.container].get("securityContext") or {}).get("privileged"):
            yield (
                f"{request.where}: it is privileged: runtimes give it every device of its node, so that it "
                "reaches cards of which it has no share"
            )
