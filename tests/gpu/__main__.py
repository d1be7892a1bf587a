"""`make test-gpu`: what only a machine with an NVIDIA GPU can show.

`python -m tests.gpu [CHECK ...]` runs the checks of `checks.py` (all by default) and prints what was expected
and what was found. Exit codes: 0 as expected, 1 not so, 2 could not look. In the environment:
HAMI_TEST_GPU_SIM=FILE, and the simulated driver with the cards of FILE stands in for a GPU: a rehearsal, as
the first line says; PEER_LIMITER=FILE, and that library is measured beside ours.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.gpu import checks
from tests.gpu.finding import Check, Finding
from tests.gpu.host import Host, NoGpuError


def main() -> int:
    """Run the checks that were asked for."""
    known = dict(checks.ALL)
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("check", nargs="*", help=f"of {', '.join(known)}; all by default")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to look at each piece of work")
    parser.add_argument("--limits", default="10,30,50,70,90", help="core limits to try, in percent")
    options = parser.parse_args()
    wanted = options.check or list(known)
    if unknown := sorted(set(wanted) - set(known)):
        parser.error(f"no such check: {', '.join(unknown)}; there are {', '.join(known)}")
    with tempfile.TemporaryDirectory(prefix="hami-test-gpu-") as folder:
        try:
            host = Host(
                Path(folder),
                _file("HAMI_TEST_GPU_SIM"),
                seconds=options.seconds,
                limits=tuple(int(limit) for limit in options.limits.split(",")),
                peer=_file("PEER_LIMITER"),
            )
        except NoGpuError as problem:
            print(f"no GPU can be tested here: {problem}", file=sys.stderr)
            return 2
        print(host.describe(), flush=True)
        return 1 if sum(not report(name, known[name], host) for name in wanted) else 0


def _file(variable: str) -> Path | None:
    named = os.environ.get(variable)
    return Path(named).resolve() if named else None


def report(name: str, check: Check, host: Host) -> bool:
    """Run one check; whether all its findings are as expected."""
    good = True
    try:
        for finding in check(host):
            show(name, finding)
            good = good and finding.good is not False
    except Exception as problem:  # the other checks still have something to say
        show(name, Finding(False, "to be carried out", f"{type(problem).__name__}: {problem}"))
        return False
    return good


def show(name: str, finding: Finding) -> None:
    """One line."""
    mark = "note" if finding.good is None else "ok  " if finding.good else "FAIL"
    print(f"{mark} {name}: {finding.found} (expected: {finding.expected})", flush=True)


if __name__ == "__main__":
    sys.exit(main())
