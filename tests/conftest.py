"""What holds for all tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine makes an example slow, and no property wrong.
settings.register_profile("hami", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hami")

# Other machines' /sys and /proc are no place for tests, and their links lead round in circles.
collect_ignore = ["trees"]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """In place of tmp_path for unix sockets: the kernel takes names of 107 bytes, and TMPDIR may be long."""
    with tempfile.TemporaryDirectory(prefix="hami", dir="/tmp") as name:
        yield Path(name)
