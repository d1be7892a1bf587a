"""What the tests of roles and playbooks start with."""

from pathlib import Path

import pytest


@pytest.fixture
def tmp_path(short_path: Path) -> Path:
    """Without spaces: scripts that stand in for programs would have to quote it everywhere."""
    return short_path
