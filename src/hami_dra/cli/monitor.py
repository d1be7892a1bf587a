"""`hami monitor`: allocation metrics and a page of the whole cluster, run by the Deployment."""

from __future__ import annotations

import os

import click

from hami_dra import http_server, log
from hami_dra.cli import options
from hami_dra.http_server import Listener
from hami_dra.kube import Client, kinds
from hami_dra.kube.cache import Cache
from hami_dra.listening import listen
from hami_dra.model import names
from hami_dra.observe import allocation_metrics, lean, web
from hami_dra.observe.cluster import Cluster, describe
from hami_dra.observe.waiting import Objects


@click.command()
@options.port("--metrics-port", "METRICS_PORT", 8080)
@options.port("--health-port", "HEALTH_PORT", 8000)
@click.option(
    "--legacy-metrics/--no-legacy-metrics",
    envvar="HAMI_LEGACY_METRICS",
    default=True,
    show_default=True,
    help="Also the older metric names, in MiB and percent.",
)
@click.option(
    "--resources",
    envvar="HAMI_RESOURCES",
    default=",".join(names.NVIDIA_RESOURCES),
    help="Extended resources that admission makes claims of: who still names one was not converted.",
)
@click.option(
    "--node-labels",
    envvar="HAMI_NODE_LABELS",
    # To click an empty variable is none; here it says that the plugin needs no label.
    default=lambda: os.environ.get("HAMI_NODE_LABELS", names.NODE_LABELS),
    show_default=names.NODE_LABELS,
    help="Of the nodes that the plugin is to run on, as a label selector.",
)
@options.namespace
@options.service
def monitor(
    metrics_port: int,
    health_port: int,
    legacy_metrics: bool,
    resources: str,
    node_labels: str,
    namespace: str,
    kubeconfig: str | None,
    log_level: str,
    log_format: str,
) -> None:
    """Serve who holds how much of which card, as metrics and as a page, until SIGTERM."""
    log.configure(log_level, log_format)
    metrics_socket, health_socket = listen(metrics_port), listen(health_port)
    client = Client.from_environment(kubeconfig)
    converted = frozenset(options.listed(resources))
    caches = {
        "slices": Cache(client, kinds.RESOURCE_SLICES),
        "claims": Cache(client, kinds.RESOURCE_CLAIMS, keep=lean.claim),
        "pods": Cache(client, kinds.PODS, fields="status.phase=Pending", keep=lean.pod),
        "nodes": Cache(client, kinds.NODES, labels=node_labels, keep=lean.node),
        "classes": Cache(client, kinds.DEVICE_CLASSES),
    }
    for cache in caches.values():
        cache.start()

    def ready() -> bool:
        return all(cache.synced.is_set() for cache in caches.values())

    def cluster() -> Cluster | None:
        """None until all is read: with the cards, and the claims not yet, every card would look free."""
        if not ready():
            return None
        held = {name: cache.all() for name, cache in caches.items()}
        return describe(Objects(**held, resources=converted, labels=node_labels, system=namespace))

    def heard_at() -> dict[str, float]:
        return {cache.kind.plural: cache.heard_at for cache in caches.values()}

    def metrics() -> str:
        now = cluster()
        return "".join(allocation_metrics.text(now, heard_at(), legacy=legacy_metrics)) if now else ""

    routes = web.routes(cluster, lambda: min(heard_at().values()))
    page = http_server.observability(ready, more_metrics=metrics, routes=routes)
    health = http_server.observability(ready, more_metrics=metrics)
    http_server.serve([Listener(page, metrics_socket), Listener(health, health_socket)])
