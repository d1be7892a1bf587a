"""Ports that the long-running commands listen on."""

from __future__ import annotations

import os
import socket

from hami_dra.model.errors import StateError


def listen(port: int) -> socket.socket:
    """A socket that listens on PORT of all addresses, IPv4 and IPv6; StateError when it cannot."""
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("0.0.0.0", port))
    except OSError as problem:
        raise StateError(f"cannot listen on port {port}: {os.strerror(problem.errno or 0)}") from problem
