"""The monitor's read-only page: cards as bars, the shares in them, who waits and why.

Its few static files are in `page/`; it loads nothing from elsewhere, and `/api/cluster` has its data as JSON.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from importlib import resources
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hami_dra import __version__
from hami_dra.observe.cluster import CardUse, Cluster

FRESH_S = 1.0
"""However many browsers look, the cluster is put together no more often."""
STALE_S = 300.0
"""The API server is heard at least every four minutes (`Cache.heard_at`); the alert HamiMonitorStale has the
same."""

FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def routes(
    cluster: Callable[[], Cluster | None], heard_at: Callable[[], float] = time.time
) -> list[BaseRoute]:
    """The page, its files and its data. CLUSTER returns the present moment; None: it is not known yet.
    HEARD_AT: of which moment that is at least."""
    return [*map(_static, FILES), Route("/api/cluster", _Data(cluster, heard_at).answer)]


def document(cluster: Cluster, heard_at: float | None = None) -> dict[str, Any]:
    """The JSON of `/api/cluster`: bytes, percent of a card, seconds of the epoch. Pure.

    HEARD_AT: when the API server was last heard; None while it is.
    """
    nodes: dict[str, list[dict[str, Any]]] = {}
    for use in cluster.cards:
        nodes.setdefault(use.card.node, []).append(_card(use))
    return {
        "version": __version__,
        "staleSince": heard_at,
        "nodes": [{"name": name, "cards": cards} for name, cards in nodes.items()],
        "namespaces": [
            {"name": each.namespace, "memory": each.memory, "cores": each.cores, "shares": each.shares}
            for each in sorted(cluster.namespaces, key=lambda each: (-each.memory, each.namespace))
        ],
        "waiting": [msgspec.to_builtins(each) for each in cluster.waiting],
    }


def _card(use: CardUse) -> dict[str, Any]:
    shares = sorted(use.shares, key=lambda share: (share.namespace, share.claim, share.share_id))
    return {
        "device": use.card.device,
        "uuid": use.card.uuid,
        "product": use.card.product,
        "memory": use.card.memory,
        "cores": use.card.cores,
        "memoryAllocated": use.memory,
        "coresAllocated": use.cores,
        "shares": [
            {
                "namespace": share.namespace,
                "claim": share.claim,
                "pods": share.pods,
                "memory": share.memory,
                "cores": share.cores,
            }
            for share in shares
        ],
    }


class _Data:
    """`/api/cluster`, with an ETag, so that a page that has it already is told so."""

    def __init__(self, cluster: Callable[[], Cluster | None], heard_at: Callable[[], float]) -> None:
        self._cluster, self._heard_at = cluster, heard_at
        self._lock = threading.Lock()
        self._until = 0.0
        self._body, self._tag = b"", ""

    def answer(self, request: Request) -> Response:
        """Answer one request, in a thread of starlette's."""
        with self._lock:
            if time.monotonic() >= self._until:
                now = self._cluster()
                if now is None:
                    return Response("not ready", status_code=503, headers=HEADERS)
                heard_at = self._heard_at()
                stale = time.time() - heard_at > STALE_S
                self._body = msgspec.json.encode(document(now, heard_at if stale else None))
                self._tag = f'"{hashlib.sha256(self._body).hexdigest()[:32]}"'
                self._until = time.monotonic() + FRESH_S
            body, tag = self._body, self._tag
        headers = HEADERS | {"ETag": tag}
        if request.headers.get("If-None-Match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)


def _static(path: str) -> Route:
    name, kind = FILES[path]
    body = resources.files("hami_dra.observe").joinpath("page", name).read_bytes()

    def answer(request: Request) -> Response:
        return Response(body, media_type=kind, headers=HEADERS)

    return Route(f"/{path}", answer)
