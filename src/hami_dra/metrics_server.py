"""`/metrics` of a node's plugin, on the standard library: the Deployments' web stack costs memory there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog

from hami_dra.listening import listen

log = structlog.get_logger(__name__)

Text = Callable[[], bytes]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def start(port: int, text: Text) -> ThreadingHTTPServer:
    """Serve what TEXT returns, from a thread of its own. StateError when the port is taken."""
    listening = listen(port)
    server = ThreadingHTTPServer(listening.getsockname()[:2], _handler(text), bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def together(texts: Iterable[str]) -> str:
    """Several texts as one, each metric told once with the samples of all: a type told twice is refused."""
    metrics: dict[str, list[str]] = {}
    current: list[str] = []
    for line in "".join(texts).splitlines(keepends=True):
        if line.startswith("# HELP "):
            current = metrics.setdefault(line.split(" ", 3)[2], [])
        if not line.startswith("#") or line not in current:
            current.append(line)
    return "".join(line for lines in metrics.values() for line in lines)


def _handler(text: Text) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # of a client that opens a connection and says nothing

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404, "only /metrics is here")
                return
            try:
                body = text()
            except Exception:
                log.exception("cannot tell the metrics")
                self.send_error(500, "see the log")
                return
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Scrapes are not worth a line."""

    return Handler
