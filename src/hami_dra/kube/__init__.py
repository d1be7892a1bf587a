"""One small client over the official `kubernetes` package: plain dicts, typed errors, retries, watches."""

from hami_dra.kube.client import Client
from hami_dra.kube.kinds import (
    CLUSTER_KINDS,
    DAEMON_SETS,
    DEVICE_CLASSES,
    EVENTS,
    LEASES,
    MUTATING_WEBHOOKS,
    NODES,
    PODS,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    SECRETS,
    Kind,
)
from hami_dra.kube.protocol import KubeClient, WatchEvent

__all__ = [
    "CLUSTER_KINDS",
    "DAEMON_SETS",
    "DEVICE_CLASSES",
    "EVENTS",
    "LEASES",
    "MUTATING_WEBHOOKS",
    "NODES",
    "PODS",
    "RESOURCE_CLAIMS",
    "RESOURCE_CLAIM_TEMPLATES",
    "RESOURCE_SLICES",
    "SECRETS",
    "Client",
    "Kind",
    "KubeClient",
    "WatchEvent",
]
