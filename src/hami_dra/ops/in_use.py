"""Which claims of ours somebody holds: the plugin must stay as long as one does."""

from __future__ import annotations

from collections.abc import Iterable

from hami_dra.kube.protocol import Object
from hami_dra.model import names
from hami_dra.model.claim import allocated

NAMED = 3


def claims(items: Iterable[Object]) -> list[str]:
    """`namespace/name` of each allocated claim of ours that is reserved for a Pod."""
    return [
        f"{item['metadata'].get('namespace', 'default')}/{item['metadata']['name']}"
        for item in items
        if item.get("status", {}).get("reservedFor") and any(map(names.is_ours, drivers(item)))
    ]


def refusal(items: Iterable[Object]) -> str:
    """Why the release must not go now, in one line; empty when it may."""
    used = claims(items)
    if not used:
        return ""
    rest = f" and {len(used) - NAMED} more" if len(used) > NAMED else ""
    return (
        f"claims are in use: {', '.join(used[:NAMED])}{rest}; their Pods could not end without "
        "the plugin: delete them first, or uninstall with --no-hooks"
    )


def drivers(claim: Object) -> list[str]:
    """Whose devices are allocated for CLAIM, as often as there are devices."""
    return [result["driver"] for result in allocated(claim)]
