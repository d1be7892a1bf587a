"""A Pod that is reviewed once more before it is stored -> the Pod as it was before its conversion. Pure.

Another webhook has added a container; or what fills in amounts that are missing, a LimitRange or a later
webhook, has done so where the amounts have become a claim. Converted afresh, each container has one claim of
all that it asks for.

A manifest that was copied from a converted Pod looks the same, and amounts that somebody wrote into it are
meant. The managed fields tell them apart: they say what the manifest had, and nothing of what admission did.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from hami_dra.admission import metadata
from hami_dra.admission.families import Family
from hami_dra.admission.request import CONTAINER_LISTS, names_any
from hami_dra.model import names

Object = dict[str, Any]


def unconverted(pod: Object, families: Sequence[Family]) -> Object:
    """POD itself when nothing is to be converted afresh. What a container asked for first counts, unless a
    copied manifest asks for something else."""
    given = (pod.get("metadata") or {}).get("annotations") or {}
    if names.CLAIMS_ANNOTATION not in given or not _asks(pod["spec"], families):
        return pod
    made, written = metadata.wanted(given), set(_written(pod, families))
    asked = {name: amounts for name, amounts in metadata.asked(given).items() if name not in written}
    listed = pod["spec"].get("resourceClaims") or []
    ours = {
        entry["name"]
        for entry in listed
        if entry.get("resourceClaimName") in made["claims"]
        or entry.get("resourceClaimTemplateName") in made["templates"]
    }
    spec = {**pod["spec"], "resourceClaims": [entry for entry in listed if entry["name"] not in ours]}
    for group in CONTAINER_LISTS:
        if spec.get(group):
            spec[group] = [_before(each, asked.get(each["name"], {}), ours) for each in spec[group]]
    return {**pod, "spec": spec}


def _asks(spec: Object, families: Sequence[Family]) -> bool:
    return any(_asking(spec, families))


def _asking(spec: Object, families: Sequence[Family]) -> Iterator[str]:
    """The containers that name amounts."""
    for group in CONTAINER_LISTS:
        for container in spec.get(group) or []:
            if any(names_any(container, family.resources.all) for family in families):
                yield container["name"]


def _written(pod: Object, families: Sequence[Family]) -> Iterator[str]:
    """The containers of a copied manifest that it has amounts for: in a file, all that have some."""
    if "managedFields" not in pod["metadata"]:
        yield from _asking(pod["spec"], families)
    for entry in pod["metadata"].get("managedFields") or []:
        fields = entry.get("fieldsV1") or {}
        if f"f:{names.CLAIMS_ANNOTATION}" in fields.get("f:metadata", {}).get("f:annotations", {}):
            yield from _asking_by(fields.get("f:spec", {}), families)


def _asking_by(fields: Object, families: Sequence[Family]) -> Iterator[str]:
    """As `_asking`, of the managed fields of a Pod's specification."""
    ours = {f"f:{name}" for family in families for name in family.resources.all}
    for group in CONTAINER_LISTS:
        for key, container in fields.get(f"f:{group}", {}).items():
            listed = container.get("f:resources", {})
            if not ours.isdisjoint([*listed.get("f:limits", {}), *listed.get("f:requests", {})]):
                yield msgspec.json.decode(key.removeprefix("k:"))["name"]


def _before(container: Object, asked: Mapping[str, int], ours: Collection[str]) -> Object:
    """CONTAINER without its claims of OURS, and with what it ASKED for; itself when it has none of these."""
    resources = container.get("resources") or {}
    claims = resources.get("claims") or []
    kept = [claim for claim in claims if claim["name"] not in ours]
    if len(kept) == len(claims):
        return container
    back: Object = {"claims": kept} | {
        group: {name: text for name, text in (resources.get(group) or {}).items() if name not in asked}
        for group in ("limits", "requests")
    }
    back["limits"] |= {name: str(amount) for name, amount in asked.items()}
    return dict(container, resources=resources | back)
