"""A line of a log can be read whatever is said in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from hami_dra import log


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("é", "é"),
        (Path("/run"), "PosixPath('/run')"),
        ((1, 2), [1, 2]),
        ({"a": {"b": None}}, {"a": {"b": None}}),
        ("half a character: \ud800", "half a character: \ud800"),
        (10**30, 10**30),
    ],
)
def test_anything_can_be_said(capsys: pytest.CaptureFixture[str], said: Any, read: Any) -> None:
    log.configure("info", "json")
    structlog.get_logger(__name__).info("event", what=said)
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"], line["what"]) == ("event", "info", read)


def test_an_exception_is_told_with_its_stack(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    try:
        raise ValueError("odd")
    except ValueError:
        structlog.get_logger(__name__).exception("defect")
    line = json.loads(capsys.readouterr().err)
    assert "ValueError: odd" in line["exception"]
