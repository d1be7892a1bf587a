"""Annotations that choose cards by type or UUID -> CEL selectors of a claim.

As in HAMi: a type matches as part of the product name, whatever its case; several values are separated by
commas; `use-*` keeps the named cards, `nouse-*` excludes them.
"""

from __future__ import annotations

import json
from typing import Any

from hami_dra.model import names
from hami_dra.model.errors import RequestDenied

_ATTRIBUTES = f'device.attributes["{names.DRIVER}"]'

IS_OURS = f'{_ATTRIBUTES}.type == "{names.DEVICE_TYPE}"'

# annotation -> (expression for one value, whether matching cards are kept)
_ANNOTATIONS = {
    "nvidia.com/use-gputype": ("type", True),
    "nvidia.com/nouse-gputype": ("type", False),
    "nvidia.com/use-gpuuuid": ("uuid", True),
    "nvidia.com/nouse-gpuuuid": ("uuid", False),
}


def selectors(pod: dict[str, Any]) -> list[str]:
    """CEL expressions for a Pod's annotations, the one for our kind of device first."""
    annotations = pod.get("metadata", {}).get("annotations") or {}
    expressions = [IS_OURS]
    for annotation, (kind, keep) in _ANNOTATIONS.items():
        if annotation not in annotations:
            continue
        values = [value.strip() for value in annotations[annotation].split(",") if value.strip()]
        if not values:
            raise RequestDenied(
                "no value is given",
                where=f"metadata.annotations[{annotation}]",
                fix="name at least one, separated by commas, or remove the annotation",
            )
        matches = " || ".join(_one(kind, value) for value in values)
        expressions.append(f"({matches})" if keep else f"!({matches})")
    return expressions


def _one(kind: str, value: str) -> str:
    if kind == "uuid":
        return f"{_ATTRIBUTES}.uuid == {quote(value)}"
    return f"{_ATTRIBUTES}.productName.lowerAscii().contains({quote(_lower_ascii(value))})"


def quote(text: str) -> str:
    """A CEL string literal; JSON's escapes are a subset of CEL's."""
    return json.dumps(text)


def _lower_ascii(text: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)
