"""The conformance suite's command line: our plugin passes every check, a driver that is wrong does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]


def conformance(folder: Path, module: str, *options: str) -> tuple[int, dict[str, str]]:
    """Run the checks on a driver that is a module of ours; exit code, and outcomes by name."""
    program = f"cp {{kubeconfig}} {folder}/kubeconfig; exec {sys.executable} -m {module} {folder}"
    command = [sys.executable, "-m", "tests.contract", "--registry", str(folder / "registry"), "-o", "json"]
    (folder / "cdi").mkdir(exist_ok=True)
    done = subprocess.run(
        [*command, "--cdi-dir", str(folder / "cdi"), *options, "--", "sh", "-c", program],
        cwd=CHECKOUT,
        env={"PYTHONPATH": "src:.", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, {each["name"]: f"{each['result']} {each['why']}" for each in report["checks"]}


def test_our_plugin_passes_every_check(folder: Path) -> None:
    # Without the API server a claim is answered 5 s before kubelet's deadline: no need to wait for 40.
    options = ("--node", "ecs-a10-sh", "--state-dir", str(folder / "state"), "--deadline", "10")
    code, said = conformance(folder, "tests.support.plugin_process", *options)
    assert {name: outcome for name, outcome in said.items() if outcome != "pass "} == {}
    assert code == 0
    assert len(said) >= 30


def test_a_driver_that_breaks_the_rules_is_found_out(folder: Path) -> None:
    names = ("registration", "prepare", "refusal", "trouble", "unprepare")
    groups = [word for name in names for word in ("--group", name)]
    code, said = conformance(
        folder, "tests.support.sloppy_driver", "--node", "node", "--driver", "sloppy", *groups
    )
    assert code == 1
    passed = {name for name, outcome in said.items() if not outcome.startswith("FAIL")}
    assert passed == {
        "GetInfo names type, driver and the path of a socket that exists",
        "v1.DRAPlugin is offered, before older versions",
        "A kubelet that restarts can register it again",
        "A kubelet that hangs up in the middle of a call can ask again",
        "An empty request, as probes send it, is answered within 100 ms",
        "Three failed API requests are absorbed inside the call: kubelet would wait 10 s and more",
        "An older kubelet hears the same devices through v1beta1",
        "SIGTERM in the middle of a call: it is answered, before kubelet is made to close the connection",
        "With a damaged checkpoint it starts, and prepares",
    }
