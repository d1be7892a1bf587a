"""Ports for programs that cannot be asked which one they have chosen."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_chance = random.SystemRandom()


def free_port() -> int:
    """One that nobody listens on. No connection takes it meanwhile: the kernel gives these higher ones."""
    first_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = _chance.randrange(10_000, max(first_given, 20_000))
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
