"""`hami webhook`: the admission server and the claim controller, run by the Deployment."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import click
import structlog

from hami_dra import http_server, log
from hami_dra.admission import certs
from hami_dra.admission.admitted import Admitted
from hami_dra.admission.cluster import Cluster
from hami_dra.admission.controller import ClaimController
from hami_dra.admission.families import NVIDIA, ResourceNames
from hami_dra.admission.server import AdmissionServer
from hami_dra.admission.settings import Settings, chosen
from hami_dra.admission.tls import tls
from hami_dra.cli import options
from hami_dra.http_server import Listener
from hami_dra.kube import Client
from hami_dra.listening import listen
from hami_dra.model import names

_NAMES = NVIDIA.resources


@click.command()
@options.port("--port", "WEBHOOK_PORT", 8443)
@options.port("--health-port", "HEALTH_PORT", 8081)
@click.option("--cert-mode", envvar="HAMI_CERT_MODE", type=click.Choice(["self", "files"]), default="self")
@click.option("--cert-dir", envvar="HAMI_CERT_DIR", type=click.Path(path_type=Path), default="/certs")
@click.option("--cert-secret", envvar="HAMI_CERT_SECRET", default="hami-dra-webhook-tls")
@click.option("--service", envvar="HAMI_WEBHOOK_SERVICE", default="hami-dra-webhook")
@click.option("--configuration", envvar="HAMI_WEBHOOK_CONFIGURATION", default="hami-dra-webhook")
@options.namespace
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
@options.families("Families whose resource names are converted")
@click.option(
    "--extended-resource",
    envvar="HAMI_EXTENDED_RESOURCE",
    type=bool,
    default=False,
    help="Leave Pods that name whole cards alone to Kubernetes' own mapping.",
)
@options.service
def webhook(**given: Any) -> None:
    """Serve admission and make the claims of converted Pods, until SIGTERM."""
    log.configure(given["log_level"], given["log_format"])
    reviews_socket, health_socket = listen(given["port"]), listen(given["health_port"])
    client = Client.from_environment(given["kubeconfig"])
    settings = _settings(given)
    cluster, admitted = Cluster(client), Admitted()
    classes = {family.device_class for family in settings.families}
    controller = ClaimController(client, cluster.watched, classes, admitted.here)
    stopping = threading.Event()
    cluster.start()
    threading.Thread(target=controller.run, args=[stopping], name="claims", daemon=True).start()
    server = AdmissionServer(settings, cluster.surroundings, cluster.stored(), admitted)
    with tempfile.TemporaryDirectory() as folder:
        listeners = [
            Listener(server.app, reviews_socket, tls(_source(client, given), Path(folder))),
            Listener(http_server.observability(cluster.ready), health_socket),
        ]
        http_server.serve(listeners)
    stopping.set()


def _settings(given: dict[str, Any]) -> Settings:
    resources = ResourceNames(
        gpu=given["resource_gpu"],
        memory=given["resource_memory"],
        memory_percentage=given["resource_memory_percentage"],
        cores=given["resource_cores"],
        priority=given["resource_priority"],
    )
    settings, refused = chosen(
        resources,
        given["device_class"],
        given["families"],
        given["profiles_dir"],
        extended_resource=given["extended_resource"],
    )
    for problem in refused:
        structlog.get_logger(__name__).error("profile refused", error=str(problem))
    return settings


def _source(client: Client, given: dict[str, Any]) -> certs.Source:
    if given["cert_mode"] == "files":
        return certs.FileSource(given["cert_dir"])
    return certs.SecretSource(
        client, given["namespace"], given["cert_secret"], given["service"], given["configuration"]
    )
