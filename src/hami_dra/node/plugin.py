"""The process: puts the parts together, serves both sockets, health and metrics, and ends cleanly."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import grpc
import prometheus_client
import structlog

from hami_dra import metrics_server
from hami_dra.devices.backend import Backend
from hami_dra.kube import KubeClient
from hami_dra.model.device import Device
from hami_dra.model.errors import StateError
from hami_dra.node import findings, health, limiter_files, order, selinux, services, sockets, sweep
from hami_dra.node.arbiter_loop import Arbiter
from hami_dra.node.checkpoint import Checkpoint
from hami_dra.node.driver import NodeDriver
from hami_dra.node.health_stream import MOST_STREAMS, HealthFeed
from hami_dra.node.inventory import DeviceWatch
from hami_dra.node.newest import Newest
from hami_dra.node.publisher import Publisher
from hami_dra.node.reporter import Reporter

log = structlog.get_logger(__name__)

GRACE_S = services.KUBELETS_DEADLINE_S
"""kubelet waits no longer for a call. The chart's termination grace period leaves room for it."""
THREADS = 8
"""For registration, and for the health service."""
CALLS = 256
"""Threads for kubelet's calls, started as they are needed: one for each Pod that a node may have. While the
API server is silent each new Pod's call waits for it, and neither unprepare nor the liveness probe may."""

Parts = Mapping[str, Callable[[threading.Event], None]]


@dataclass(frozen=True)
class Config:
    """Options of `hami plugin`; a port of 0 switches its server off."""

    node: str
    state: Path
    limiter: Path
    limiter_folder: Path
    cdi: Path
    plugins: Path
    registry: Path
    pod_uid: str = ""
    card_policy: str = order.FIRST
    health_port: int = 0
    metrics_port: int = 0


class Plugin:
    """The plugin of one family. `start` returns when kubelet can use it; `stop` leaves no socket behind.

    ENDED is set when a part of it dies; families that share a process share it. METRICS: text that /metrics
    answers after our own. PARTS: what runs beside us, until the event.
    """

    def __init__(
        self,
        config: Config,
        kube: KubeClient,
        backend: Backend,
        *,
        ended: threading.Event | None = None,
        metrics: Callable[[], str] = str,
        parts: Parts = MappingProxyType({}),
    ) -> None:
        self._config = config
        self._metrics, self._parts = metrics, parts
        self._kube = kube
        self.sockets = sockets.paths(backend.driver, config.plugins, config.registry, config.pod_uid)
        # Without the driver there is nothing to serve but claims to give back: what installs the driver may
        # wait for just the Pods that cannot end before (NVIDIA/k8s-driver-manager#217).
        held = Checkpoint(config.state / "checkpoint.json").shares()
        self.watch = DeviceWatch(backend, may_be_silent=bool(held))
        inventory = self.watch.inventory
        log.info(
            "devices found", driver=backend.driver, devices=[device.name for device in inventory.devices]
        )
        self._newest = Newest(config.state, self.sockets)
        in_order = tuple if config.card_policy == order.FIRST else self._in_order
        self.publisher = Publisher(
            kube, config.node, backend.driver, inventory, self._newest.is_another, in_order
        )
        self.health = HealthFeed(config.node, inventory)
        self.reporter = Reporter(kube, backend.driver)
        if backend.limiter:
            selinux.open_to_containers(config.state)
            selinux.open_to_containers(config.limiter_folder)
        self.driver = NodeDriver(
            kube,
            config.node,
            backend,
            inventory,
            state=config.state,
            limiter=limiter_files.install(config.limiter, config.limiter_folder) if backend.limiter else None,
            cdi_folder=config.cdi,
        )
        for listener in (self.driver.update, self.health.update, self.publisher.update):
            self.watch.on_change(listener)
        self._limited = backend.limiter
        self._ended = ended or threading.Event()
        self._servers: list[grpc.Server] = []
        self._is_registered = False
        self._failed = ""

    @property
    def problem(self) -> str | None:
        """Why kubelet or the scheduler cannot use us yet; None when they can."""
        if not self._is_registered:
            return "kubelet has not registered it yet"
        return self.watch.inventory.silent or self.publisher.problem

    def start(self) -> None:
        """Restore, serve, then register: kubelet dials the service as soon as it sees the registration."""
        config = self._config
        self.sockets.service.parent.mkdir(parents=True, exist_ok=True)
        for path in sockets.remove_dead(self.sockets):
            log.info("removed the socket of a plugin that was killed", socket=str(path))
        self._newest.claim()
        found = self.driver.restore()
        calls = [*services.dra(self.driver, self.reporter), *self.health.handlers()]
        self._serve(f"unix:{self.sockets.service}", calls, CALLS + MOST_STREAMS)
        registration = services.registration(self.sockets.driver, self.sockets.service, self._registered)
        self._serve(f"unix:{self.sockets.registration}", [registration])
        if config.health_port:
            check = health.service(lambda: [self.sockets], lambda: self.problem)
            self._serve(f"[::]:{config.health_port}", [check])
        if config.metrics_port:
            metrics_server.start(
                config.metrics_port, lambda: prometheus_client.generate_latest() + self._metrics().encode()
            )
        threading.Thread(target=findings.tell, args=(self._kube, config.node, found), daemon=True).start()
        self._background("publisher", lambda: self.publisher.run(self._ended))
        self._background("updates", lambda: self.publisher.run_updates(self._ended))
        self._background("devices", lambda: self.watch.run(self._ended))
        self._background("silence", lambda: self.watch.run_beside(self._ended))
        self._background("reporter", lambda: self.reporter.run(self._ended))
        self._background("sweep", lambda: sweep.run(self.driver, self._kube, self._ended))
        if self._limited:
            self._background("arbiter", lambda: Arbiter(config.state / "shares").run(self._ended))
        for name, part in self._parts.items():
            self._background(name, partial(part, self._ended))
        log.info("serving", socket=str(self.sockets.service))

    def wait(self) -> None:
        """Block until `end`; StateError when a part of the plugin died."""
        self._ended.wait()
        self.raise_defect()

    def raise_defect(self) -> None:
        """StateError when a part of the plugin died."""
        if self._failed:
            raise StateError(f"the {self._failed} ended by a defect, see the log")

    def end(self) -> None:
        """Make `wait` return; safe in a signal handler."""
        self._ended.set()

    def stop(self) -> None:
        """Let running calls finish, unregister, and remove our own sockets.

        In this order: kubelet closes its connection within a second of the registration going, and with it
        whatever call is under way. A connection that we end first makes it ask the plugin that replaces us.
        """
        self._ended.set()
        self.health.close()
        for server in self._servers:
            server.stop(GRACE_S).wait()
        for path in (self.sockets.registration, self.sockets.service):
            path.unlink(missing_ok=True)
        log.info("stopped")

    def _in_order(self, devices: Sequence[Device]) -> Sequence[Device]:
        return order.ordered(self._config.card_policy, devices, self.driver.checkpoint.shares())

    def _serve(self, address: str, handlers: list[grpc.GenericRpcHandler], threads: int = THREADS) -> None:
        self._servers.append(services.serve(address, handlers, threads))

    def _background(self, name: str, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception:  # without this thread the plugin is half alive: better a new one
                log.exception("ended by a defect", part=name)
                self._failed = name
                self._ended.set()

        threading.Thread(target=guarded, name=name, daemon=True).start()

    def _registered(self, well: bool, error: str) -> None:
        self._is_registered = well
        if well:
            log.info("registered with kubelet")
        else:
            log.error("kubelet refused the registration, and will ask again", error=error)
