"""`hami webhook`: the admission server and the claim controller, run by the Deployment."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import click
import structlog

from hami_dra import http_server, log
from hami_dra.admission import certs, configured
from hami_dra.admission.controller import ClaimController
from hami_dra.admission.families import NVIDIA, ResourceNames
from hami_dra.admission.patch import Settings
from hami_dra.admission.server import AdmissionServer
from hami_dra.admission.tls import tls
from hami_dra.admission.watched import Cluster
from hami_dra.devices import families
from hami_dra.kube import Client
from hami_dra.model import names

_NAMES = NVIDIA.resources


@click.command()
@click.option("--port", envvar="HAMI_WEBHOOK_PORT", default=8443, show_default=True, help="HTTPS.")
@click.option("--health-port", envvar="HAMI_HEALTH_PORT", default=8081, show_default=True)
@click.option("--cert-mode", envvar="HAMI_CERT_MODE", type=click.Choice(["self", "files"]), default="self")
@click.option("--cert-dir", envvar="HAMI_CERT_DIR", type=click.Path(path_type=Path), default="/certs")
@click.option("--cert-secret", envvar="HAMI_CERT_SECRET", default="hami-dra-webhook-tls")
@click.option("--service", envvar="HAMI_WEBHOOK_SERVICE", default="hami-dra-webhook")
@click.option("--configuration", envvar="HAMI_WEBHOOK_CONFIGURATION", default="hami-dra-webhook")
@click.option("--namespace", envvar="HAMI_NAMESPACE", default="hami-system", show_default=True)
@click.option("--device-class", envvar="HAMI_DEVICE_CLASS", default=names.DRIVER)
@click.option("--resource-gpu", envvar="HAMI_RESOURCE_GPU", default=_NAMES.gpu)
@click.option("--resource-memory", envvar="HAMI_RESOURCE_MEMORY", default=_NAMES.memory)
@click.option(
    "--resource-memory-percentage",
    envvar="HAMI_RESOURCE_MEMORY_PERCENTAGE",
    default=_NAMES.memory_percentage,
)
@click.option("--resource-cores", envvar="HAMI_RESOURCE_CORES", default=_NAMES.cores)
@click.option("--resource-priority", envvar="HAMI_RESOURCE_PRIORITY", default=_NAMES.priority)
@click.option(
    "--families",
    envvar="HAMI_FAMILIES",
    default=families.NVIDIA,
    show_default=True,
    help="Families whose resource names are converted, separated by commas.",
)
@click.option(
    "--profiles-dir",
    envvar="HAMI_PROFILES_DIR",
    type=click.Path(path_type=Path),
    help="Profiles of your own, <family>.yaml.",
)
@click.option(
    "--extended-resource",
    envvar="HAMI_EXTENDED_RESOURCE",
    type=bool,
    default=False,
    help="Leave Pods that name whole cards alone to Kubernetes' own mapping.",
)
@click.option("--kubeconfig", envvar="KUBECONFIG", help="Outside a cluster.")
@click.option(
    "--log-level", envvar="HAMI_LOG_LEVEL", type=click.Choice(["debug", "info", "warning"]), default="info"
)
@click.option(
    "--log-format", envvar="HAMI_LOG_FORMAT", type=click.Choice(["json", "console"]), default="console"
)
def webhook(**options: Any) -> None:
    """Serve admission and make the claims of converted Pods, until SIGTERM."""
    log.configure(options["log_level"], options["log_format"])
    client = Client.from_environment(options["kubeconfig"])
    settings = _settings(options)
    cluster = Cluster(client)
    controller = ClaimController(
        client, cluster.watched, {family.device_class for family in settings.families}
    )
    stopping = threading.Event()
    cluster.start()
    threading.Thread(target=controller.run, args=[stopping], name="claims", daemon=True).start()
    server = AdmissionServer(settings, cluster.surroundings)
    with tempfile.TemporaryDirectory() as folder:
        listeners = [
            http_server.Listener(server.app, options["port"], tls(_source(client, options), Path(folder))),
            http_server.Listener(http_server.observability(cluster.ready), options["health_port"]),
        ]
        http_server.serve(listeners)
    stopping.set()


def _settings(options: dict[str, Any]) -> Settings:
    resources = ResourceNames(
        gpu=options["resource_gpu"],
        memory=options["resource_memory"],
        memory_percentage=options["resource_memory_percentage"],
        cores=options["resource_cores"],
        priority=options["resource_priority"],
    )
    settings, refused = configured.settings(
        resources,
        options["device_class"],
        options["families"].split(","),
        options["profiles_dir"],
        extended_resource=options["extended_resource"],
    )
    for problem in refused:
        structlog.get_logger(__name__).error("profile refused", error=str(problem))
    return settings


def _source(client: Client, options: dict[str, Any]) -> certs.Source:
    if options["cert_mode"] == "files":
        return certs.FileSource(options["cert_dir"])
    return certs.SecretSource(
        client, options["namespace"], options["cert_secret"], options["service"], options["configuration"]
    )
