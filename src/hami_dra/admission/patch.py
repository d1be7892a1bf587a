"""Pod -> the Pod as it is admitted, and the claims or templates that the controller makes for it. Pure.

A bare Pod gets a claim named after it (`<namespace>-<pod>-<container>`). A Pod that a controller made, that
has only a generateName, or whose claim name is taken gets a template, shared by all Pods of its namespace
with the same shape; Kubernetes then makes, owns and removes each claim.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hami_dra.admission import claims, selection
from hami_dra.admission.request import CONTAINER_LISTS, GpuRequest, ResourceNames, requests_of
from hami_dra.model import names

Object = dict[str, Any]

LONGEST_NAME = 63
"""Names of Pod claims and of claims used in status fields are DNS labels."""


@dataclass(frozen=True)
class Settings:
    """What an operator sets for admission."""

    resources: ResourceNames = field(default_factory=ResourceNames)
    device_class: str = names.DRIVER


@dataclass(frozen=True)
class Surroundings:
    """What of the cluster bears on a conversion; reading it is not a side effect."""

    memory_sizes: Sequence[int] = ()
    name_taken: Callable[[str, str], bool] = lambda namespace, name: False


@dataclass(frozen=True)
class Conversion:
    """`pod` as admitted; `claims` and `templates` map names to specs; `warnings` for the user."""

    pod: Object
    claims: dict[str, Object]
    templates: dict[str, Object]
    warnings: list[str]


def convert(pod: Object, namespace: str, settings: Settings, surroundings: Surroundings) -> Conversion | None:
    """Convert a Pod; None when it asks for nothing of ours. Raises errors.RequestDenied."""
    requests = requests_of(pod, settings.resources)
    if not requests:
        return None
    changed = copy.deepcopy(pod)
    expressions = selection.selectors(pod)
    made: Conversion = Conversion(changed, {}, {}, _warnings(pod, settings.resources))
    for request in requests:
        spec = claims.specification(request, expressions, settings.device_class, surroundings.memory_sizes)
        entry = {"name": _entry_name(request.container, pod)}
        name = claim_name(namespace, pod, request.container)
        if name is None or surroundings.name_taken(namespace, name):
            template = claims.template_name(spec)
            entry["resourceClaimTemplateName"] = template
            made.templates[template] = spec
        else:
            entry["resourceClaimName"] = name
            made.claims[name] = spec
        changed["spec"].setdefault("resourceClaims", []).append(entry)
        _hand_over(changed, request, entry["name"], settings.resources)
    metadata = changed.setdefault("metadata", {})
    metadata.setdefault("labels", {})[names.CONVERTED_LABEL] = "true"
    wanted = {"claims": made.claims, "templates": made.templates}
    metadata.setdefault("annotations", {})[names.CLAIMS_ANNOTATION] = json.dumps(
        wanted, sort_keys=True, separators=(",", ":")
    )
    return made


def claim_name(namespace: str, pod: Object, container: str) -> str | None:
    """The guide's claim name for a bare Pod; None for a Pod that a controller made."""
    metadata = pod.get("metadata", {})
    owned = any(owner.get("controller") for owner in metadata.get("ownerReferences") or [])
    if owned or not metadata.get("name") or metadata.get("generateName"):
        return None
    name = f"{namespace}-{metadata['name']}-{container}".replace(".", "-")
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9].rstrip('-')}-{digest}"


def _entry_name(container: str, pod: Object) -> str:
    """Name in the Pod's list of claims: the container's, unless the user has taken it."""
    taken = {entry["name"] for entry in pod["spec"].get("resourceClaims") or []}
    name = container
    while name in taken:
        name = f"hami-{name}"[:LONGEST_NAME]
    return name


def _hand_over(pod: Object, request: GpuRequest, entry: str, resources: ResourceNames) -> None:
    """Give the container its claim in place of the extended resources."""
    for group in CONTAINER_LISTS:
        for container in pod["spec"].get(group) or []:
            if container["name"] != request.container:
                continue
            listed = container["resources"]
            for kind in ("limits", "requests"):
                for name in resources.all():
                    (listed.get(kind) or {}).pop(name, None)
                if not listed.get(kind, True):
                    del listed[kind]
            listed.setdefault("claims", []).append({"name": entry})


def _warnings(pod: Object, resources: ResourceNames) -> list[str]:
    for group in CONTAINER_LISTS:
        for container in pod["spec"].get(group) or []:
            limits = (container.get("resources") or {}).get("limits") or {}
            if resources.priority in limits:
                return [f"{resources.priority} of container {container['name']} has no effect yet"]
    return []
