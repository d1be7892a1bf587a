"""Takes secrets out of what a support bundle holds. Pure.

Two rules. Of objects that users wrote only what bears on us is kept (`slim_pod`); what we do not know cannot
leak. Of our own objects and logs everything is kept but what looks like a secret (`text`, `scrub`).
"""

from __future__ import annotations

import re
from typing import Any

from hami_dra.model import names

Object = dict[str, Any]

HIDDEN = "(redacted)"

_NAMED = (
    r"[\w.-]*(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|credential|private[_-]?key)[\w.-]*"
)
_PATTERNS = (
    # PEM blocks, whole or cut off.
    (re.compile(r"-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\Z)", re.DOTALL), HIDDEN),
    # JSON web tokens, as of service accounts.
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.?[\w-]*"), HIDDEN),
    # Authorization headers.
    (
        re.compile(
            r"(?i)\b(authorization\W{1,4}(?:\w+\s+)?|bearer\s+|basic\s+(?=[\w+/]{8,}={0,2}))[^\s\"',]+"
        ),
        rf"\1{HIDDEN}",
    ),
    # user:password@ in addresses.
    (re.compile(r"(\w+://)[^/\s:@]*:[^/\s@]+@"), rf"\1{HIDDEN}@"),
    # name=value, "name": "value", --name value; the name says that it is one.
    (
        re.compile(
            rf"(?i)(\"?{_NAMED}\"?\s*[=:]\s*|--{_NAMED}\s+)(\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s,;&\"'}}]+)"
        ),
        rf"\1{HIDDEN}",
    ),
    # Keys that are known by their beginning.
    (
        re.compile(
            r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_\w{20,}|\bsk-[\w-]{16,}|\bxox[abpr]-[\w-]{10,}"
        ),
        HIDDEN,
    ),
)
_OUR_VARIABLES = re.compile(r"HAMI_[A-Z_]+")
_STATUS = ("phase", "reason", "message", "conditions", "nodeName", "resourceClaimStatuses", "startTime")


def text(said: str) -> str:
    """Log lines and messages without what looks like a secret."""
    for pattern, instead in _PATTERNS:
        said = pattern.sub(instead, said)
    return said


def scrub(value: Any) -> Any:
    """An object of ours: no managed fields and annotations of tools, no values of foreign variables."""
    if isinstance(value, dict):
        if "metadata" in value:
            value = value | {"metadata": _metadata(value["metadata"])}
        if isinstance(value.get("env"), list):
            value = value | {"env": [_variable(entry) for entry in value["env"]]}
        if "opaque" in value and not _is_ours(value["opaque"]):
            value = value | {"opaque": HIDDEN}
        return {key: HIDDEN if key == "caBundle" else scrub(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [scrub(entry) for entry in value]
    return text(value) if isinstance(value, str) else value


def slim_pod(pod: Object) -> Object:
    """A user's Pod: who it is, what it asks for, and how it fares. No variable, argument or annotation."""
    spec, status = pod["spec"], pod.get("status", {})
    wanted = (
        "resourceClaims",
        "nodeName",
        "schedulerName",
        "runtimeClassName",
        "nodeSelector",
        "tolerations",
    )
    kinds = ("initContainers", "containers")
    return {
        "metadata": {
            key: pod["metadata"].get(key)
            for key in (
                "name",
                "namespace",
                "uid",
                "creationTimestamp",
                "deletionTimestamp",
                "ownerReferences",
            )
        },
        "spec": {key: scrub(spec[key]) for key in wanted if key in spec}
        | {
            kind: [{key: each.get(key) for key in ("name", "image", "resources")} for each in spec[kind]]
            for kind in kinds
            if spec.get(kind)
        },
        "status": {key: scrub(status[key]) for key in _STATUS if key in status},
    }


def _metadata(metadata: Any) -> Any:
    if not isinstance(metadata, dict):
        return metadata
    kept = {key: value for key, value in metadata.items() if key not in ("managedFields", "annotations")}
    annotations = metadata.get("annotations") or {}
    ours = {
        key: value
        for key, value in annotations.items()
        if "hami.io/" in key or key.startswith("cert-manager.io/")
    }
    return kept | ({"annotations": ours} if ours else {})


def _variable(entry: Object) -> Object:
    if "value" in entry and not _OUR_VARIABLES.fullmatch(str(entry.get("name"))):
        return entry | {"value": HIDDEN}
    return entry


def _is_ours(opaque: Any) -> bool:
    return isinstance(opaque, dict) and names.is_ours(str(opaque.get("driver", "")))
