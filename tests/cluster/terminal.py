"""Commands as a person at a terminal sees them."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .progress import StepFailed


def on_terminal(command: Sequence[str | Path]) -> str:
    """What COMMAND shows on a terminal at which nobody types; StepFailed when its exit code is not 0.

    Not even an end of input, which `script` would type: the API server drops a `kubectl exec` with all that
    it has not printed yet, when something is typed as the program ends.
    """
    shown = shlex.join(map(str, command))
    nothing, typing = os.pipe()
    try:
        done = subprocess.run(
            ["script", "--quiet", "--return", "--command", shown, "/dev/null"],
            stdin=nothing,
            capture_output=True,
            text=True,
            errors="replace",
        )
    finally:
        os.close(nothing)
        os.close(typing)
    if done.returncode != 0:
        raise StepFailed(f"exit code {done.returncode} from: {shown}\n{done.stdout}{done.stderr}")
    return done.stdout
