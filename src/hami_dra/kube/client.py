"""`KubeClient` over HTTP: paths, queries, and another try where that may help."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import stamina
import urllib3

from hami_dra.kube import execute
from hami_dra.kube.decode import decode
from hami_dra.kube.kinds import Kind
from hami_dra.kube.protocol import MANAGER, Object, PatchType, WatchEvent
from hami_dra.kube.transport import JSON, Transport, error_of
from hami_dra.model import errors

if TYPE_CHECKING:
    from kubernetes import client as official

PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
REQUEST_TIMEOUT_S = 10.0
KEEP_ALIVE = {"idle": 15, "interval": 5, "count": 3}
"""Seconds, and probes: after 30 s a watch is given up whose API server went away without a word, as when its
machine lost power or a load balancer forgot the connection. Else it would tell of nothing for minutes."""
_MISSING = re.compile(r"Expected object with name (.*) in (.*)/(context|cluster|user)s list")
"""How the official client says that something in a kubeconfig is not there."""
# A call without a patience of its own: both limits hold.
ATTEMPTS = 6
RETRY_FOR_S = 20.0


class Client:
    """`KubeClient` over the official client's configuration: TLS, credentials, proxy."""

    def __init__(self, api: official.ApiClient) -> None:
        self._api = api
        self._transport = Transport(api)

    @classmethod
    def from_environment(cls, kubeconfig: str | None = None, context: str | None = None) -> Client:
        """Use KUBECONFIG or ~/.kube/config; in a Pod that has none, its service account, as kubectl does."""
        # Here, as half a second is much for a command that asks no cluster.
        import yaml
        from kubernetes import client as official
        from kubernetes import config as official_config
        from kubernetes.utils.keepalive import tcp_keepalive_socket_options

        settings = official.Configuration()
        settings.socket_options = tcp_keepalive_socket_options(**KEEP_ALIVE)
        try:
            try:
                return cls(
                    official_config.new_client_from_config(kubeconfig, context, client_configuration=settings)
                )
            except official_config.ConfigException:
                named = kubeconfig or context or os.environ.get("KUBECONFIG")
                if named or "KUBERNETES_SERVICE_HOST" not in os.environ:
                    raise
                official_config.load_incluster_config(settings)
                return cls(official.ApiClient(settings))
        except (official_config.ConfigException, OSError) as problem:
            why = str(problem).removeprefix("Invalid kube-config file. ").rstrip(".")
            why = _MISSING.sub(r"there is no \3 \1 in \2", why)
            fix = "" if kubeconfig or context else "; name a kubeconfig with --kubeconfig or $KUBECONFIG"
            raise errors.Unavailable(f"no usable cluster configuration: {why}{fix}") from problem
        except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as problem:
            # The official client takes every file for a good one.
            file = kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
            raise errors.Unavailable(
                f"no usable cluster configuration: {file} is not a kubeconfig"
            ) from problem

    def get(
        self, kind: Kind, name: str, namespace: str | None = None, *, patience_s: float | None = None
    ) -> Object:
        """See KubeClient."""
        return self._call("GET", kind.path(namespace, name), patience_s=patience_s)

    def list(
        self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """See KubeClient."""
        path = kind.path(namespace)
        answer = self._call("GET", path, query=_selectors(labels, fields))
        stamp = {"apiVersion": kind.api_version, "kind": kind.kind}
        items = [stamp | item for item in answer.get("items") or []]
        version = (answer.get("metadata") or {}).get("resourceVersion")
        if not version:
            raise self._transport.foreign("GET", path, json.dumps(answer).encode())
        return items, version

    def create(
        self, kind: Kind, body: Object, namespace: str | None = None, *, dry_run: bool = False
    ) -> Object:
        """See KubeClient."""
        query = {"dryRun": "All"} if dry_run else {}
        return self._call("POST", kind.path(namespace), body=body, query=query)

    def replace(self, kind: Kind, body: Object, namespace: str | None = None) -> Object:
        """See KubeClient."""
        return self._call("PUT", kind.path(namespace, body["metadata"]["name"]), body=body)

    def patch(
        self,
        kind: Kind,
        name: str,
        body: Any,
        namespace: str | None = None,
        *,
        type: PatchType = "merge",
        subresource: str = "",
        manager: str = MANAGER,
    ) -> Object:
        """See KubeClient."""
        path = kind.path(namespace, name) + (f"/{subresource}" if subresource else "")
        query = {"fieldManager": manager, "force": "true"} if type == "apply" else {}
        return self._call("PATCH", path, body=body, query=query, content_type=PATCH_TYPES[type])

    def delete(self, kind: Kind, name: str, namespace: str | None = None, *, uid: str = "") -> None:
        """See KubeClient."""
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if uid:
            options["preconditions"] = {"uid": uid}
        self._call("DELETE", kind.path(namespace, name), body=options)

    def watch(
        self,
        kind: Kind,
        resource_version: str,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        timeout_s: int = 240,
    ) -> Iterator[WatchEvent]:
        """See KubeClient."""
        query = _selectors(labels, fields) | {
            "watch": "true",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(timeout_s),
        }
        path = kind.path(namespace)
        response = self._transport.open(path, query, timeout_s + 30.0)
        try:
            for line in _lines(response):
                event = self._object("GET", path, line)
                if "type" not in event:
                    raise self._transport.foreign("GET", path, line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise error_of(int(status.get("code", 0)), str(status.get("message", "watch failed")))
                yield WatchEvent(event["type"], event["object"])
        except urllib3.exceptions.HTTPError as problem:
            raise errors.Unavailable(f"watch of {kind.plural} broke off: {problem}") from problem
        finally:
            response.release_conn()

    def raw(self, path: str) -> str:
        """See KubeClient."""
        return self._transport.ask("GET", path, REQUEST_TIMEOUT_S).decode(errors="replace")

    def execute(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> str:
        """See KubeClient."""
        return execute.run(self._api, namespace, pod, container, command)

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: dict[str, str] | None = None,
        content_type: str = JSON,
        patience_s: float | None = None,
    ) -> Object:
        """One request, tried again on transient failures; returns the decoded answer."""
        attempts, patience_s = (ATTEMPTS, RETRY_FOR_S) if patience_s is None else (None, patience_s)
        end = time.monotonic() + patience_s
        text = json.dumps(body) if body is not None else None

        def once() -> Object:
            timeout_s = min(REQUEST_TIMEOUT_S, max(0.1, end - time.monotonic()))
            data = self._transport.ask(
                method, path, timeout_s, body=text, query=query, content_type=content_type
            )
            return self._object(method, path, data)

        with suppress(errors.Unavailable):  # nearly always enough, and stamina costs a quarter of a request
            return once()
        for attempt in stamina.retry_context(
            on=errors.Unavailable, attempts=attempts, timeout=patience_s, wait_initial=0.05, wait_max=4.0
        ):
            with attempt:
                return once()
        raise AssertionError("unreachable: the retry loop returns or raises")

    def _object(self, method: str, path: str, data: bytes) -> Object:
        """DATA, decoded; errors.Unavailable when it is none of the API server's objects."""
        with suppress(ValueError):
            if isinstance(answer := decode(data), dict):
                return answer
        raise self._transport.foreign(method, path, data)


def _selectors(labels: str, fields: str) -> dict[str, str]:
    return {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """The lines of a watch as they arrive; each is an event in JSON."""
    pending = b""
    for chunk in response.stream(65536, decode_content=True):
        pending += chunk
        *whole, pending = pending.split(b"\n")
        for line in whole:
            if line.strip():
                yield line
