"""JSON of the API server -> objects, however deeply a user has nested what it keeps unread.

The parameters that a claim holds for its driver are 10 KiB of any JSON: thousands of brackets, and Python
gives up at a thousand. One such claim must not hide all the others from whoever lists them.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

DEEPEST = 100
"""Levels of objects and lists; no field that is read lies half as deep."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')


def decode(data: bytes) -> Any:
    """Return what DATA says, with `null` for what is nested too deeply. Raises msgspec.DecodeError."""
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        return msgspec.json.decode(_shallow(data))


def _shallow(data: bytes) -> bytes:
    """DATA without what lies below DEEPEST."""
    kept: list[bytes] = []
    depth, begin = 0, 0
    for token in _TOKEN.finditer(data):
        if token[0] in b"[{":
            depth += 1
            if depth == DEEPEST + 1:
                kept += (data[begin : token.start()], b"null")
        elif token[0] in b"]}":
            depth -= 1
            if depth == DEEPEST:
                begin = token.end()
    return b"".join([*kept, data[begin:]])
