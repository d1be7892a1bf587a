"""`hami webhook`: the admission server and the claim controller, run by the Deployment."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
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
_PATH = click.Path(path_type=Path)


def _option(
    name: str, variable: str, default: str, meaning: str, kind: Any = str
) -> Callable[[options.Command], options.Command]:
    return click.option(
        name, envvar=f"HAMI_{variable}", default=default, show_default=True, type=kind, help=meaning
    )


@click.command()
@options.port("--port", "WEBHOOK_PORT", 8443)
@options.port("--health-port", "HEALTH_PORT", 8081)
@_option(
    "--cert-mode", "CERT_MODE", "self", "Certificate of its own, or files.", click.Choice(["self", "files"])
)
@_option("--cert-dir", "CERT_DIR", "/certs", "Folder of tls.crt and tls.key, for files.", _PATH)
@_option("--cert-secret", "CERT_SECRET", "hami-dra-webhook-tls", "Secret that keeps its own certificate.")
@_option("--service", "WEBHOOK_SERVICE", "hami-dra-webhook", "Service that the API server calls.")
@_option(
    "--configuration", "WEBHOOK_CONFIGURATION", "hami-dra-webhook", "Webhook configurations to be kept right."
)
@options.namespace
@_option("--device-class", "DEVICE_CLASS", names.DRIVER, "Class that claims of GPUs name.")
@_option("--resource-gpu", "RESOURCE_GPU", _NAMES.gpu, "Resource in Pods: how many cards.")
@_option("--resource-memory", "RESOURCE_MEMORY", _NAMES.memory, "Resource in Pods: MiB of each card.")
@_option(
    "--resource-memory-percentage",
    "RESOURCE_MEMORY_PERCENTAGE",
    _NAMES.memory_percentage,
    "Resource in Pods: percent of each card's memory.",
)
@_option(
    "--resource-cores", "RESOURCE_CORES", _NAMES.cores, "Resource in Pods: percent of each card's compute."
)
@_option(
    "--resource-priority", "RESOURCE_PRIORITY", _NAMES.priority, "Resource in Pods: 0 goes first, 1 yields."
)
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
