"""Where the webhook's certificate comes from: our own authority, or files that somebody else renews.

Mode `self`: the pair is kept in a Secret. Both replicas share it: who writes first wins, the other reads.
Mode `files`: cert-manager's or the operator's files, read again when they change.
"""

from __future__ import annotations

import base64
import datetime
import os
import tempfile
from pathlib import Path
from typing import Protocol

import structlog

from hami_dra.admission import authority
from hami_dra.admission.authority import Bundle, Pair
from hami_dra.kube import kinds
from hami_dra.kube.protocol import KubeClient
from hami_dra.model import errors

log = structlog.get_logger(__name__)

SETTLE = datetime.timedelta(minutes=2)
"""A new CA is trusted this long before what it signed is served: API servers learn of it one by one."""


class Source(Protocol):
    """Where the serving pair comes from; asked again every `every_s` seconds."""

    every_s: float

    def current(self) -> Pair:
        """Return the pair to serve with now. Raises errors.HamiError."""
        ...


class FileSource:
    """Mode `files`: `tls.crt` and `tls.key` in a folder."""

    every_s = 5.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def current(self) -> Pair:
        """See Source."""
        try:
            pair = Pair((self._folder / "tls.crt").read_bytes(), (self._folder / "tls.key").read_bytes())
            matches = authority.matches(pair)
        except (OSError, ValueError) as problem:
            raise errors.StateError(f"no serving certificate: {problem}") from problem
        if not matches:
            raise errors.StateError(f"tls.crt and tls.key in {self._folder} do not belong together")
        return pair


class SecretSource:
    """Mode `self`: makes, keeps and renews the pair, and tells the API server which CA to trust."""

    every_s = 60.0

    def __init__(
        self, client: KubeClient, namespace: str, secret: str, service: str, configuration: str
    ) -> None:
        self._client, self._namespace, self._secret = client, namespace, secret
        self._hosts = [f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local", service]
        self._configuration = configuration
        self._held: Bundle | None = None

    def current(self) -> Pair:
        """See Source."""
        now = datetime.datetime.now(datetime.UTC)
        bundle = self._agreed_bundle(now)
        for kind in (kinds.MUTATING_WEBHOOKS, kinds.VALIDATING_WEBHOOKS):
            self._trust(kind, bundle.ca.certificate)
        held = self._held
        other_ca = held is not None and held.ca.key != bundle.ca.key
        if held and other_ca and authority.age(bundle.ca.certificate, now) < SETTLE:
            return held.serving
        self._held = bundle
        return bundle.serving

    def _agreed_bundle(self, now: datetime.datetime) -> Bundle:
        for _ in range(5):
            stored = self._client.get(kinds.SECRETS, self._secret, self._namespace)
            # An emptied or damaged Secret gets back what this replica serves with, and the API server trusts.
            bundle = decode(stored.get("data") or {})
            wanted = authority.renew(bundle or self._held, self._hosts, now)
            if wanted == bundle:
                return wanted
            try:
                self._client.replace(kinds.SECRETS, stored | {"data": encode(wanted)}, self._namespace)
                log.info("certificate made", secret=self._secret)
                return wanted
            except errors.Conflict:
                continue  # the other replica was first: read what it wrote
        raise errors.Unavailable(f"Secret {self._secret} keeps changing")

    def _trust(self, kind: kinds.Kind, ca: bytes) -> None:
        """Put the CA into every webhook of our configuration of KIND, when it is not there."""
        wanted = base64.b64encode(ca).decode()
        try:
            found = self._client.get(kind, self._configuration)
        except errors.NotFound:
            return  # validation can be switched off in the chart
        patch = [
            {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": wanted}
            for index, webhook in enumerate(found.get("webhooks") or [])
            if webhook["clientConfig"].get("caBundle") != wanted
        ]
        if patch:
            self._client.patch(kind, self._configuration, patch, type="json")


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


_FIELDS = {
    "ca.crt": ("ca", "certificate"),
    "ca.key": ("ca", "key"),
    "tls.crt": ("serving", "certificate"),
    "tls.key": ("serving", "key"),
}


def decode(data: dict[str, str]) -> Bundle | None:
    """A Secret's `data` -> bundle; None when it is empty or damaged, so that it is made anew."""
    try:
        raw = {name: base64.b64decode(data[name]) for name in _FIELDS}
        bundle = Bundle(Pair(raw["ca.crt"], raw["ca.key"]), Pair(raw["tls.crt"], raw["tls.key"]))
        whole = authority.matches(bundle.ca) and authority.matches(bundle.serving)
    except (KeyError, ValueError, TypeError):
        return None
    return bundle if whole else None


def encode(bundle: Bundle) -> dict[str, str]:
    """The `data` of the Secret that holds BUNDLE."""
    return {
        name: base64.b64encode(getattr(getattr(bundle, pair), part)).decode()
        for name, (pair, part) in _FIELDS.items()
    }
