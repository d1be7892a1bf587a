"""The client and a server that is below a path, or that fails for a while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kubernetes import client as official

from hami_dra.kube import NODES, Client
from hami_dra.model import errors


class Server(ThreadingHTTPServer):
    """Answers with `codes`, then with 200; remembers the paths that it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.codes: list[int] = []
        self.paths: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        body = b'{"message": "no leader"}'
        self.send_response(self.server.codes.pop(0) if self.server.codes else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    thread = threading.Thread(target=one.serve_forever)
    thread.start()
    yield one
    one.shutdown()
    one.server_close()
    thread.join()


def client(server: Server, path: str = "") -> Client:
    configuration = official.Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_port}{path}"
    return Client(official.ApiClient(configuration))


@pytest.mark.parametrize("path", ["", "/k8s/clusters/one", "/k8s/clusters/one/"])
def test_a_server_may_be_below_a_path(server: Server, path: str) -> None:
    client(server, path).get(NODES, "n")
    assert server.paths == [f"{path.rstrip('/')}/api/v1/nodes/n"]


def test_what_may_mend_itself_is_tried_again(server: Server) -> None:
    server.codes = [500, 503, 429]
    assert client(server).get(NODES, "n") == {"message": "no leader"}
    assert len(server.paths) == 4


def test_what_does_not_mend_itself_is_told_in_the_end(server: Server) -> None:
    server.codes = [503] * 1000
    with pytest.raises(errors.Unavailable, match="no leader"):
        client(server).get(NODES, "n", patience_s=0.3)
    assert len(server.paths) > 2


@pytest.mark.parametrize(
    ("code", "error"), [(404, errors.NotFound), (403, errors.Denied), (409, errors.Conflict)]
)
def test_what_trying_again_does_not_mend_is_told_at_once(
    server: Server, code: int, error: type[errors.KubeError]
) -> None:
    server.codes = [code]
    with pytest.raises(error, match="no leader"):
        client(server).get(NODES, "n")
    assert len(server.paths) == 1
