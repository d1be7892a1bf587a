"""Connections of urllib3's pool that send a request, and read its answer, in one piece.

kubelet waits while a claim is read. urllib3 opens a connection (TLS, proxy), lends and drops it; but for each
request it and http.client take 0.4 ms of the processor, a tenth of prepare. An answer that does not end, as a
watch's, goes their way all the same.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any

import httptools
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

_LENGTH_KNOWN_BY = (b"content-length", b"transfer-encoding")


def use_for(pool: urllib3.HTTPConnectionPool) -> None:
    """Have POOL open such connections."""
    pool.ConnectionCls = _Secure if pool.scheme == "https" else _Plain  # type: ignore[assignment]


class Answer:
    """What httptools has read so far, with what urllib3's pool looks at in a response."""

    version_string, length_remaining, headers = "HTTP/1.1", 0, dict[str, str]()

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._ends_with_connection = True
        self.status = 0
        self.is_whole = False
        self.keeps_connection = False

    @property
    def data(self) -> bytes:
        """The body."""
        return b"".join(self._parts)

    def feed(self, data: bytes) -> None:
        """Read on; no DATA: the server has closed the connection."""
        if data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError as problem:
                raise http.client.HTTPException(f"not HTTP: {problem}") from problem
        elif self.status and self._ends_with_connection:
            self.is_whole = True
        else:
            raise http.client.RemoteDisconnected("the connection ended before the answer")

    def on_header(self, name: bytes, _value: bytes) -> None:
        """Called by httptools, as all that follow."""
        if name.lower() in _LENGTH_KNOWN_BY:
            self._ends_with_connection = False

    def on_headers_complete(self) -> None:
        """All but the body is here."""
        self.status = self._parser.get_status_code()
        self.keeps_connection = self._parser.should_keep_alive()

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """The end, unless it is a word before the answer (status 1xx)."""
        self.is_whole = self.status >= 200


class _Plain(HTTPConnection):
    _in_one_piece = True

    def request(  # type: ignore[override]
        self,
        method: str,
        url: str,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        preload_content: bool = True,
        **options: Any,
    ) -> None:
        self._in_one_piece = preload_content
        if not preload_content:
            super().request(method, url, body, headers, preload_content=False, **options)
            return
        content = (body or "").encode()
        fields = {**(headers or {}), **({"Content-Length": str(len(content))} if body else {})}
        lines = [f"{method} {url} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        if self.sock is None:
            self.connect()
        self.sock.settimeout(self.timeout)
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode() + content)

    def getresponse(self) -> Any:
        if not self._in_one_piece:
            return super().getresponse()
        self.sock.settimeout(self.timeout)
        answer = Answer()
        while not answer.is_whole:
            answer.feed(self.sock.recv(65536))
        if not answer.keeps_connection:
            self.close()
        return answer


class _Secure(_Plain, HTTPSConnection):
    pass
