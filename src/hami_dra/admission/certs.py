"""The webhook's certificate: our own, kept in a Secret, or files that somebody else renews.

Mode `self`: a CA of ten years signs a serving certificate of one year, renewed 30 days before its end by the
same CA, so nothing that the API server trusts changes. Both replicas share one Secret: who writes first
wins, the other reads. Mode `files`: cert-manager's or the operator's files, read again when they change.
"""

from __future__ import annotations

import base64
import datetime
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hami_dra.kube import kinds
from hami_dra.kube.client import KubeClient
from hami_dra.model import errors

log = structlog.get_logger(__name__)

CA_LIFE = datetime.timedelta(days=3650)
SERVING_LIFE = datetime.timedelta(days=365)
RENEW_BEFORE = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class Bundle:
    """What the Secret holds: the CA with its key, and the serving pair."""

    ca: Pair
    serving: Pair


class Source(Protocol):
    """Where the serving pair comes from; asked again every minute."""

    def current(self) -> Pair:
        """Return the pair to serve with now. Raises errors.HamiError."""
        ...


class FileSource:
    """Mode `files`: `tls.crt` and `tls.key` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def current(self) -> Pair:
        """See Source."""
        try:
            return Pair((self._folder / "tls.crt").read_bytes(), (self._folder / "tls.key").read_bytes())
        except OSError as problem:
            raise errors.StateError(f"no serving certificate: {problem}") from problem


class SecretSource:
    """Mode `self`: makes, keeps and renews the pair, and tells the API server which CA to trust."""

    def __init__(
        self, client: KubeClient, namespace: str, secret: str, service: str, configuration: str
    ) -> None:
        self._client, self._namespace, self._secret = client, namespace, secret
        self._hosts = [f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local", service]
        self._configuration = configuration

    def current(self) -> Pair:
        """See Source."""
        bundle = self._agreed_bundle()
        self._trust(bundle.ca.certificate)
        return bundle.serving

    def _agreed_bundle(self) -> Bundle:
        for _ in range(5):
            stored = self._client.get(kinds.SECRETS, self._secret, self._namespace)
            bundle = _decode(stored.get("data") or {})
            now = datetime.datetime.now(datetime.UTC)
            renewed = renew(bundle, self._hosts, now)
            if renewed == bundle and bundle is not None:
                return bundle
            try:
                self._client.replace(kinds.SECRETS, stored | {"data": _encode(renewed)}, self._namespace)
                log.info("certificate made", secret=self._secret)
                return renewed
            except errors.Conflict:
                continue  # the other replica was first: read what it wrote
        raise errors.Unavailable(f"Secret {self._secret} keeps changing")

    def _trust(self, ca: bytes) -> None:
        """Put the CA into every webhook of our configuration, when it is not there."""
        wanted = base64.b64encode(ca).decode()
        found = self._client.get(kinds.MUTATING_WEBHOOKS, self._configuration)
        patch = [
            {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": wanted}
            for index, webhook in enumerate(found.get("webhooks") or [])
            if webhook["clientConfig"].get("caBundle") != wanted
        ]
        if patch:
            self._client.patch(kinds.MUTATING_WEBHOOKS, self._configuration, patch, type="json")


def renew(bundle: Bundle | None, hosts: list[str], now: datetime.datetime) -> Bundle:
    """Return BUNDLE as it should be at NOW: itself when all is well, else with what must be new."""
    if bundle is None or _ends_soon(bundle.ca.certificate, now):
        ca = _make_ca(now)
        return Bundle(ca, _sign(ca, hosts, now))
    if _ends_soon(bundle.serving.certificate, now) or _hosts(bundle.serving.certificate) != hosts:
        return Bundle(bundle.ca, _sign(bundle.ca, hosts, now))
    return bundle


def write(pair: Pair, folder: Path) -> tuple[Path, Path]:
    """Write a pair for `SSLContext.load_cert_chain`, which reads files only; the key is ours alone."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = (folder / "tls.crt", folder / "tls.key")
    for path, data in zip(paths, (pair.certificate, pair.key), strict=True):
        handle, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).rename(path)
    return paths


def _make_ca(now: datetime.datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hami-dra webhook CA")])
    certificate = (
        _builder(name, name, key.public_key(), now, CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pem(certificate, key)


def _sign(ca: Pair, hosts: list[str], now: datetime.datetime) -> Pair:
    issuer = x509.load_pem_x509_certificate(ca.certificate)
    issuer_key = serialization.load_pem_private_key(ca.key, password=None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)  # noqa: S101 - we made it
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[-1])])
    certificate = (
        _builder(name, issuer.subject, key.public_key(), now, SERVING_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return _pem(certificate, key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
    life: datetime.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # Clocks of nodes differ a little.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + life)
    )


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _ends_soon(certificate: bytes, now: datetime.datetime) -> bool:
    end = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    return end - now < RENEW_BEFORE


def _hosts(certificate: bytes) -> list[str]:
    loaded = x509.load_pem_x509_certificate(certificate)
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)


_FIELDS = {
    "ca.crt": ("ca", "certificate"),
    "ca.key": ("ca", "key"),
    "tls.crt": ("serving", "certificate"),
    "tls.key": ("serving", "key"),
}


def _decode(data: dict[str, str]) -> Bundle | None:
    """The Secret's content; None when it is empty or damaged, so that it is made anew."""
    try:
        raw = {name: base64.b64decode(data[name]) for name in _FIELDS}
        for name in ("ca.crt", "tls.crt"):
            x509.load_pem_x509_certificate(raw[name])
    except (KeyError, ValueError):
        return None
    return Bundle(Pair(raw["ca.crt"], raw["ca.key"]), Pair(raw["tls.crt"], raw["tls.key"]))


def _encode(bundle: Bundle) -> dict[str, str]:
    return {
        name: base64.b64encode(getattr(getattr(bundle, pair), part)).decode()
        for name, (pair, part) in _FIELDS.items()
    }
