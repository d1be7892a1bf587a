"""`make test-gpu`: what only a machine with an NVIDIA GPU can show.

`python -m tests.gpu [CHECK ...]` runs the checks of `checks.py` (all by default) and prints what was expected
and what was found. Exit codes: 0 as expected, 1 not so, 2 could not look. With HAMI_TEST_GPU_SIM=FILE the
simulated driver with the cards of FILE stands in for a GPU: a rehearsal, as the first line says.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.gpu import checks
from tests.gpu.host import Host, NoGpuError


def main() -> int:
    """Run the checks that were asked for."""
    known = dict(checks.ALL)
    wanted = sys.argv[1:] or list(known)
    if unknown := sorted(set(wanted) - set(known)):
        print(f"no such check: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    simulated = os.environ.get("HAMI_TEST_GPU_SIM")
    with tempfile.TemporaryDirectory(prefix="hami-test-gpu-") as folder:
        try:
            host = Host(Path(folder), Path(simulated).resolve() if simulated else None)
        except NoGpuError as problem:
            print(f"no GPU can be tested here: {problem}", file=sys.stderr)
            return 2
        print(host.describe(), flush=True)
        return 1 if sum(not report(name, known[name], host) for name in wanted) else 0


def report(name: str, check: checks.Check, host: Host) -> bool:
    """Run one check; whether all its findings are as expected."""
    try:
        findings = list(check(host))
    except Exception as problem:  # the other checks still have something to say
        findings = [checks.Finding(False, "to be carried out", f"{type(problem).__name__}: {problem}")]
    for finding in findings:
        mark = "skip" if finding.good is None else "ok  " if finding.good else "FAIL"
        print(f"{mark} {name}: {finding.found} (expected: {finding.expected})", flush=True)
    return all(finding.good is not False for finding in findings)


if __name__ == "__main__":
    sys.exit(main())
