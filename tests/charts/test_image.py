"""The image: staged by a script that says what is missing, built by copying alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.versions import REPO

STAGE = REPO / "scripts" / "stage-image"
CONTAINERFILE = (REPO / "Containerfile").read_text()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A tree with the script and nothing that was built."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(STAGE, tmp_path / "scripts")
    return tmp_path


def stage(checkout: Path, python: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": python}
    script = checkout / "scripts" / "stage-image"
    return subprocess.run([script], env=environment, capture_output=True, text=True)


def test_native_libraries_that_were_not_built_are_named_with_the_command_that_builds_them(
    checkout: Path,
) -> None:
    answer = stage(checkout, sys.executable)
    assert answer.returncode == 1
    assert answer.stderr == "stage-image: native/build/libvgpu.so is missing; run `make native` first\n"
    assert not (checkout / "build").exists()


def test_a_python_that_does_not_fit_the_image_is_refused(checkout: Path) -> None:
    other = checkout / "python"
    other.write_text("#!/bin/sh\necho 3.12\n")
    other.chmod(0o755)
    answer = stage(checkout, str(other))
    assert answer.returncode == 1
    assert f"{other} is Python 3.12, the image has 3.11" in answer.stderr


def test_the_image_build_runs_no_command_and_fetches_nothing() -> None:
    instructions = set(re.findall(r"^([A-Z]+) ", CONTAINERFILE, flags=re.MULTILINE))
    assert instructions <= {"ARG", "FROM", "LABEL", "COPY", "ENV", "USER", "ENTRYPOINT", "CMD"}


def test_the_image_runs_as_a_numeric_user_that_is_not_root() -> None:
    [user] = re.findall(r"^USER (\d+):(\d+)$", CONTAINERFILE, flags=re.MULTILINE)
    assert "0" not in user
