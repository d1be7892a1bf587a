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

from hami_dra.admission import authority, certs
from hami_dra.admission.authority import Bundle, Pair
from hami_dra.kube import kinds
from tests.control_plane.conftest import await_known, pod, registered
from tests.support import webhook_process
from tests.support.waiting import until

REGISTRATION = "hami-hami-dra-webhook"
DAY = datetime.timedelta(days=1)

SETTLE_S = 6
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
        until(lambda: self.answered >= enough or self.failures, "Pods to be answered")
        assert self.failures == []

    def end(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _create(self):
        while not self._stop.is_set():
            try:
                self._space.try_pod(pod({"gpumem": 512}, name=""))
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
    return certs.decode(space.client.get(kinds.SECRETS, "tls", space.name).get("data") or {})


def store(space, bundle):
    secret = space.client.get(kinds.SECRETS, "tls", space.name)
    space.client.replace(kinds.SECRETS, secret | {"data": certs.encode(bundle)}, space.name)


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
        until(lambda: set(trusted(fresh)) == {stored(fresh).ca.certificate}, "its CA")
        yield webhook


def test_the_webhooks_own_certificate_and_ca_are_renewed_without_a_failed_call(fresh, own):
    first = stored(fresh)
    with flowing(fresh) as flow:
        aged = authority.sign(first.ca, authority.hosts_of(first), now() - 340 * DAY)
        store(fresh, Bundle(first.ca, aged))
        second = until(
            lambda: found if (found := stored(fresh)).serving not in (first.serving, aged) else None,
            "a new certificate",
        )
        assert second.ca == first.ca
        until(lambda: serves(own, second), "the new certificate to be served")
        flow.more(5)
        flow.goes_on()
        # A new CA, as the other replica makes it.
        new = authority.renew(None, authority.hosts_of(first), now())
        third = Bundle(Pair(new.ca.certificate + first.ca.certificate, new.ca.key), new.serving)
        store(fresh, third)
        until(lambda: set(trusted(fresh)) == {third.ca.certificate}, "both CAs to be trusted")
        flow.goes_on()
        until(lambda: serves(own, third), "what the new CA signed")
        flow.more(5)
        flow.goes_on()


# --- certs.mode certManager and secret: somebody else's files --------------------------------------


class Mount:
    """A stand-in for kubelet: swaps a Secret's files as it does: a new folder, and a link that is renamed."""

    def __init__(self, folder):
        self.folder, self._generation = folder, 0
        folder.mkdir()
        for name in ("tls.crt", "tls.key"):
            (folder / name).symlink_to(f"..data/{name}")

    def put(self, pair):
        self._generation += 1
        made = self.folder / f"..{self._generation}"
        made.mkdir()
        (made / "tls.crt").write_bytes(pair.certificate)
        (made / "tls.key").write_bytes(pair.key)
        link = self.folder / "..new"
        link.symlink_to(made.name)
        link.rename(self.folder / "..data")


class CertManager:
    """A stand-in for cert-manager: keeps the Secret's mounted files and the registered CA."""

    def __init__(self, space, mount):
        self._space, self._mount = space, mount
        self.bundle = authority.renew(None, ["localhost"], now())
        mount.put(self.bundle.serving)

    def renew(self):
        """A new serving certificate with a new key, of the same CA."""
        self.bundle = Bundle(self.bundle.ca, authority.sign(self.bundle.ca, ["localhost"], now()))
        self._mount.put(self.bundle.serving)

    def renew_ca(self):
        """A new certificate of the CA for the key it has (`rotationPolicy: Never`), and its injection."""
        ca = Pair(again(self.bundle.ca), self.bundle.ca.key)
        self.bundle = dataclasses.replace(self.bundle, ca=ca)
        trust(self._space, ca.certificate)


def again(ca):
    """Another certificate for the name and key of CA, PEM."""
    name = x509.load_pem_x509_certificate(ca.certificate).subject
    key = serialization.load_pem_private_key(ca.key, password=None)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - DAY)
        .not_valid_after(now() + 3650 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def trust(space, certificates):
    """Register them as what the webhook's certificate is checked with."""
    value = base64.b64encode(certificates).decode()
    for kind in (kinds.MUTATING_WEBHOOKS, kinds.VALIDATING_WEBHOOKS):
        found = space.client.get(kind, REGISTRATION)["webhooks"]
        steps = [
            {"op": "replace", "path": f"/webhooks/{at}/clientConfig/caBundle", "value": value}
            for at in range(len(found))
        ]
        space.client.patch(kind, REGISTRATION, steps, type="json")


@contextlib.contextmanager
def mounted(space, mount, bundle):
    """The webhook that serves the files of MOUNT, registered with BUNDLE's CA, while Pods are created.

    Gives the flow of Pods, and a function that waits until what MOUNT has now is served and called.
    """
    plane, folder = space.cluster.plane, mount.folder.with_name("webhook")
    options = ("--cert-dir", str(mount.folder))
    with webhook_process.running(folder, plane.kubeconfig, *options, program=("-c", OFTEN)) as started:
        webhook = dataclasses.replace(started, bundle=bundle)
        with registered(plane, webhook), flowing(space) as flow:

            def takes_up(renewed):
                until(lambda: serves(webhook, renewed), "the new certificate to be served")
                flow.more(2)
                flow.goes_on()

            yield flow, takes_up


def test_a_certificate_that_cert_manager_renews_is_taken_up_without_a_failed_call(fresh, tmp_path):
    mount = Mount(tmp_path / "mount")
    manager = CertManager(fresh, mount)
    with mounted(fresh, mount, manager.bundle) as (flow, takes_up):
        for _ in range(3):
            manager.renew()
            takes_up(manager.bundle)
        manager.renew_ca()
        flow.goes_on()
        manager.renew()
        takes_up(manager.bundle)


class Operator:
    """Who keeps the certificate by hand: replaces the Secret, which kubelet then mounts anew."""

    def __init__(self, space, mount):
        self._space, self._mount = space, mount
        self.bundle = authority.renew(None, ["localhost"], now())
        data = self._data(self.bundle.serving)
        space.create(kinds.SECRETS, {"metadata": {"name": "mine"}, "type": "kubernetes.io/tls", "data": data})
        self._sync()

    def replace(self, bundle):
        """As `kubectl create secret tls mine ... --dry-run=client -o yaml | kubectl replace -f -`."""
        self.bundle = bundle
        stored = self._space.client.get(kinds.SECRETS, "mine", self._space.name)
        changed = stored | {"data": self._data(bundle.serving)}
        self._space.client.replace(kinds.SECRETS, changed, self._space.name)
        self._sync()

    def _data(self, pair):
        listed = (("tls.crt", pair.certificate), ("tls.key", pair.key))
        return {name: base64.b64encode(content).decode() for name, content in listed}

    def _sync(self):
        data = self._space.client.get(kinds.SECRETS, "mine", self._space.name)["data"]
        self._mount.put(Pair(*(base64.b64decode(data[name]) for name in ("tls.crt", "tls.key"))))


def test_a_secret_that_is_replaced_is_served_without_a_failed_call(fresh, tmp_path):
    """Its certificate first, then its CA: both CAs are registered while the replicas change over."""
    mount = Mount(tmp_path / "mount")
    operator = Operator(fresh, mount)
    with mounted(fresh, mount, operator.bundle) as (flow, takes_up):
        former = operator.bundle.ca
        operator.replace(Bundle(former, authority.sign(former, ["localhost"], now())))
        takes_up(operator.bundle)
        new = authority.renew(None, ["localhost"], now())
        trust(fresh, former.certificate + new.ca.certificate)
        await_known(fresh.cluster.plane)
        flow.goes_on()
        operator.replace(new)
        takes_up(new)
        trust(fresh, new.ca.certificate)
        flow.more(2)
        flow.goes_on()
