"""One request to the API server: where it is, who asks, and what an error of it means."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import urllib3

from hami_dra import __version__
from hami_dra.model import errors

if TYPE_CHECKING:
    from kubernetes import client as official

JSON = "application/json"
CONNECT_TIMEOUT_S = 5.0
CREDENTIALS_S = 30.0
"""A token is looked up again as often: that takes as long as the rest of a request, and an old token is good
for minutes after its successor is there."""


class Transport:
    """To the API server that the official client's configuration names. Safe for threads.

    kubelet waits while a claim is read, so what is not the request itself is done once: the official client's
    way to urllib3 takes several times as long. HTTP is urllib3's all the same: others were measured
    (docs/benchmarks.md), and save at most 0.4 ms of prepare's 5.
    """

    def __init__(self, api: official.ApiClient) -> None:
        self._api = api
        host = api.configuration.host
        # Found once: the pool of pools takes longer than the rest of a request.
        self._pool: urllib3.HTTPConnectionPool = api.rest_client.pool_manager.connection_from_url(host)
        self._prefix: str = urlsplit(host).path.rstrip("/")
        self._fixed = {"User-Agent": f"hami-dra/{__version__}", "Accept": JSON}
        self._token: dict[str, str] = {}
        self._token_until = 0.0

    def ask(
        self,
        method: str,
        path: str,
        timeout_s: float,
        *,
        body: str | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
    ) -> bytes:
        """The bytes of the answer; errors.KubeError. TIMEOUT_S: longest silence."""
        return self._request(method, path, timeout_s, body, query, content_type, whole=True).data

    def open(self, path: str, query: Mapping[str, str], timeout_s: float) -> urllib3.BaseHTTPResponse:
        """An answer to GET that is not read yet; errors.KubeError. The caller gives its connection back."""
        return self._request("GET", path, timeout_s, None, query, JSON, whole=False)

    def foreign(self, method: str, path: str, data: bytes) -> errors.Unavailable:
        """DATA with status 200 that somebody between us and the API server has said: a proxy's page, a load
        balancer without an API server behind it. It goes away, so it is worth trying again."""
        said = " ".join(data[:200].decode(errors="replace").split())
        return errors.Unavailable(f"{self._where(method, path)}: no answer of an API server: {said!r}")

    def _where(self, method: str, path: str) -> str:
        return f"{self._api.configuration.host} ({method} {path})"

    def _request(
        self,
        method: str,
        path: str,
        timeout_s: float,
        body: str | None,
        query: Mapping[str, str] | None,
        content_type: str,
        *,
        whole: bool,
    ) -> urllib3.BaseHTTPResponse:
        try:
            response = self._pool.urlopen(
                method,
                self._prefix + path + (f"?{urlencode(query)}" if query else ""),
                body=body,
                headers=self._headers(content_type),
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=timeout_s),
                retries=False,
                redirect=False,
                preload_content=whole,
            )
        except urllib3.exceptions.HTTPError as problem:
            where = self._where(method, path)
            raise errors.Unavailable(f"no answer from {where}: {_reason(problem)}") from problem
        if response.status == 401:
            self._token_until = 0.0
        if response.status >= 400:
            raise error_of(response.status, _message(response.data) or f"{method} {path}")
        return response

    def _headers(self, content_type: str) -> dict[str, str]:
        """With the token, if there is one; certificates belong to the connection."""
        if time.monotonic() > self._token_until:
            token: dict[str, str] = {}
            self._api.update_params_for_auth(token, [], ["BearerToken"], "", "", None)
            self._token, self._token_until = token, time.monotonic() + CREDENTIALS_S
        return self._fixed | {"Content-Type": content_type} | self._token


def error_of(status: int, message: str) -> errors.KubeError:
    """Map an HTTP status to the error that tells the caller what to do about it."""
    kinds: dict[int, type[errors.KubeError]] = {
        404: errors.NotFound,
        409: errors.Conflict,
        410: errors.Gone,
        429: errors.Unavailable,
    }
    default = errors.Unavailable if status >= 500 or status == 0 else errors.Denied
    return kinds.get(status, default)(message, status=status)


def _reason(problem: BaseException) -> str:
    """What the network or TLS said first, without the names that urllib3 puts around it."""
    cause = problem.__cause__ or problem.__context__ or getattr(problem, "reason", None)
    if isinstance(cause, BaseException):
        return _reason(cause)
    return getattr(problem, "verify_message", "") or getattr(problem, "strerror", "") or str(problem)


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data).get("message", ""))
    except ValueError:
        return data.decode(errors="replace")[:300]
