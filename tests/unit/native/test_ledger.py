"""The limiter without CUDA: its C tests print that they keep their promises, and wrong ledgers are caught."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.native


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )


def test_limits_ledger_budget_and_charges_keep_their_promises(programs: Path, tmp_path: Path) -> None:
    result = run(programs / "policy", tmp_path)
    assert (result.returncode, result.stdout) == (0, "policy: as promised\n"), result.stderr


def test_the_account_of_computing_and_what_is_learnt_of_work_keep_their_promises(programs: Path) -> None:
    result = run(programs / "computing")
    assert (result.returncode, result.stdout) == (0, "computing: as promised\n"), result.stderr


@pytest.mark.parametrize("processes", [2, 64])
def test_rivals_never_hold_more_than_the_limit_at_any_instant(
    programs: Path, tmp_path: Path, processes: int
) -> None:
    result = run(programs / "ledger-rivals", processes, 1, tmp_path / "ledger")
    assert result.returncode == 0, result.stdout + result.stderr


def test_who_is_killed_stopped_or_forked_anywhere_stands_in_nobodys_way(
    programs: Path, tmp_path: Path
) -> None:
    result = run(programs / "ledger-survivors", 100, tmp_path / "ledger")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("wrong", ["CHECK_THEN_TAKE", "USED_BEFORE_PENDING"])
def test_a_ledger_that_overlooks_a_rival_is_caught(programs: Path, tmp_path: Path, wrong: str) -> None:
    for _ in range(20):
        result = run(programs / wrong / "ledger-rivals", 3, 1, tmp_path / "ledger")
        if result.returncode == 3:
            break
    assert "the limit was passed" in result.stderr, result.stdout


def test_a_ledger_that_never_frees_what_the_dead_held_is_caught(programs: Path, tmp_path: Path) -> None:
    assert run(programs / "KEEP_DEAD" / "ledger-survivors", 5, tmp_path / "ledger").returncode == 1
