"""HAMi's traditional mode in the same cluster: how it is recognised. Pure.

Its scheduler and device plugin hand out the cards that our slices publish: both at once give them away twice.
Its webhook configuration (`vgpu.hami.io`, served by `hami-scheduler`) is what every release of it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Object = dict[str, Any]

WEBHOOK = "vgpu.hami.io"


def found(configurations: Iterable[Object]) -> str:
    """`MutatingWebhookConfiguration/<name>` of the traditional mode, or an empty string."""
    for item in configurations:
        if any(webhook.get("name") == WEBHOOK for webhook in item.get("webhooks") or []):
            return f"MutatingWebhookConfiguration/{item['metadata']['name']}"
    return ""
