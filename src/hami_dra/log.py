"""Structured logs: one event a line, JSON for a collector or aligned text for a person."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import structlog


def _json(event: dict[str, Any], default: Callable[[Any], Any], **_: Any) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=default).decode()
    except (ValueError, OverflowError):  # half a character, or a number beyond 64 bits
        return json.dumps(event, default=default)


def configure(level: str = "info", form: str = "console") -> None:
    """Set up structlog for this process. LEVEL: debug, info, warning. FORM: json or console."""
    renderer: Any = structlog.processors.JSONRenderer(serializer=_json)
    if form == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
