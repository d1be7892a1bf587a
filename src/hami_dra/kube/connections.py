"""Requests with whole answers, over connections that stay open.

kubelet waits while a claim is read. urllib3 makes the connections, since it knows about certificates; what
it does for each request takes our processor three times as long as what is done here.
"""

from __future__ import annotations

import select
import socket
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httptools
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from hami_dra.model import errors

CONNECT_TIMEOUT_S = 5.0
_PIECE_BYTES = 65536
_SAFE = "/?&=%+:,"  # what a path and its encoded query are made of; anything else cannot end the line
_BETWEEN_REQUESTS = ("maxsize", "retries")  # what a pool of urllib3 has beside the options of its connections


class Answer(NamedTuple):
    """`status` of HTTP, and the whole body."""

    status: int
    data: bytes


class Connections:
    """Those to the server of URL. Safe for threads: each request has a connection to itself.

    OPTIONS: as a `urllib3.PoolManager` has them (certificates, host name).
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._name = parts.netloc.rpartition("@")[2]
        self._secure = parts.scheme == "https"
        self._options = {key: value for key, value in options.items() if key not in _BETWEEN_REQUESTS}
        self._idle: list[HTTPConnection] = []
        weakref.finalize(self, _close, self._idle)

    def request(
        self, method: str, target: str, headers: Mapping[str, str], body: str | None, timeout_s: float
    ) -> Answer:
        """Ask once; errors.Unavailable when there is no whole answer. TIMEOUT_S: longest silence."""
        message = self._message(method, target, headers, body)
        connection = None
        try:
            connection = self._idle_one() or self._new()
            answer, stays_open = _exchange(connection.sock, message, timeout_s)
        except (OSError, httptools.HttpParserError, urllib3.exceptions.HTTPError) as problem:
            if connection is not None:
                connection.close()
            raise errors.Unavailable(f"{method} {target}: {problem!r}") from problem
        if stays_open:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _message(self, method: str, target: str, headers: Mapping[str, str], body: str | None) -> bytes:
        data = b"" if body is None else body.encode()
        lines = [f"{method} {quote(target, safe=_SAFE)} HTTP/1.1", f"Host: {self._name}"]
        lines += [f"{name}: {value.strip()}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(data)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + data

    def _idle_one(self) -> HTTPConnection | None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread may have had the last one
                return None
            if not _readable(connection.sock):
                return connection
            connection.close()  # nobody asked: what is to be read is its end

    def _new(self) -> HTTPConnection:
        if self._secure:
            connection: HTTPConnection = HTTPSConnection(
                self._host, self._port, timeout=CONNECT_TIMEOUT_S, **self._options
            )
        else:
            connection = HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT_S)
        connection.connect()
        return connection


class _Reading:
    """An answer while it comes in: `parser` calls `on_...`, and is let go of when the answer is `whole`."""

    def __init__(self) -> None:
        self.parser: Any = httptools.HttpResponseParser(self)
        self.pieces: list[bytes] = []
        self.status = 0
        self.whole = self.stays_open = False

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        self.status, self.stays_open = self.parser.get_status_code(), self.parser.should_keep_alive()
        self.whole = True
        self.parser = None


def _exchange(sock: socket.socket, message: bytes, timeout_s: float) -> tuple[Answer, bool]:
    """Send MESSAGE and read its answer; also whether the connection can be used again."""
    sock.settimeout(timeout_s)
    sock.sendall(message)
    reading = _Reading()
    while not reading.whole:
        data = sock.recv(_PIECE_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection before its answer was whole")
        reading.parser.feed_data(data)
    return Answer(reading.status, b"".join(reading.pieces)), reading.stays_open


def _close(idle: list[HTTPConnection]) -> None:
    for connection in idle:
        connection.close()


def _readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
