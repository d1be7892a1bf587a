"""HTTP servers of the Deployments: liveness, readiness and metrics, and TLS that can be renewed.

Several servers share one event loop; each is uvicorn, and all end together on SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn
import uvloop
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from hami_dra.metrics_server import CONTENT_TYPE

log = structlog.get_logger(__name__)

SHUTDOWN_GRACE_S = 10
KEEP_ALIVE_S = 120
"""Longer than Go's clients keep an idle connection (90 s): the API server closes it, not we, so no request is
sent into a connection that is being closed."""


@dataclass(frozen=True)
class Tls:
    """Files to serve with; `renewed` is asked every `every_s` and returns whether they changed."""

    certificate: Path
    key: Path
    renewed: Callable[[], bool]
    every_s: float = 60.0


@dataclass(frozen=True)
class Listener:
    """An application on a socket that listens (`listening.listen`), with TLS or without."""

    app: ASGIApp
    socket: socket.socket
    tls: Tls | None = None


def observability(
    ready: Callable[[], bool],
    registry: CollectorRegistry = REGISTRY,
    *,
    more_metrics: Callable[[], str] = str,
    routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """`/healthz` (the process serves), `/readyz` (READY says so), `/metrics`, and more ROUTES.

    MORE_METRICS: text that `/metrics` answers after the registry's.
    """

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(request: Request) -> Response:
        return PlainTextResponse("ok") if ready() else PlainTextResponse("not ready", status_code=503)

    async def metrics(request: Request) -> Response:
        text = await asyncio.to_thread(lambda: generate_latest(registry) + more_metrics().encode())
        return Response(text, media_type=CONTENT_TYPE)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            *routes,
        ]
    )


def serve(listeners: list[Listener]) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished."""
    # TLS of asyncio itself costs more than all else in a review.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(listeners))


async def _serve(listeners: list[Listener]) -> None:
    servers = [_Server(_config(listener)) for listener in listeners]

    def end() -> None:
        for server in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    renewals = [
        loop.create_task(_renew(server, listener.tls))
        for server, listener in zip(servers, listeners, strict=True)
        if listener.tls
    ]
    pairs = zip(servers, listeners, strict=True)
    await asyncio.gather(*(server.serve([listener.socket]) for server, listener in pairs))
    for renewal in renewals:
        renewal.cancel()


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: several servers share the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """See uvicorn.Server."""
        yield


def _config(listener: Listener) -> uvicorn.Config:
    config = uvicorn.Config(
        listener.app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        ssl_certfile=str(listener.tls.certificate) if listener.tls else None,
        ssl_keyfile=str(listener.tls.key) if listener.tls else None,
    )
    config.load()
    return config


async def _renew(server: uvicorn.Server, tls: Tls) -> None:
    """Give new connections the new certificate; those that are open keep theirs and are not dropped."""
    while True:
        await asyncio.sleep(tls.every_s)
        try:
            if await asyncio.to_thread(tls.renewed) and server.config.ssl is not None:
                # Elsewhere first: a chain that is half written would take the old certificate's place.
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key)
                server.config.ssl.load_cert_chain(tls.certificate, tls.key)
        except Exception:
            # The next certificate must be taken up all the same.
            log.exception("certificate not taken up")
