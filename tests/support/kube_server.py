"""`FakeKube` behind HTTP, for programs that run as processes of their own with the real client."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from hami_dra.kube import kinds
from hami_dra.kube.kinds import Kind
from hami_dra.model import errors
from tests.support.fake_kube import FakeKube

KINDS = {kind.plural: kind for kind in vars(kinds).values() if isinstance(kind, Kind)}


@contextmanager
def serving(kube: FakeKube, folder: Path) -> Iterator[Path]:
    """Serve KUBE on the loopback; yields a kubeconfig in FOLDER."""

    class Handler(_Handler):
        store = kube

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(_kubeconfig(f"http://127.0.0.1:{server.server_port}")))
    try:
        yield path
    finally:
        kube.end_watches()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    store: FakeKube
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        text = self.store.texts.get(self.path)
        if text is None:
            self._answer(self._get)
        else:
            self._send_bytes(text.encode())

    def do_POST(self) -> None:
        dry_run = "dryRun=All" in self.path
        self._answer(lambda kind, space, _: self.store.create(kind, self._body(), space, dry_run=dry_run))

    def do_PUT(self) -> None:
        self._answer(lambda kind, space, _: self.store.replace(kind, self._body(), space))

    def do_PATCH(self) -> None:
        self._answer(lambda kind, space, name: self.store.patch(kind, name, self._body(), space))

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, action: Any) -> None:
        try:
            kind, space, name = _parse(urlsplit(self.path).path)
        except (KeyError, IndexError):
            self._send({"kind": "Status", "message": f"nothing at {self.path}", "code": 404}, 404)
            return
        try:
            answer = action(kind, space, name)
        except errors.KubeError as problem:
            self._send({"kind": "Status", "message": str(problem), "code": problem.status}, problem.status)
        else:
            if answer is not None:
                self._send(answer)

    def _get(self, kind: Kind, space: str | None, name: str | None) -> Any:
        query = dict(parse_qsl(urlsplit(self.path).query))
        if name:
            return self.store.get(kind, name, space)
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        if "watch" not in query:
            items, version = self.store.list(kind, space, labels=labels, fields=fields)
            return {"items": items, "metadata": {"resourceVersion": version}}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        watch = self.store.watch(kind, query["resourceVersion"], space, labels=labels, fields=fields)
        try:
            for event in watch:
                line = json.dumps({"type": event.type, "object": event.object}).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass  # the client went away, as clients of watches do
        return None

    def _delete(self, kind: Kind, space: str | None, name: str | None) -> Any:
        assert name
        uid = (self._body().get("preconditions") or {}).get("uid", "")
        self.store.delete(kind, name, space, uid=uid)
        return {"kind": "Status", "status": "Success"}

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(
            self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}"
        )
        return body

    def _send(self, answer: dict[str, Any], status: int = 200) -> None:
        self._send_bytes(json.dumps(answer).encode(), status)

    def _send_bytes(self, data: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with suppress(ConnectionError):  # the client went away
            self.wfile.write(data)


def _parse(path: str) -> tuple[Kind, str | None, str | None]:
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    space = None
    if parts[0] == "namespaces" and len(parts) > 2:
        space, parts = parts[1], parts[2:]
    return KINDS[parts[0]], space, parts[1] if len(parts) > 1 else None


def _kubeconfig(server: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fake", "cluster": {"server": server}}],
        "users": [{"name": "fake", "user": {}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        "current-context": "fake",
    }
