"""A Pod that is reviewed once more before it is stored -> the Pod as it was before its conversion. Pure.

Another webhook has added a container; or what fills in amounts that are missing, a LimitRange or a later
webhook, has done so where the amounts have become a claim. Converted afresh, each container has one claim of
all that it asks for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hami_dra.admission import metadata
from hami_dra.admission.families import Family
from hami_dra.admission.request import CONTAINER_LISTS, names_any
from hami_dra.model import names

Object = dict[str, Any]


def unconverted(pod: Object, families: Sequence[Family]) -> Object:
    """POD itself when nothing is to be converted afresh. What a container asked for first counts."""
    given = (pod.get("metadata") or {}).get("annotations") or {}
    if names.CLAIMS_ANNOTATION not in given or not _asks(pod["spec"], families):
        return pod
    made, asked = metadata.wanted(given), metadata.asked(given)
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
    containers = [each for group in CONTAINER_LISTS for each in spec.get(group) or []]
    return any(names_any(each, family.resources.all) for each in containers for family in families)


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
