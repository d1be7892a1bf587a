import base64
import datetime
import json
import ssl
import threading
import urllib.request

import pytest
from starlette.testclient import TestClient

from hami_dra import http_server
from hami_dra.admission import certs
from hami_dra.admission.patch import Settings, Surroundings
from hami_dra.admission.server import AdmissionServer
from hami_dra.admission.tls import tls
from hami_dra.kube import kinds
from tests.support.fake_kube import FakeKube
from tests.unit.admission.pods import gpu, pod

NOW = datetime.datetime.now(datetime.UTC)
HOSTS = ["hook.ns.svc", "hook.ns.svc.cluster.local", "hook"]


@pytest.fixture
def client():
    return TestClient(AdmissionServer(Settings(), Surroundings).app)


def review(source, client):
    request = {"uid": "1", "namespace": "ml", "object": source}
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return client.post("/mutate", json=body).json()["response"]


def test_a_gpu_pod_is_allowed_with_a_patch_of_spec_and_metadata(client):
    answer = review(pod(gpu(gpu=1)), client)
    patch = json.loads(base64.b64decode(answer["patch"]))
    assert answer["allowed"]
    assert answer["uid"] == "1"
    assert [step["path"] for step in patch] == ["/spec", "/metadata/labels", "/metadata/annotations"]


def test_a_denial_says_why(client):
    answer = review(pod(gpu(gpu=1, gpucores=101)), client)
    assert not answer["allowed"]
    assert "nvidia.com/gpucores is 101" in answer["status"]["message"]


def test_a_pod_without_our_resources_passes_unchanged(client):
    assert review(pod({"cpu": "1"}), client) == {"uid": "1", "allowed": True}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"request": null}', b'{"request": {"uid": "1"}}'])
def test_what_is_no_review_is_a_client_error_and_the_server_goes_on(client, body):
    assert client.post("/mutate", content=body).status_code == 400
    assert review(pod(gpu(gpu=1)), client)["allowed"]


def test_a_body_larger_than_any_review_is_refused(client):
    assert client.post("/mutate", content=b"x" * (7 * 1024 * 1024)).status_code == 413


def test_a_serving_certificate_is_renewed_before_its_end_by_the_same_ca():
    first = certs.renew(None, HOSTS, NOW)
    assert certs.renew(first, HOSTS, NOW) == first
    later = certs.renew(first, HOSTS, NOW + datetime.timedelta(days=340))
    assert later.ca == first.ca
    assert later.serving != first.serving


@pytest.fixture
def kube():
    kube = FakeKube()
    kube.create(kinds.SECRETS, {"metadata": {"name": "tls"}, "data": {}}, "ns")
    return kube


def test_two_replicas_agree_on_one_certificate(kube, monkeypatch):
    monkeypatch.setattr(certs.SecretSource, "_trust", lambda self, ca: None)
    first, second = (certs.SecretSource(kube, "ns", "tls", "hook", "config") for _ in range(2))
    assert first.current() == second.current()


def test_the_server_answers_over_tls_and_takes_a_renewed_certificate_without_a_restart(tmp_path, monkeypatch):
    bundle = [certs.renew(None, ["localhost"], NOW - datetime.timedelta(days=340))]
    ca = bundle[0].ca

    class Source:
        def current(self):
            return bundle[0].serving

    (tmp_path / "ca.crt").write_bytes(ca.certificate)
    app = http_server.observability(lambda: True)
    listener = http_server.Listener(app, 0, tls(Source(), tmp_path / "tls", every_s=0.05), host="127.0.0.1")
    started, holder = threading.Event(), {}
    original = http_server._Server.startup

    async def startup(self, sockets=None):
        await original(self, sockets)
        holder["server"], holder["port"] = self, self.servers[0].sockets[0].getsockname()[1]
        started.set()

    monkeypatch.setattr(http_server._Server, "startup", startup)
    monkeypatch.setattr("asyncio.unix_events._UnixSelectorEventLoop.add_signal_handler", lambda *_: None)
    thread = threading.Thread(target=http_server.serve, args=[[listener]])
    thread.start()
    assert started.wait(10)

    def serial():
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        url = f"https://localhost:{holder['port']}/healthz"
        with urllib.request.urlopen(url, context=context, timeout=5) as answer:
            assert answer.read() == b"ok"
        return ssl.get_server_certificate(("localhost", holder["port"]))

    before = serial()
    bundle[0] = certs.renew(bundle[0], ["localhost"], NOW)
    deadline = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=10)
    while serial() == before:
        assert datetime.datetime.now(datetime.UTC) < deadline
    holder["server"].should_exit = True
    thread.join(10)
