"""The webhook as a process of its own, over TLS: what a hostile or clumsy client can do to it."""

import concurrent.futures
import contextlib
import datetime
import http.client
import json
import socket
import ssl
import threading
import time

import pytest

from hami_dra.admission import authority
from hami_dra.kube import kinds
from tests.support import kube_server
from tests.support.fake_kube import FakeKube
from tests.support.waiting import until
from tests.support.webhook_process import running, write
from tests.unit.admission.pods import gpu, pod

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def webhook(tmp_path_factory):
    folder = tmp_path_factory.mktemp("webhook")
    with kube_server.serving(FakeKube(), folder) as kubeconfig, running(folder, kubeconfig) as found:
        yield found


def body(source=None):
    request = {"uid": "1", "namespace": "ml", "object": source or pod(gpu(gpu=1, gpumem=1024))}
    return json.dumps({"kind": "AdmissionReview", "request": request}).encode()


def connect(webhook):
    return http.client.HTTPSConnection("localhost", webhook.port, context=webhook.context(), timeout=20)


def ask(connection, data=None):
    connection.request("POST", "/mutate", data or body())
    answer = connection.getresponse()
    return answer.status, answer.read()


def allowed(webhook):
    with contextlib.closing(connect(webhook)) as connection:
        status, answer = ask(connection)
    return status == 200 and json.loads(answer)["response"]["allowed"]


def test_a_pod_of_3_mb_is_converted(webhook):
    large = pod(gpu(gpu=1, gpumem=1024))
    large["metadata"]["annotations"] = {"note": "x" * (3 * 1024 * 1024)}
    with contextlib.closing(connect(webhook)) as connection:
        status, answer = ask(connection, body(large))
    assert status == 200
    assert json.loads(answer)["response"]["patchType"] == "JSONPatch"


@pytest.mark.parametrize("data", [b"", b"{", b"null", b"\x00" * 100], ids=["empty", "half", "null", "zeros"])
def test_after_a_malformed_review_the_same_connection_serves_a_good_one(webhook, data):
    with contextlib.closing(connect(webhook)) as connection:
        assert ask(connection, data or b" ")[0] == 400
        assert ask(connection)[0] == 200


def test_bytes_that_are_no_tls_and_no_http_hurt_nobody(webhook):
    for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + b"\xff" * 200):
        with socket.create_connection(("localhost", webhook.port)) as raw:
            raw.sendall(junk)
    with webhook.context().wrap_socket(
        socket.create_connection(("localhost", webhook.port)), server_hostname="localhost"
    ) as tls:
        tls.sendall(b"\r\n\r\nNOT HTTP AT ALL\r\n\r\n")
        tls.recv(1000)
    assert allowed(webhook)


def test_slow_clients_hold_up_nobody(webhook):
    # Some do not even finish the handshake.
    silent = [socket.create_connection(("localhost", webhook.port)) for _ in range(50)]
    slow = []
    for _ in range(50):
        raw = socket.create_connection(("localhost", webhook.port))
        tls = webhook.context().wrap_socket(raw, server_hostname="localhost")
        tls.sendall(b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        slow.append(tls)
    assert allowed(webhook)
    # The slow ones are answered only when the server has lost its patience with them; on a busy machine the
    # first of them may have been.
    slow[-1].settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        slow[-1].recv(1)
    assert all(allowed(webhook) for _ in range(20))
    for each in [*slow, *silent]:
        each.close()


IMPATIENT = """
from hami_dra.admission import server
from hami_dra.cli.main import main
server.BODY_TIMEOUT_S = 0.5
main()
"""
"""`hami` that waits half a second for a request to end, instead of ten."""


def test_a_client_that_never_ends_its_request_is_given_up(tmp_path):
    with (
        kube_server.serving(FakeKube(), tmp_path) as kubeconfig,
        running(tmp_path, kubeconfig, program=("-c", IMPATIENT)) as webhook,
        socket.create_connection(("localhost", webhook.port)) as raw,
        webhook.context().wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        tls.sendall(b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        tls.settimeout(60)
        assert tls.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_thousand_parallel_connections_are_all_answered(webhook):
    connections = [connect(webhook) for _ in range(1000)]
    try:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda each: each.connect(), connections))
            statuses = [status for status, _ in pool.map(ask, connections)]
        assert statuses == [200] * 1000
    finally:
        for each in connections:
            each.close()
    assert allowed(webhook)


def test_a_renewed_certificate_is_taken_up_and_no_request_is_dropped(webhook):
    """Clients on old connections and on new ones ask all the while."""
    failures, counts = [], [0, 0]
    stop = threading.Event()

    def hammer(keep):
        connection = connect(webhook)
        while not stop.is_set():
            try:
                if not keep:
                    connection.close()
                    connection = connect(webhook)
                assert ask(connection)[0] == 200
                counts[keep] += 1
            except Exception as problem:
                failures.append(problem)
        connection.close()

    threads = [threading.Thread(target=hammer, args=[keep], daemon=True) for keep in (False, True)]
    for thread in threads:
        thread.start()
    before = serving(webhook)
    renewed = authority.renew(webhook.bundle, ["localhost", "other"], datetime.datetime.now(datetime.UTC))
    write(renewed.serving, webhook.certificates)
    until(lambda: serving(webhook) != before)
    since = list(counts)
    until(lambda: all(now > then + 3 for now, then in zip(counts, since, strict=True)))
    stop.set()
    for thread in threads:
        thread.join(10)
    assert failures == []


def serving(webhook):
    with (
        socket.create_connection(("localhost", webhook.port)) as raw,
        webhook.context().wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        return tls.getpeercert(binary_form=True)


def test_the_ca_alone_is_trusted(webhook):
    with (
        socket.create_connection(("localhost", webhook.port)) as raw,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(raw, server_hostname="localhost")


def test_thousands_of_converted_pods_fit_into_80_mib(tmp_path):
    """The design's goal for the webhook's resident memory; Pods of 11 KB each are held trimmed."""
    kube = FakeKube()
    with kube_server.serving(kube, tmp_path) as kubeconfig, running(tmp_path, kubeconfig) as webhook:
        for at in range(200):
            source = pod(gpu(gpu=1, gpumem=1024), name=f"train-{at}")
            source["metadata"]["labels"] = {"hami.io/dra": "true"}
            source["spec"]["containers"][0]["env"] = [
                {"name": f"V{n}", "value": "x" * 200} for n in range(50)
            ]
            kube.create(kinds.PODS, source, "ml")
        assert allowed(webhook)
        time.sleep(1)
        assert webhook.resident_mib() < 80
