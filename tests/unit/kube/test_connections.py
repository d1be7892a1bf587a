"""Connections to a server that follows a script: it answers, closes, or stops in the middle."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from hami_dra.admission import authority, certs
from hami_dra.kube.connections import Connections
from hami_dra.model import errors

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Script = list[list[bytes]]
"""For each connection what is answered to one request after the other; then the server closes it."""


class Server:
    def __init__(self, script: Script) -> None:
        self.requests: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.closed = [threading.Event() for _ in script]
        self.thread = threading.Thread(target=self._serve, args=(script,), daemon=True)
        self.thread.start()

    def _serve(self, script: Script) -> None:
        for answers, closed in zip(script, self.closed, strict=True):
            connection, _ = self.socket.accept()
            with connection, suppress(ConnectionError):
                for answer in answers:
                    self.requests.append(_request(connection))
                    connection.sendall(answer)
            closed.set()


def _request(connection: socket.socket) -> bytes:
    """Head and body of one request, whose body says how long it is."""
    text = b""
    while b"\r\n\r\n" not in text:
        piece = connection.recv(4096)
        if not piece:
            raise ConnectionError("the client closed it")
        text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0] or 0)
    while len(body) < length:
        body += connection.recv(4096)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def serve() -> Iterator[Callable[[Script], Server]]:
    servers: list[Server] = []

    def start(script: Script) -> Server:
        servers.append(Server(script))
        return servers[-1]

    yield start
    for server in servers:
        server.socket.close()


Serve = Callable[[Script], Server]


def get(connections: Connections, target: str = "/x") -> tuple[int, bytes]:
    return connections.request("GET", target, {"Accept": "application/json"}, None, 10.0)


def test_one_connection_serves_one_request_after_the_other(serve: Serve) -> None:
    server = serve([[OK, OK, OK]])
    connections = Connections(server.url, {})
    assert [get(connections) for _ in range(3)] == [(200, b"ok")] * 3


def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again(serve: Serve) -> None:
    server = serve([[OK], [OK]])
    connections = Connections(server.url, {})
    get(connections)
    server.closed[0].wait(10)
    assert get(connections) == (200, b"ok")


def test_a_connection_that_is_to_be_closed_is_not_used_again(serve: Serve) -> None:
    last = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    server = serve([[last, b"never read"], [OK]])
    connections = Connections(server.url, {})
    assert [get(connections), get(connections)] == [(200, b"ok")] * 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nno length",
        b"no answer at all\r\n\r\n",
    ],
)
def test_half_an_answer_is_none(serve: Serve, answer: bytes) -> None:
    server = serve([[answer], [OK]])
    connections = Connections(server.url, {})
    with pytest.raises(errors.Unavailable, match="GET /x"):
        get(connections)
    assert get(connections) == (200, b"ok"), "a connection of its own for the next"


def test_a_server_that_is_not_there(serve: Serve) -> None:
    server = serve([])
    server.socket.close()
    with pytest.raises(errors.Unavailable):
        get(Connections(server.url, {}))


def test_a_server_that_says_nothing(serve: Serve) -> None:
    server = serve([])  # the kernel takes the connection, nobody answers
    with pytest.raises(errors.Unavailable, match="timed out"):
        Connections(server.url, {}).request("GET", "/x", {}, None, 0.05)


def test_an_answer_in_pieces(serve: Serve) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
    server = serve([[chunked, OK]])
    connections = Connections(server.url, {})
    assert [get(connections), get(connections)] == [(200, b"abcde"), (200, b"ok")]


def test_an_answer_longer_than_one_read(serve: Serve) -> None:
    body = b"x" * 1_000_000
    server = serve([[b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000000\r\n\r\n" + body]])
    assert get(Connections(server.url, {})) == (404, body)


def test_what_is_sent(serve: Serve) -> None:
    server = serve([[OK]])
    headers = {"Authorization": "bearer secret\n", "Content-Type": "application/json"}
    Connections(server.url, {}).request("POST", "/x?a=b+c&d=%7E", headers, '{"é": 1}', 10.0)
    host = server.url.removeprefix("http://")
    assert server.requests[0].decode().split("\r\n") == [
        "POST /x?a=b+c&d=%7E HTTP/1.1",
        f"Host: {host}",
        "Authorization: bearer secret",
        "Content-Type: application/json",
        "Content-Length: 9",
        "",
        '{"é": 1}',
    ]


def test_a_name_cannot_add_lines_to_the_request(serve: Serve) -> None:
    server = serve([[OK]])
    get(Connections(server.url, {}), "/claims/x HTTP/1.1\r\nHost: other\r\n\r\n")
    assert server.requests[0].startswith(
        b"GET /claims/x%20HTTP/1.1%0D%0AHost:%20other%0D%0A%0D%0A HTTP/1.1\r\n"
    )


def test_requests_at_once_have_a_connection_each(serve: Serve) -> None:
    arrived = threading.Barrier(2)

    class Slow(Server):
        def _serve(self, script: Script) -> None:
            for _ in script:
                threading.Thread(target=self._answer, args=self.socket.accept()[:1], daemon=True).start()

        def _answer(self, connection: socket.socket) -> None:
            with connection:
                _request(connection)
                arrived.wait(10)  # until the other is here as well
                connection.sendall(OK)

    server = Slow([[], []])
    connections = Connections(server.url, {})
    with ThreadPoolExecutor() as at_once, server.socket:
        assert list(at_once.map(lambda _: get(connections), range(2))) == [(200, b"ok")] * 2


def test_only_a_server_whose_certificate_is_vouched_for_is_asked(tmp_path: Path) -> None:
    bundle = authority.renew(None, ["localhost"], datetime.datetime.now(datetime.UTC))
    certificate, key = certs.write(bundle.serving, tmp_path)
    (tmp_path / "ca.crt").write_bytes(bundle.ca.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Secure(Server):
        def _serve(self, script: Script) -> None:
            for _ in script:
                raw, _ = self.socket.accept()
                with suppress(OSError), context.wrap_socket(raw, server_side=True) as connection:
                    _request(connection)
                    connection.sendall(OK)

    server = Secure([[], [], []])
    url = f"https://localhost:{server.url.rpartition(':')[2]}"
    trusting = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": str(tmp_path / "ca.crt"), "maxsize": 4}
    with server.socket:
        with pytest.raises(errors.Unavailable, match="certificate verify failed"):
            get(Connections(url, trusting | {"ca_certs": None}))
        with pytest.raises(errors.Unavailable, match="certificate is not valid for 'other'"):
            get(Connections(url, trusting | {"server_hostname": "other"}))
        assert get(Connections(url, trusting)) == (200, b"ok")
