"""`hami monitor`: allocation metrics of the whole cluster, run by the Deployment."""

from __future__ import annotations

import click
from prometheus_client import CollectorRegistry

from hami_dra import http_server, log
from hami_dra.kube import Client, kinds
from hami_dra.kube.cache import Cache
from hami_dra.observe.collector import AllocationCollector


@click.command()
@click.option("--metrics-port", envvar="HAMI_METRICS_PORT", default=8080, show_default=True)
@click.option("--health-port", envvar="HAMI_HEALTH_PORT", default=8000, show_default=True)
@click.option(
    "--legacy-metrics/--no-legacy-metrics",
    envvar="HAMI_LEGACY_METRICS",
    default=True,
    show_default=True,
    help="Also the older metric names, in MiB and percent.",
)
@click.option("--kubeconfig", envvar="KUBECONFIG", help="Outside a cluster.")
@click.option(
    "--log-level", envvar="HAMI_LOG_LEVEL", type=click.Choice(["debug", "info", "warning"]), default="info"
)
@click.option(
    "--log-format", envvar="HAMI_LOG_FORMAT", type=click.Choice(["json", "console"]), default="console"
)
def monitor(
    metrics_port: int,
    health_port: int,
    legacy_metrics: bool,
    kubeconfig: str | None,
    log_level: str,
    log_format: str,
) -> None:
    """Serve who holds how much of which card, until SIGTERM."""
    log.configure(log_level, log_format)
    client = Client.from_environment(kubeconfig)
    slices, claims = Cache(client, kinds.RESOURCE_SLICES), Cache(client, kinds.RESOURCE_CLAIMS)
    slices.start()
    claims.start()

    def ready() -> bool:
        return slices.synced.is_set() and claims.synced.is_set()

    registry = CollectorRegistry()
    registry.register(AllocationCollector(slices.all, claims.all, legacy=legacy_metrics))
    app = http_server.observability(ready, registry)
    http_server.serve([http_server.Listener(app, port) for port in (metrics_port, health_port)])
