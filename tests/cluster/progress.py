"""One line per step, with what is being waited for and for how long.

On a terminal the line is redrawn; elsewhere (CI logs) a line is printed when a step begins,
every 30 s while it runs, and when it ends, so that nothing is ever silent for long.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

REPORT_EVERY_S = 30.0


class StepFailed(RuntimeError):
    """A step of the set-up failed: what, the command, and the end of its output."""


class Step:
    """A running step; `note` replaces the detail shown behind its title."""

    def __init__(self, title: str, limit: str = "") -> None:
        self._title = title
        self._limit = f" (usually {limit})" if limit else ""
        self._detail = ""
        self._started = time.monotonic()
        self._ended = threading.Event()
        self._tty = sys.stderr.isatty()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Step:
        self._say("…", self._limit)
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._ended.set()
        self._ticker.join()
        self._detail = ""
        self._say("✗" if kind else "✓", "", final=True)

    def note(self, detail: str) -> None:
        self._detail = detail

    def _tick(self) -> None:
        while not self._ended.wait(1.0 if self._tty else REPORT_EVERY_S):
            self._say("…", f" {self._detail}" if self._detail else self._limit)

    def _say(self, mark: str, tail: str, final: bool = False) -> None:
        seconds = int(time.monotonic() - self._started)
        line = f" {mark} {self._title}{tail} [{seconds // 60}:{seconds % 60:02d}]"
        if self._tty:
            print(f"\r\033[K{line}", end="\n" if final else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


@contextmanager
def step(title: str, usually: str = "") -> Iterator[Step]:
    """Show TITLE while the block runs; USUALLY is a plain guess such as "10 min"."""
    with Step(title, usually) as running:
        yield running


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    on_line: Callable[[str], None] | None = None,
    limit_s: float | None = None,
) -> str:
    """Run COMMAND, give each line of its output to ON_LINE, and return its standard output.

    Raises StepFailed with the last lines of both streams when the exit code is not 0; a command that
    runs longer than LIMIT_S is killed.
    """
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=dict(env) if env is not None else None,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out: list[str] = []
    err: list[str] = []

    def drain(stream: object, into: list[str]) -> None:
        for raw in stream:  # type: ignore[attr-defined]
            line = raw.decode(errors="replace")
            into.append(line)
            if on_line:
                on_line(line.rstrip("\n"))

    readers = [
        threading.Thread(target=drain, args=(process.stdout, out)),
        threading.Thread(target=drain, args=(process.stderr, err)),
    ]
    for reader in readers:
        reader.start()
    killer = threading.Timer(limit_s or 0, process.kill)
    if limit_s is not None:
        killer.start()
    if stdin is not None and process.stdin is not None:
        process.stdin.write(stdin)
        process.stdin.close()
    for reader in readers:
        reader.join()
    with process:  # closes the pipes
        code = process.wait()
    killer.cancel()
    if code != 0:
        shown = " ".join(str(part) for part in command)
        tail = "".join((out + err)[-25:])
        raise StepFailed(f"exit code {code} from: {shown}\n{tail}")
    return "".join(out)
