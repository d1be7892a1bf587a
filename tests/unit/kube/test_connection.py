"""HTTP as a server may speak it, word by word, and what is made of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from kubernetes import client as official

from hami_dra.kube import NODES, Client
from hami_dra.model import errors

Serve = Callable[..., tuple[Client, list[int]]]
OBJECT = b'{"kind": "Node"}'
NOT_MORE_S = 0.3


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answers each request with these parts, each sent alone; an empty one ends the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    configuration = official.Configuration()
    configuration.host = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def started(*parts: bytes) -> tuple[Client, list[int]]:
        asked: list[int] = []

        def speak() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    asked.append(0)
                    with connection, suppress(OSError):
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        while connection.recv(65536).endswith(b"\r\n\r\n"):
                            asked[-1] += 1
                            for part in parts:
                                if not part:
                                    raise OSError
                                connection.sendall(part)

        threading.Thread(target=speak, daemon=True).start()
        return Client(official.ApiClient(configuration)), asked

    yield started
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n" + OBJECT
CHUNKS = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{"kind\r\na\r\n": "Node"}\r\n0\r\n\r\n'


@pytest.mark.parametrize(
    "parts",
    [[WHOLE], one_by_one(WHOLE), [CHUNKS], one_by_one(CHUNKS), [b"HTTP/1.1 100 Continue\r\n\r\n", WHOLE]],
    ids=["whole", "byte by byte", "chunks", "chunks byte by byte", "after a word before"],
)
def test_a_connection_is_used_again_however_the_answer_comes(serve: Serve, parts: list[bytes]) -> None:
    kube, asked = serve(*parts)
    assert [kube.get(NODES, "n") for _ in range(3)] == [{"kind": "Node"}] * 3
    assert asked == [3]


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 16\r\n\r\n", OBJECT],
        [b"HTTP/1.0 200 OK\r\n\r\n", OBJECT, b""],
        [WHOLE, b""],
    ],
    ids=["told to close", "ends with the connection", "closed without a word"],
)
def test_a_connection_that_the_server_closes_is_replaced(serve: Serve, parts: list[bytes]) -> None:
    kube, asked = serve(*parts)
    assert [kube.get(NODES, "n") for _ in range(3)] == [{"kind": "Node"}] * 3
    assert sum(asked) >= 3
    assert len(asked) >= 3


@pytest.mark.parametrize(
    "parts",
    [
        [WHOLE[:-1], b""],
        [CHUNKS[:-5], b""],
        [b""],
        [b"HTTP/1.1 200 OK\r\n", b""],
        [b"SSH-2.0-x\r\n"],
        [WHOLE[:-1]],
    ],
    ids=["cut short", "chunks cut short", "nothing", "half a head", "another protocol", "goes on for ever"],
)
def test_an_answer_that_is_not_whole_is_none(serve: Serve, parts: list[bytes]) -> None:
    kube, _ = serve(*parts)
    with pytest.raises(errors.Unavailable, match="no answer from http://127"):
        kube.get(NODES, "n", patience_s=NOT_MORE_S)


def test_an_api_server_that_is_not_there_is_told_in_the_systems_words() -> None:
    configuration = official.Configuration()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        configuration.host = f"http://127.0.0.1:{closed.getsockname()[1]}"
    told = rf"^no answer from {configuration.host} \(GET /api/v1/nodes/n\): Connection refused$"
    with pytest.raises(errors.Unavailable, match=told):
        Client(official.ApiClient(configuration)).get(NODES, "n", patience_s=NOT_MORE_S)
