"""The Pods that wait for a share, since when and why. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hami_dra.model import explain, names
from hami_dra.model.claim import names_of
from hami_dra.model.explanation import View
from hami_dra.model.room import Room

Object = dict[str, Any]


@dataclass(frozen=True)
class Waiting:
    """`since` is the Pod's creation in seconds of the epoch; `next` a command that leads on."""

    namespace: str
    pod: str
    since: float
    reason: str
    sentence: str
    next: str


@dataclass(frozen=True)
class Objects:
    """What a Pod's wait depends on. PODS: those that are Pending; NODES: those with LABELS.

    RESOURCES: the extended resources that admission makes claims of. LABELS, SYSTEM: as in
    explanation.View.
    """

    pods: list[Object]
    claims: list[Object]
    slices: list[Object]
    nodes: list[Object]
    classes: list[Object]
    resources: Collection[str] = ()
    labels: str = names.NODE_LABELS
    system: str = names.NAMESPACE


def find(objects: Objects) -> list[Waiting]:
    """Pods with a claim of ours that wait, those that wait longest first."""
    claims = {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in objects.claims}
    room = Room.of(objects.slices, objects.claims)
    found = [
        _waiting(pod, own, objects, room)
        for pod in objects.pods
        if _ours(pod, own := _claims(pod, claims), objects)
    ]
    return sorted((each for each in found if each), key=lambda waiting: waiting.since)


def _waiting(pod: Object, claims: list[Object], objects: Objects, room: Room) -> Waiting | None:
    view = View(
        pod=pod,
        claims=claims,
        events=[],
        slices=objects.slices,
        all_claims=objects.claims,
        nodes=objects.nodes,
        classes=objects.classes,
        room=room,
        resources=objects.resources,
        labels=objects.labels,
        system=objects.system,
    )
    why = explain.explain(view)
    metadata = pod["metadata"]
    if not why.waiting or metadata.get("deletionTimestamp"):
        return None
    created = datetime.datetime.fromisoformat(metadata["creationTimestamp"])
    return Waiting(
        metadata["namespace"], metadata["name"], created.timestamp(), why.reason, why.sentence, why.next
    )


def _claims(pod: Object, claims: Mapping[tuple[str, str], Object]) -> list[Object]:
    """The claims that exist of those the Pod names, by itself or through a template."""
    namespace = pod["metadata"]["namespace"]
    return [claims[namespace, name] for name in names_of(pod) if (namespace, name) in claims]


def _ours(pod: Object, claims: Iterable[Object], objects: Objects) -> bool:
    """Whether a claim names a class of ours, or one that is not there; or admission marked the Pod; or it
    names resources that admission should have made a claim of."""
    if not pod["spec"].get("resourceClaims"):
        return bool(explain.unconverted(pod, objects.resources))
    known = {item["metadata"]["name"] for item in objects.classes}
    asked = {
        choice["deviceClassName"]
        for claim in claims
        for request in claim["spec"]["devices"].get("requests") or []
        for choice in [request.get("exactly"), *(request.get("firstAvailable") or [])]
        if choice
    }
    converted = names.CONVERTED_LABEL in (pod["metadata"].get("labels") or {})
    return converted or any(map(names.is_ours, asked)) or bool(asked - known)
