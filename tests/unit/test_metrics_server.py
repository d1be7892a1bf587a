"""Ports of the long-running commands, and `/metrics` of a node: clusters are IPv4, IPv6 or both."""

import socket
import urllib.request

import pytest

from hami_dra import metrics_server
from hami_dra.listening import listen
from hami_dra.model.errors import StateError


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_both_families_are_served():
    server = metrics_server.start(0, lambda: b"up 1\n")
    for host in ("127.0.0.1", "[::1]"):
        with urllib.request.urlopen(
            f"http://{host}:{server.socket.getsockname()[1]}/metrics", timeout=30
        ) as answer:
            assert answer.read() == b"up 1\n"
    server.shutdown()
    server.server_close()


def test_without_ipv6_ipv4_is_served(monkeypatch):
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listen(0) as listening:
        assert listening.family == socket.AF_INET
        with pytest.raises(StateError, match="Address already in use"):
            listen(listening.getsockname()[1])


def test_what_several_families_tell_is_told_once_by_metric():
    """Prometheus' own tool and other readers refuse a type that is told twice."""
    one = "# HELP a A.\n# TYPE a gauge\na 1\n# HELP b B.\n# TYPE b gauge\nb 2\n"
    two = '# HELP a A.\n# TYPE a gauge\na{x="1"} 3\n'
    assert metrics_server.together([one, two]) == (
        '# HELP a A.\n# TYPE a gauge\na 1\na{x="1"} 3\n# HELP b B.\n# TYPE b gauge\nb 2\n'
    )
