"""Looking at the host below its root: `/`, the host's root mounted into our Pod, or a simulated tree.

Paths of profiles are the host's (`/dev/kfd`); links are followed inside the root.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hami_dra.devices.driver_root import DriverRoot
from hami_dra.model.errors import DriverError

COMMAND_TIMEOUT_S = 20.0
# Devices are looked at every few seconds; a vendor's program can take seconds of a processor.
COMMAND_TTL_S = 30.0


@dataclass
class Host:
    """`simulated`: the root is a folder of files, whose programs are scripts that run here and not in it.

    What a program said counts for `ttl_s` seconds.
    """

    root: DriverRoot
    simulated: bool = False
    ttl_s: float = COMMAND_TTL_S
    _said: dict[tuple[str, ...], tuple[float, str | None]] = field(default_factory=dict)

    def find(self, path: str) -> Path | None:
        """Where we see PATH, links resolved; None when it is not there, or not ours to look at."""
        try:
            return self.root.resolve(path)
        except DriverError:
            return None

    def glob(self, pattern: str) -> Iterator[str]:
        """The host's paths that match, in order of name with numbers counted. Raises DriverError."""
        try:
            found = list(self.root.path.glob(pattern.lstrip("/")))
        except OSError as problem:
            raise DriverError(f"{self.root.host} does not answer: {problem}") from problem
        return iter(sorted(("/" + str(path.relative_to(self.root.path)) for path in found), key=_natural))

    def read(self, path: str) -> str | None:
        """Content without the white space around it; None when it is not there or cannot be read."""
        found = self.find(path)
        try:
            return None if found is None else found.read_text(errors="replace").strip()
        except OSError:
            return None

    def node(self, path: str, inside: str | None = None) -> dict[str, str]:
        """A device node of the host as CDI wants it; DriverError when there is none."""
        if self.find(path) is None:
            raise DriverError(f"{path} is not on the host: is the driver loaded?")
        host = self.on_host(path)
        inside = inside or path
        return {"path": inside} if host == inside else {"path": inside, "hostPath": host}

    def on_host(self, path: str) -> str:
        """PATH as the container runtime sees it."""
        return str(self.root.host / path.lstrip("/"))

    def run(self, command: tuple[str, ...]) -> str | None:
        """What a program of the host prints; None when there is none or it fails."""
        now = time.monotonic()
        known = self._said.get(command)
        if known is None or now - known[0] > self.ttl_s:
            known = self._said[command] = (now, self._run(command))
        return known[1]

    def _run(self, command: tuple[str, ...]) -> str | None:
        name = command[0].rsplit("/", 1)[-1]
        found = self.find(command[0]) if "/" in command[0] else self.root.program(name)
        if found is None:
            return None
        if self.simulated or self.root.path == Path("/"):
            argv = [str(found), *command[1:]]
        else:  # its libraries are the host's
            argv = ["chroot", str(self.root.path), "/" + str(found.relative_to(self.root.path)), *command[1:]]
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, errors="replace", timeout=COMMAND_TIMEOUT_S, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout


def _natural(text: str) -> list[tuple[str, int]]:
    """davinci2 before davinci10."""
    return [(word, int(number or -1)) for word, number in re.findall(r"(\D*)(\d*)", text)]
