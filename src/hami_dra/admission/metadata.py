"""What admission writes into a Pod's metadata, and how the controller reads it back. Pure.

- label `hami.io/dra`: converted by us
- annotation `hami.io/claims`: the claims and templates that the controller makes for the Pod
- annotation `hami.io/resources`: what each container asked for before its conversion, by resource name
- annotations `hami.io/gpumem` (MiB) and `hami.io/gpucores` (percent): sums over the shares of the Pod, for
  policies. A Pod that asks for a whole card, of whatever size, has no `hami.io/gpumem`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from hami_dra.model import names
from hami_dra.model.errors import RequestDenied

Object = dict[str, Any]
Wanted = dict[str, dict[str, Object]]
"""`claims` and `templates`, each from name to specification."""
Amounts = Mapping[str, Mapping[str, int]]
"""By container and resource name."""

MOST_BYTES = 256 * 1024
"""Of all annotations of an object, keys and values, in Kubernetes."""


def described(pod: Object, made: Wanted, amounts: Amounts) -> Object:
    """The metadata of POD, whose list of claims is final; MADE and AMOUNTS are of all its containers."""
    metadata = dict(pod.get("metadata") or {})
    given = metadata.get("annotations") or {}
    metadata["labels"] = (metadata.get("labels") or {}) | {names.CONVERTED_LABEL: "true"}
    kept = {key: text for key, text in given.items() if key not in (names.ASKED_MEMORY, names.ASKED_CORES)}
    written = {
        names.CLAIMS_ANNOTATION: _encoded(made),
        names.RESOURCES_ANNOTATION: _encoded(amounts),
    }
    metadata["annotations"] = kept | written | _sums(pod["spec"], made)
    _refuse_too_long(_bytes(given), _bytes(metadata["annotations"]))
    return metadata


def _bytes(annotations: Mapping[str, str]) -> int:
    return sum(len(key.encode()) + len(text.encode()) for key, text in annotations.items())


def _refuse_too_long(given: int, all_of_them: int) -> None:
    """The API server would refuse them, too, and not say that some are admission's."""
    if given <= MOST_BYTES < all_of_them:
        raise RequestDenied(
            f"{given} bytes, and admission adds {all_of_them - given}: Kubernetes allows {MOST_BYTES} in all",
            where="metadata.annotations",
            fix="Shorten them",
        )


def wanted(given: Mapping[str, str]) -> Wanted:
    """What the annotation says; empty when it is not there or damaged: users can write annotations, too."""
    try:
        found = msgspec.json.decode(given.get(names.CLAIMS_ANNOTATION, "{}"))
        return {group: dict(found.get(group) or {}) for group in ("claims", "templates")}
    except (msgspec.DecodeError, TypeError, ValueError, AttributeError, RecursionError):
        return {"claims": {}, "templates": {}}


def asked(given: Mapping[str, str]) -> Amounts:
    """What each container asked for before its conversion; empty as `wanted`."""
    try:
        return msgspec.json.decode(
            given.get(names.RESOURCES_ANNOTATION, "{}"), type=dict[str, dict[str, int]]
        )
    except (msgspec.DecodeError, TypeError, RecursionError):
        return {}


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def named(spec: Object, group: str) -> set[str]:
    """Names of the `claims` or `templates` that the Pod's list of claims refers to."""
    key = "resourceClaimName" if group == "claims" else "resourceClaimTemplateName"
    return {entry[key] for entry in spec.get("resourceClaims") or [] if entry.get(key)}


def _sums(spec: Object, made: Wanted) -> dict[str, str]:
    memory, cores, whole = _added(spec, made)
    sums = {names.ASKED_CORES: str(cores)}
    return sums if whole else sums | {names.ASKED_MEMORY: str(-(-memory // names.MIB))}


def _added(spec: Object, made: Wanted) -> tuple[int, int, bool]:
    """Bytes, percent, and whether some share is of a whole card, whatever its size."""
    memory, cores, whole = 0, 0, False
    for claim in held(spec, made):
        for request in claim["devices"]["requests"]:
            # The largest alternative: which one it will be is not known yet.
            asked = request.get("firstAvailable") or [request["exactly"]]
            amounts = [one.get("capacity", {}).get("requests", {}) for one in asked]
            whole = whole or any("memory" not in one for one in amounts)
            memory += max(int(one.get("memory", 0)) for one in amounts)
            cores += max(int(one.get("cores", 0)) for one in amounts)
    return memory, cores, whole


def held(spec: Object, made: Wanted) -> Iterator[Object]:
    """The specification behind each entry of the Pod's list, as often as it is listed."""
    for entry in spec["resourceClaims"]:
        claim = made["claims"].get(entry.get("resourceClaimName", "")) or made["templates"].get(
            entry.get("resourceClaimTemplateName", "")
        )
        if claim:
            yield claim
