"""Update of a converted Pod -> the update as it can be stored. Pure.

`kubectl apply` knows the manifest that a Pod was made from, and not that its resources have become a claim:
it puts them back, and the API server refuses, since the resources of a Pod are fixed. Amounts that the Pod
was made with are taken out again, so that it stays as it is; other amounts are refused with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hami_dra.admission import metadata
from hami_dra.admission.families import Family
from hami_dra.admission.patch import TRADITIONAL_SCHEDULER, left_of
from hami_dra.admission.request import CONTAINER_LISTS, requests_of
from hami_dra.model import names
from hami_dra.model.errors import RequestDenied

Object = dict[str, Any]


def is_converted(pod: Object) -> bool:
    """Whether POD, as it is stored, came through admission."""
    return ((pod.get("metadata") or {}).get("labels") or {}).get(names.CONVERTED_LABEL) == "true"


def restored(pod: Object, stored: Object, families: Sequence[Family]) -> Object:
    """POD, an update of the converted Pod STORED, without the amounts that STORED was made with.

    Raises RequestDenied when it names others.
    """
    before = {
        container["name"]: container
        for group in CONTAINER_LISTS
        for container in stored["spec"].get(group) or []
    }
    made_with = metadata.asked(stored["metadata"].get("annotations") or {})
    again = set()
    for request in requests_of(pod, families):
        former = made_with.get(request.container, {}) if request.container in before else {}
        if request.named != former:
            raise _fixed(request.where, request.named, former)
        again.add(request.container)
    spec = dict(pod["spec"])
    for group in CONTAINER_LISTS:
        if spec.get(group):
            spec[group] = [
                _restored(container, before[container["name"]], families)
                if container["name"] in again
                else container
                for container in spec[group]
            ]
    if spec.get("schedulerName") == TRADITIONAL_SCHEDULER:
        spec["schedulerName"] = stored["spec"].get("schedulerName")
    return {**pod, "spec": spec}


def _restored(container: Object, before: Object, families: Sequence[Family]) -> Object:
    left = left_of(container["resources"], families)
    held = (before.get("resources") or {}).get("claims") or []
    # A manifest with claims of its own: to `kubectl apply` the list is one value, and ours are not in it.
    if all(claim in held for claim in left.get("claims") or []):
        left["claims"] = held
    return dict(container, resources=left)


def _fixed(where: str, named: Mapping[str, int], former: Mapping[str, int]) -> RequestDenied:
    made = f", and the Pod was made with {_listed(former)}" if former else ""
    return RequestDenied(
        f"it asks for {_listed(named)}{made}: the share of a Pod is fixed when it is made",
        where=where,
        fix="Delete the Pod and create it again, as kubectl replace --force does",
    )


def _listed(amounts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {amount}" for name, amount in sorted(amounts.items()))
