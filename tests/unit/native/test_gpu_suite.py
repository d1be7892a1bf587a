"""The suite for a machine with a real GPU (`make test-gpu`), rehearsed on the simulated driver."""

import os
import subprocess
import sys

import pytest

from tests.gpu import checks
from tests.unit.native.simulated import A10, ROOT

MEMORY = ("nvidia-smi", "fill", "books", "unseen", "shared", "kills")


def rehearse(*arguments, **more):
    environment = {**os.environ, "HAMI_TEST_GPU_SIM": str(A10)} | more
    command = (sys.executable, "-m", "tests.gpu", *arguments)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)


@pytest.mark.slow
def test_every_check_can_be_carried_out_and_says_that_the_card_is_simulated():
    """Times are not judged here: a busy machine keeps programs from what they may have."""
    lines = rehearse("--seconds", "0.3", "--limits", "50").stdout.splitlines()
    assert lines[0].startswith("SIMULATED"), lines
    assert {line.split(":")[0].split()[1] for line in lines[1:]} == {name for name, _ in checks.ALL}
    assert not [line for line in lines if "to be carried out" in line]
    assert not [line for line in lines if line.startswith("FAIL") and line.split(":")[0].split()[1] in MEMORY]


def test_a_machine_without_a_gpu_is_told_from_one_that_fails(tmp_path):
    told = rehearse("fill", HAMI_TEST_GPU_SIM=str(tmp_path / "missing.yaml"))
    assert told.returncode == 2
    assert "no GPU can be tested here" in told.stderr


def test_a_check_that_does_not_exist_is_named():
    told = rehearse("fil")
    assert told.returncode == 2
    assert "no such check: fil; there are event-time," in told.stderr
