"""The plugin's checkpoint as other releases of it write it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any


def rewritten(text: str | bytes, change: Callable[[dict[str, Any]], Any], **more: Any) -> str:
    """TEXT with CHANGE made to each claim, under a checksum that is right; MORE fields stand beside it."""
    outer = json.loads(text)
    claims = json.loads(outer["payload"])
    for claim in claims:
        change(claim)
    payload = json.dumps(claims)
    return json.dumps(
        outer | {"payload": payload, "checksum": hashlib.sha256(payload.encode()).hexdigest()} | more
    )
