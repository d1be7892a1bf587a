"""One request to the API server: where it is, who asks, and what an error of it means.

`connections` asks, which is quick; urllib3 behind a proxy, and where an answer is read as it comes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

import urllib3
from kubernetes import client as official

from hami_dra.kube.connections import CONNECT_TIMEOUT_S, Answer, Connections
from hami_dra.model import errors

JSON = "application/json"
CREDENTIALS_S = 30.0
"""A token is looked up again as often: that takes as long as the rest of a request, and an old token is good
for minutes after its successor is there."""


class Transport:
    """To the API server that the official client's configuration names. Safe for threads."""

    def __init__(self, api: official.ApiClient) -> None:
        self._api = api
        host = api.configuration.host
        manager: urllib3.PoolManager = api.rest_client.pool_manager
        # Found once: the pool of pools takes longer than the rest of a request.
        self._pool = manager.connection_from_url(host)
        self._prefix = urlsplit(host).path.rstrip("/")
        behind_proxy = manager.proxy is not None
        self._connections = None if behind_proxy else Connections(host, manager.connection_pool_kw)
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
        target, headers = self._target(path, query), self._headers(content_type)
        if self._connections is not None:
            answer = self._connections.request(method, target, headers, body, timeout_s)
        else:
            response = self._by_urllib3(method, target, headers, body, timeout_s, whole=True)
            answer = Answer(response.status, response.data)
        if answer.status >= 400:
            raise self._error(answer, f"{method} {path}")
        return answer.data

    def open(self, path: str, query: Mapping[str, str], timeout_s: float) -> urllib3.BaseHTTPResponse:
        """An answer to GET that is not read yet; errors.KubeError. The caller gives its connection back."""
        target = self._target(path, query)
        response = self._by_urllib3("GET", target, self._headers(JSON), None, timeout_s, whole=False)
        if response.status >= 400:
            raise self._error(Answer(response.status, response.data), f"GET {path}")
        return response

    def _target(self, path: str, query: Mapping[str, str] | None) -> str:
        return str(self._prefix) + path + (f"?{urlencode(query)}" if query else "")

    def _by_urllib3(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: str | None,
        timeout_s: float,
        *,
        whole: bool,
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.urlopen(
                method,
                target,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=timeout_s),
                retries=False,
                preload_content=whole,
            )
        except urllib3.exceptions.HTTPError as problem:
            raise errors.Unavailable(f"{method} {target}: {problem}") from problem

    def _headers(self, content_type: str) -> dict[str, str]:
        """With the token, if there is one; certificates belong to the connection."""
        if time.monotonic() > self._token_until:
            token: dict[str, str] = {}
            self._api.update_params_for_auth(token, [], ["BearerToken"], "", "", None)
            self._token, self._token_until = token, time.monotonic() + CREDENTIALS_S
        return {"Accept": JSON, "Content-Type": content_type} | self._token

    def _error(self, answer: Answer, request: str) -> errors.KubeError:
        if answer.status == 401:
            self._token_until = 0.0
        return error_of(answer.status, _message(answer.data) or request)


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


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data).get("message", ""))
    except ValueError:
        return data.decode(errors="replace")[:300]
