"""What holds for all tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine makes an example slow, and no property wrong. CI judges a change, and so tries the same
# examples each time; new ones are found where somebody can look into them.
settings.register_profile(
    "hami", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("hami")

# Other machines' /sys and /proc are no place for tests, and their links lead round in circles.
collect_ignore = ["trees"]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """In place of tmp_path for unix sockets: the kernel takes names of 107 bytes, and TMPDIR may be long."""
    with tempfile.TemporaryDirectory(prefix="hami", dir="/tmp") as name:
        yield Path(name)
