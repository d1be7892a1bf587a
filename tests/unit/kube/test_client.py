"""The client and a server that is below a path, or that fails for a while."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client as official
from kubernetes import config

from hami_dra.kube import NODES, Client, transport
from hami_dra.kube.client import REQUEST_TIMEOUT_S
from hami_dra.model import errors
from tests.support.fake_kube import FakeKube
from tests.support.kube_server import serving
from tests.support.waiting import until


class Server(ThreadingHTTPServer):
    """Answers with `codes`, then with 200; remembers the paths that it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.codes: list[int] = []
        self.body = b'{"message": "no leader"}'
        self.paths: list[str] = []
        self.tokens: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.server.tokens.append(self.headers["Authorization"])
        body = self.server.body
        self.send_response(self.server.codes.pop(0) if self.server.codes else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        self.server.paths.append(self.path)
        self.send_error(502)

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


def test_what_is_listed_is_what_was_asked_for_and_says_of_what_kind_it_is(server: Server) -> None:
    """The API server says the kind of the list alone."""
    server.body = b'{"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "n"}}]}'
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}
    assert client(server).list(NODES, labels="gpu=on", fields="a!=b") == ([node], "7")
    assert server.paths == ["/api/v1/nodes?labelSelector=gpu%3Don&fieldSelector=a%21%3Db"]


def test_what_may_mend_itself_is_tried_again(server: Server) -> None:
    server.codes = [500, 503, 429]
    assert client(server).get(NODES, "n") == {"message": "no leader"}
    assert len(server.paths) == 4


def test_a_server_that_says_nothing_is_given_up_when_the_patience_ends() -> None:
    """The webhook has 5 s for its answer: it cannot wait as long as others."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        configuration = official.Configuration()
        configuration.host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(errors.Unavailable):
            Client(official.ApiClient(configuration)).get(NODES, "n", patience_s=0.3)
    assert time.monotonic() - began < REQUEST_TIMEOUT_S


def test_what_does_not_mend_itself_is_told_in_the_end(server: Server) -> None:
    server.codes = [503] * 1000
    with pytest.raises(errors.Unavailable, match="no leader"):
        client(server).get(NODES, "n", patience_s=0.3)
    assert len(server.paths) > 1


@pytest.mark.parametrize(
    ("code", "error"),
    [(404, errors.NotFound), (400, errors.Denied), (403, errors.Denied), (409, errors.Conflict)],
)
def test_what_trying_again_does_not_mend_is_told_at_once(
    server: Server, code: int, error: type[errors.KubeError]
) -> None:
    server.codes = [code]
    with pytest.raises(error, match="no leader"):
        client(server).get(NODES, "n")
    assert len(server.paths) == 1


def test_who_deletes_by_uid_deletes_no_other_object_of_that_name(tmp_path: Path) -> None:
    kube = FakeKube()
    uid = kube.create(NODES, {"metadata": {"name": "n"}})["metadata"]["uid"]
    with serving(kube, tmp_path) as kubeconfig:
        one = Client.from_environment(str(kubeconfig))
        with pytest.raises(errors.Conflict):
            one.delete(NODES, "n", uid="another")
        one.delete(NODES, "n", uid=uid)
    assert kube.list(NODES)[0] == []


PAGE = b"<html><body><h1>Sign in to the network</h1>\n"


@pytest.mark.parametrize("body", [PAGE, b"", b"[]", b'"\xff"', b"{}"])
def test_an_answer_that_is_not_the_api_servers_is_told_in_one_line(
    server: Server, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """A proxy in between, or a load balancer that has no API server yet, says 200 to everything."""
    monkeypatch.setattr("hami_dra.kube.client.ATTEMPTS", 2)
    server.body = body
    told = rf"127\.0\.0\.1:{server.server_port} .GET /api/v1/nodes.*no answer of an API server"
    with pytest.raises(errors.Unavailable, match=told) as caught:
        client(server).list(NODES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("body", [PAGE, b'{"kind": "Status"}\n', b"[]\n"])
def test_a_watch_that_is_answered_by_somebody_else_ends_with_a_word(server: Server, body: bytes) -> None:
    server.body = body
    with pytest.raises(errors.Unavailable, match="no answer of an API server"):
        list(client(server).watch(NODES, "1"))


def alive_is_asked(port: int) -> bool:
    """Whether the kernel probes the connection to PORT while nothing is said on it (proc_pid_net(5)).

    What else there is has another state: the list is of everyone who shares the network, and old connections
    linger in it.
    """
    lines = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    established = [each for each in lines if each[2] == f"0100007F:{port:04X}" and each[3] == "01"]
    return [each[5].split(":")[0] for each in established] == ["02"]


def kubeconfig_of(server: Server) -> dict[str, Any]:
    return {
        "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "x", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "current-context": "x",
    }


def as_in_a_pod(monkeypatch: pytest.MonkeyPatch, folder: Path, address: str, kubeconfig: str = "") -> None:
    """In a Pod whose API server is at ADDRESS, and whose home has a KUBECONFIG or none."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "its-cluster")
    (folder / "of-its-home").write_text(kubeconfig)
    monkeypatch.setattr(config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(folder / "of-its-home"))
    monkeypatch.setattr(config, "load_incluster_config", lambda given: setattr(given, "host", address))


def test_in_a_pod_a_kubeconfig_goes_before_the_service_account_as_in_kubectl(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_in_a_pod(monkeypatch, tmp_path, "http://127.0.0.1:1", json.dumps(kubeconfig_of(server)))
    Client.from_environment().get(NODES, "n")
    monkeypatch.setenv("KUBECONFIG", "broken")
    (tmp_path / "of-its-home").write_text("{}")
    with pytest.raises(errors.Unavailable, match="no usable cluster configuration"):
        Client.from_environment()


@pytest.mark.parametrize("in_a_pod", [False, True])
def test_a_connection_whose_other_end_went_away_without_a_word_is_noticed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_a_pod: bool
) -> None:
    """By keepalive: a watch went on for minutes without an event when the API server's machine was gone."""
    (tmp_path / "config").write_text(json.dumps(kubeconfig_of(server)))
    if in_a_pod:
        as_in_a_pod(monkeypatch, tmp_path, f"http://127.0.0.1:{server.server_port}")
    one = Client.from_environment(None if in_a_pod else str(tmp_path / "config"))
    one.get(NODES, "n")
    # Until the other end has acknowledged the request, the kernel's timer is for that.
    until(lambda: alive_is_asked(server.server_port), "a timer that asks")


def test_a_page_that_goes_away_is_no_failure(server: Server) -> None:
    server.body = PAGE
    threading.Timer(0.1, lambda: setattr(server, "body", b'{"message": "here"}')).start()
    assert client(server).get(NODES, "n") == {"message": "here"}


def test_a_token_is_looked_up_again_when_it_is_refused(server: Server) -> None:
    tokens = iter(["bearer first", "bearer second"])

    def renew(configuration: official.Configuration) -> None:
        configuration.api_key["BearerToken"] = next(tokens)

    configuration = official.Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_port}"
    configuration.api_key["BearerToken"] = "bearer none"
    configuration.refresh_api_key_hook = renew
    kube = Client(official.ApiClient(configuration))
    server.codes = [200, 200, 401]
    kube.get(NODES, "n")
    kube.get(NODES, "n")
    with pytest.raises(errors.Denied):
        kube.get(NODES, "n")
    kube.get(NODES, "n")
    assert server.tokens == ["bearer first"] * 3 + ["bearer second"]


def test_a_token_is_looked_up_again_now_and_then(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "CREDENTIALS_S", 0.0)
    configuration = official.Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_port}"
    configuration.api_key["BearerToken"] = "bearer first"
    kube = Client(official.ApiClient(configuration))
    kube.get(NODES, "n")
    configuration.api_key["BearerToken"] = "bearer second"
    kube.get(NODES, "n")
    assert server.tokens == ["bearer first", "bearer second"]


def test_a_proxy_is_asked_where_there_is_one(server: Server) -> None:
    configuration = official.Configuration()
    configuration.host = "https://api.example:6443"
    configuration.proxy = f"http://127.0.0.1:{server.server_port}"
    with pytest.raises(errors.Unavailable):
        Client(official.ApiClient(configuration)).get(NODES, "n", patience_s=0.1)
    until(lambda: server.paths, "the proxy to be asked")
    assert server.paths[0] == "api.example:6443"
