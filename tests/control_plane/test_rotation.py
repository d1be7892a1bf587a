"""Certificates are renewed while Pods are being created: the real API server calls, and no call fails."""

import base64
import contextlib
import dataclasses
import datetime
import socket
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from hami_dra.admission import authority, certs
from hami_dra.admission.authority import Bundle, Pair
from hami_dra.kube import kinds
from tests.control_plane.conftest import eventually, pod, registered
from tests.support import webhook_process

REGISTRATION = "hami-hami-dra-webhook"
DAY = datetime.timedelta(days=1)

SETTLE_S = 3
OFTEN = f"""
import datetime
from hami_dra.admission import certs
from hami_dra.cli.main import main
certs.FileSource.every_s = certs.SecretSource.every_s = 0.5
certs.SETTLE = datetime.timedelta(seconds={SETTLE_S})
main()
"""
"""`hami` that looks for a new certificate every half second, and thinks that API servers learn fast."""


def now():
    return datetime.datetime.now(datetime.UTC)


class Flow:
    """Pods created by several users without a pause, as dry runs; a call that fails is kept, not repeated."""

    def __init__(self, space):
        self._space, self._stop = space, threading.Event()
        self._threads = []
        self.failures = []
        self.answered = 0

    def more(self, users):
        """Let so many more create Pods: the API server opens more connections."""
        for _ in range(users):
            self._threads.append(threading.Thread(target=self._create))
            self._threads[-1].start()

    def goes_on(self, pods=50):
        """Wait until so many more have been answered."""
        enough = self.answered + pods
        eventually(lambda: self.answered >= enough or self.failures, "Pods to be answered", 60)
        assert self.failures == []

    def end(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _create(self):
        path = kinds.PODS.path(self._space.name)
        while not self._stop.is_set():
            try:
                body = pod({"gpumem": 512}, name="")
                self._space.client._open("POST", path, body=body, query={"dryRun": "All"})
                self.answered += 1
            except Exception as problem:
                self.failures.append(problem)


@contextlib.contextmanager
def flowing(space):
    flow = Flow(space)
    try:
        flow.more(3)
        flow.goes_on()
        yield flow
    finally:
        flow.end()
    assert flow.failures == []


def served(webhook, ca):
    """The certificate that a new connection is shown, and that the CA is good for."""
    context = ssl.create_default_context(cadata=ca.decode())
    with (
        socket.create_connection(("localhost", webhook.port)) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        return ssl.DER_cert_to_PEM_cert(tls.getpeercert(binary_form=True)).encode()


def serves(webhook, bundle):
    try:
        return served(webhook, bundle.ca.certificate) == bundle.serving.certificate
    except ssl.SSLCertVerificationError:
        return False


def trusted(space):
    """The CA in each of our registrations."""
    return [
        base64.b64decode(hook["clientConfig"]["caBundle"])
        for kind in (kinds.MUTATING_WEBHOOKS, kinds.VALIDATING_WEBHOOKS)
        for hook in space.client.get(kind, REGISTRATION)["webhooks"]
    ]


# --- certs.mode self -------------------------------------------------------------------------------


def stored(space):
    return certs._decode(space.client.get(kinds.SECRETS, "tls", space.name).get("data") or {})


def store(space, bundle):
    secret = space.client.get(kinds.SECRETS, "tls", space.name)
    space.client.replace(kinds.SECRETS, secret | {"data": certs._encode(bundle)}, space.name)


@pytest.fixture
def own(fresh, tmp_path):
    """The webhook with a certificate of its own making, registered with a CA that it has to correct."""
    fresh.create(kinds.SECRETS, {"metadata": {"name": "tls"}})
    arguments = [
        *("--cert-mode", "self", "--cert-secret", "tls", "--namespace", fresh.name),
        *("--service", "localhost", "--configuration", REGISTRATION),
    ]
    kubeconfig = fresh.cluster.plane.kubeconfig
    with (
        webhook_process.running(
            tmp_path / "webhook", kubeconfig, *arguments, program=("-c", OFTEN)
        ) as webhook,
        registered(fresh.cluster.plane, webhook),
    ):
        eventually(lambda: set(trusted(fresh)) == {stored(fresh).ca.certificate}, "its CA")
        yield webhook


def test_the_webhooks_own_certificate_and_ca_are_renewed_without_a_failed_call(fresh, own):
    first = stored(fresh)
    with flowing(fresh) as flow:
        aged = authority._sign(first.ca, authority._hosts(first), now() - 340 * DAY)
        store(fresh, Bundle(first.ca, aged))
        second = eventually(
            lambda: found if (found := stored(fresh)).serving not in (first.serving, aged) else None,
            "a new certificate",
        )
        assert second.ca == first.ca
        eventually(lambda: serves(own, second), "the new certificate to be served")
        flow.more(5)
        flow.goes_on()
        # A new CA, as the other replica makes it.
        new = authority.renew(None, authority._hosts(first), now())
        third = Bundle(Pair(new.ca.certificate + first.ca.certificate, new.ca.key), new.serving)
        store(fresh, third)
        eventually(lambda: set(trusted(fresh)) == {third.ca.certificate}, "both CAs to be trusted")
        flow.goes_on()
        eventually(lambda: serves(own, third), "what the new CA signed", SETTLE_S + 20)
        flow.more(5)
        flow.goes_on()


# --- certs.mode certManager ------------------------------------------------------------------------


class CertManager:
    """A stand-in for cert-manager and kubelet: keeps the Secret's mounted files and the registered CA.

    The files are swapped as kubelet does it: a new folder, and a link to it that is renamed.
    """

    def __init__(self, space, mount):
        self._space, self._mount, self._generation = space, mount, 0
        self.bundle = authority.renew(None, ["localhost"], now())
        mount.mkdir()
        self._put()
        for name in ("tls.crt", "tls.key"):
            (mount / name).symlink_to(f"..data/{name}")

    def renew(self):
        """A new serving certificate with a new key, of the same CA."""
        self.bundle = Bundle(self.bundle.ca, authority._sign(self.bundle.ca, ["localhost"], now()))
        self._put()

    def renew_ca(self):
        """A new certificate of the CA for the key it has (`rotationPolicy: Never`), and its injection."""
        key = serialization.load_pem_private_key(self.bundle.ca.key, password=None)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hami-dra webhook CA")])
        made = (
            authority._builder(name, name, key.public_key(), now(), authority.CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        ca = Pair(made.public_bytes(serialization.Encoding.PEM), self.bundle.ca.key)
        self.bundle = dataclasses.replace(self.bundle, ca=ca)
        value = base64.b64encode(ca.certificate).decode()
        for kind in (kinds.MUTATING_WEBHOOKS, kinds.VALIDATING_WEBHOOKS):
            found = self._space.client.get(kind, REGISTRATION)["webhooks"]
            steps = [
                {"op": "replace", "path": f"/webhooks/{at}/clientConfig/caBundle", "value": value}
                for at in range(len(found))
            ]
            self._space.client.patch(kind, REGISTRATION, steps, type="json")

    def _put(self):
        self._generation += 1
        folder = self._mount / f"..{self._generation}"
        folder.mkdir()
        (folder / "tls.crt").write_bytes(self.bundle.serving.certificate)
        (folder / "tls.key").write_bytes(self.bundle.serving.key)
        link = self._mount / "..new"
        link.symlink_to(folder.name)
        link.rename(self._mount / "..data")


def test_a_certificate_that_cert_manager_renews_is_taken_up_without_a_failed_call(fresh, tmp_path):
    manager = CertManager(fresh, tmp_path / "mount")
    plane, folder = fresh.cluster.plane, tmp_path / "webhook"
    mounted = ("--cert-dir", str(tmp_path / "mount"))
    with webhook_process.running(folder, plane.kubeconfig, *mounted, program=("-c", OFTEN)) as started:
        webhook = dataclasses.replace(started, bundle=manager.bundle)
        with registered(plane, webhook), flowing(fresh) as flow:
            for _ in range(3):
                manager.renew()
                eventually(lambda: serves(webhook, manager.bundle), "the new certificate to be served")
                flow.more(2)
                flow.goes_on()
            manager.renew_ca()
            flow.goes_on()
            manager.renew()
            eventually(lambda: serves(webhook, manager.bundle), "the new certificate to be served")
            flow.more(2)
            flow.goes_on()
