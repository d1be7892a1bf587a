"""Claims and templates as the controller makes them, and what of an annotation it believes. Pure.

What to make stands in the Pod's annotation. A user can write annotations, too: nothing is made that the user
could not get by asking in the ordinary way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from hami_dra.admission import metadata
from hami_dra.admission.claim_spec import template_name
from hami_dra.kube import kinds
from hami_dra.model import names, parameters

Object = dict[str, Any]


class Wish(NamedTuple):
    """One object that the annotation names; `doubt` says why it is not made, empty when it is."""

    group: str
    name: str
    spec: Object
    doubt: str


def wishes(pod: Object, device_classes: Collection[str]) -> Iterator[Wish]:
    """Everything that POD's annotation names, each with the doubt about it."""
    found = metadata.wanted(pod["metadata"].get("annotations") or {})
    for group, specs in found.items():
        referenced = metadata.named(pod["spec"], group)
        for name, spec in specs.items():
            yield Wish(group, name, spec, _doubt(group, name, spec, referenced, device_classes))


def claim(pod: Object, name: str, spec: Object) -> Object:
    """A ResourceClaim that goes with its Pod.

    Without `blockOwnerDeletion`: where OwnerReferencesPermissionEnforcement is on, that takes a right to
    change Pods' finalizers, and nothing of ours waits for a claim to go before its Pod does.
    """
    about = pod["metadata"]
    owner = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": about["name"],
        "uid": about["uid"],
        "controller": True,
    }
    made = bare_claim(about["namespace"], name, spec)
    made["metadata"]["ownerReferences"] = [owner]
    return made


def bare_claim(namespace: str, name: str, spec: Object) -> Object:
    """A ResourceClaim whose Pod does not exist yet."""
    return _object(kinds.RESOURCE_CLAIMS, name, namespace, spec)


def template(namespace: str, name: str, spec: Object) -> Object:
    """A ResourceClaimTemplate that all Pods of a namespace with this shape share."""
    body = {"metadata": {"labels": dict(names.MANAGED_BY)}, "spec": spec}
    return _object(kinds.RESOURCE_CLAIM_TEMPLATES, name, namespace, body)


def is_ours(item: Object) -> bool:
    """Whether the controller made it."""
    return (item["metadata"].get("labels") or {}).items() >= names.MANAGED_BY.items()


def owners(item: Object) -> list[str]:
    """Uids of the objects that ITEM goes with."""
    return [owner["uid"] for owner in item["metadata"].get("ownerReferences") or []]


def _object(kind: kinds.Kind, name: str, namespace: str, spec: Object) -> Object:
    about = {"name": name, "namespace": namespace, "labels": dict(names.MANAGED_BY)}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": about, "spec": spec}


def _doubt(
    group: str, name: str, spec: Object, referenced: Collection[str], device_classes: Collection[str]
) -> str:
    if name not in referenced or not _as_admission_asks(spec, device_classes):
        return _not_made(name, "is not for this Pod to ask for")
    if group == "templates" and name != template_name(spec):
        return _not_made(name, "is not the name of its content")
    return ""


def _not_made(name: str, why: str) -> str:
    return (
        f"{name} of the annotation {names.CLAIMS_ANNOTATION} is not made: it {why}. Create the Pod from its "
        "manifest, without this annotation and with its limits"
    )


def _as_admission_asks(spec: Object, device_classes: Collection[str]) -> bool:
    """Whether every request of SPEC is for one device of a class of ours, without rights that admission never
    gives. What a person asks for by a claim is looked at when it is made; claims that we make are not."""
    try:
        asked = [
            one
            for request in spec["devices"]["requests"]
            for one in request.get("firstAvailable") or [request["exactly"]]
        ]
        return not parameters.claim_problems(spec) and all(
            one["deviceClassName"] in device_classes
            and one["count"] == 1  # the API server refuses a count of all devices
            and not one.get("adminAccess")
            for one in asked
        )
    except (KeyError, TypeError, AttributeError):
        return False
