"""What a check is, and what a check may ask for before it begins.

`required`: kubelet or the API says so. `wanted`: what a driver needs to survive a bad day; it can be correct
without. A check raises AssertionError with what it saw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from subprocess import Popen
from types import ModuleType
from typing import Any

from tests.contract.bench import Bench

Run = Callable[[Bench], None]


class Skipped(Exception):
    """The check does not apply to this driver; the message says why."""


@dataclass(frozen=True)
class Check:
    """One expectation. `group` is the name of its module, `name` the first line of its docstring."""

    group: str
    name: str
    required: bool
    run: Run


def required(run: Run) -> Check:
    """A check that every driver must pass."""
    return _check(run, True)


def wanted(run: Run) -> Check:
    """A check that a driver may fail."""
    return _check(run, False)


def checks_of(module: ModuleType) -> list[Check]:
    """The checks of MODULE in the order in which they are written."""
    return [each for each in vars(module).values() if isinstance(each, Check)]


def own_api(bench: Bench) -> Any:
    """The API server, when it is ours and can fail on purpose."""
    if bench.api is None:
        raise Skipped("the API server is not ours")
    return bench.api


def own_process(bench: Bench) -> Popen[bytes]:
    """The driver's process, when it can be killed and started again."""
    if not bench.command or bench.process is None:
        raise Skipped("the driver was not started by us")
    return bench.process


def _check(run: Run, required: bool) -> Check:
    return Check(run.__module__.rpartition(".")[2], (run.__doc__ or "").strip().rstrip("."), required, run)
