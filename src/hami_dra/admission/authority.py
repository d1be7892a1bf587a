"""A certificate authority of our own: a CA of ten years signs serving certificates of one year. Pure.

Both are made anew in time. A new CA comes with the former one behind it in its file: whoever trusts the file
trusts certificates of both while the replicas change over.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFE = datetime.timedelta(days=3650)
SERVING_LIFE = datetime.timedelta(days=365)
RENEW_BEFORE = datetime.timedelta(days=30)

# Clocks of nodes differ a little.
_BACKDATED = datetime.timedelta(hours=1)


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


def renew(bundle: Bundle | None, hosts: list[str], now: datetime.datetime) -> Bundle:
    """Return BUNDLE as it should be at NOW: itself when all is well, else with what must be new."""
    if bundle is None:
        ca = _make_ca(now)
        return Bundle(ca, sign(ca, hosts, now))
    # What the CA signs must not outlive it.
    if _ends_within(bundle.ca.certificate, SERVING_LIFE + RENEW_BEFORE, now):
        ca = _make_ca(now)
        both = Pair(ca.certificate + _first(bundle.ca.certificate), ca.key)
        return Bundle(both, sign(ca, hosts, now))
    if _ends_within(bundle.serving.certificate, RENEW_BEFORE, now) or hosts_of(bundle) != hosts:
        return Bundle(bundle.ca, sign(bundle.ca, hosts, now))
    return bundle


def sign(ca: Pair, hosts: list[str], now: datetime.datetime) -> Pair:
    """A serving certificate for HOSTS, good for a year from NOW on, with a new key."""
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


def hosts_of(bundle: Bundle) -> list[str]:
    """The names that the serving certificate is good for."""
    loaded = x509.load_pem_x509_certificate(bundle.serving.certificate)
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)


def age(certificate: bytes, now: datetime.datetime) -> datetime.timedelta:
    """How long ago the (first) certificate was made."""
    return now - x509.load_pem_x509_certificate(certificate).not_valid_before_utc - _BACKDATED


def matches(pair: Pair) -> bool:
    """Whether the key is the certificate's; while both are replaced they may not be. ValueError: not PEM."""
    key = serialization.load_pem_private_key(pair.key, password=None)
    return x509.load_pem_x509_certificate(pair.certificate).public_key() == key.public_key()


def _make_ca(now: datetime.datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hami-dra webhook CA")])
    certificate = (
        _builder(name, name, key.public_key(), now, CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
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
        .not_valid_before(now - _BACKDATED)
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


def _ends_within(certificate: bytes, span: datetime.timedelta, now: datetime.datetime) -> bool:
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc - now < span


def _first(certificates: bytes) -> bytes:
    """The first of several certificates: of the former CAs one is enough."""
    return x509.load_pem_x509_certificate(certificates).public_bytes(serialization.Encoding.PEM)
