"""Several families in one process: a plugin for each, with one health service and one port of metrics.

A family whose driver does not answer, or whose checkpoint must be made anew while the API server is away, is
tried again, and keeps none of the others from serving.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import prometheus_client
import structlog

from hami_dra import metrics_server
from hami_dra.devices.backend import Backend
from hami_dra.kube import KubeClient
from hami_dra.model.errors import DriverError, KubeError, StateError
from hami_dra.node import findings, health, services
from hami_dra.node.findings import Finding
from hami_dra.node.plugin import Config, Parts, Plugin
from hami_dra.node.sockets import Sockets

log = structlog.get_logger(__name__)

RETRY_S = 10.0
HEALTH_THREADS = 2


@dataclass(frozen=True)
class Member:
    """A family: its backend, where its checkpoint, lock and shares are (two families can hold one claim), and
    what it adds to metrics and runs beside its plugin."""

    backend: Backend
    state: Path
    metrics: Callable[[], str] = str
    parts: Parts = field(default_factory=dict)


class Process:
    """The plugins of MEMBERS; used as a `Plugin` is.

    METRICS: what /metrics answers beside theirs. REFUSED: profiles that are not served and why, for an Event.
    """

    def __init__(
        self,
        config: Config,
        kube: KubeClient,
        members: Sequence[Member],
        metrics: Callable[[], str] = str,
        refused: Sequence[str] = (),
    ) -> None:
        self._config = config
        self._kube = kube
        self._texts = [*(member.metrics for member in members), metrics]
        self._refused = [Finding("ProfileRefused", text) for text in refused]
        self._waiting = list(members)
        self._plugins: list[Plugin] = []
        self._ended = threading.Event()
        self._failed = False
        self._server: grpc.Server | None = None

    def start(self) -> None:
        """Start every family that can start; the others are tried again for as long as it takes."""
        self._try_all()
        if self._config.health_port:
            check = health.service(self._sockets, self._problem)
            self._server = services.serve(f"[::]:{self._config.health_port}", [check], HEALTH_THREADS)
        if self._config.metrics_port:
            metrics_server.start(self._config.metrics_port, self._metrics)
        told = (self._kube, self._config.node, self._refused)
        threading.Thread(target=findings.tell, args=told, daemon=True).start()
        if self._waiting:
            threading.Thread(target=self._retry, name="families", daemon=True).start()

    def wait(self) -> None:
        """Block until `end`; StateError when a part of a plugin died, or a late family cannot serve."""
        self._ended.wait()
        if self._failed:
            raise StateError("starting the families ended by a defect, see the log")
        for plugin in self._plugins:
            plugin.raise_defect()

    def end(self) -> None:
        """Make `wait` return; safe in a signal handler."""
        self._ended.set()

    def stop(self) -> None:
        """Stop every plugin."""
        self._ended.set()
        if self._server is not None:
            self._server.stop(None)
        with ThreadPoolExecutor() as at_once:
            list(at_once.map(Plugin.stop, self._plugins))

    def _retry(self) -> None:
        try:
            while self._waiting and not self._ended.wait(RETRY_S):
                self._try_all()
        except Exception:  # half started: better a new process
            log.exception("ended by a defect", part="families")
            self._failed = True
            self._ended.set()

    def _try_all(self) -> None:
        for member in list(self._waiting):
            member.state.mkdir(parents=True, exist_ok=True)
            config = replace(self._config, state=member.state, health_port=0, metrics_port=0)
            try:
                plugin = Plugin(config, self._kube, member.backend, ended=self._ended, parts=member.parts)
                plugin.start()
            except (DriverError, KubeError) as problem:
                log.error(
                    "family not served, will be tried again", driver=member.backend.driver, error=str(problem)
                )
                continue
            self._plugins.append(plugin)
            self._waiting.remove(member)

    def _metrics(self) -> bytes:
        told = metrics_server.together(text() for text in self._texts)
        return prometheus_client.generate_latest() + told.encode()

    def _sockets(self) -> Sequence[Sockets]:
        return [plugin.sockets for plugin in self._plugins]

    def _problem(self) -> str | None:
        if self._waiting:
            return f"not served: {', '.join(member.backend.driver for member in self._waiting)}"
        return next((plugin.problem for plugin in self._plugins if plugin.problem), None)
