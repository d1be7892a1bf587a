"""Kubernetes Events about an object, where its user looks (`kubectl describe`)."""

from __future__ import annotations

import datetime
from typing import Literal

import structlog

from hami_dra.kube import kinds
from hami_dra.kube.protocol import KubeClient, Object
from hami_dra.model import errors

log = structlog.get_logger(__name__)


def warn(client: KubeClient, about: Object, reason: str, message: str, component: str) -> None:
    """Record a Warning."""
    record(client, about, reason, message, component, type="Warning")


def record(
    client: KubeClient,
    about: Object,
    reason: str,
    message: str,
    component: str,
    *,
    type: Literal["Normal", "Warning"],
) -> None:
    """Record an Event. One that cannot be written is logged: it must not stop the work."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = about["metadata"]
    namespace = metadata.get("namespace", "")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name']}.", "namespace": namespace or "default"},
        "involvedObject": {
            "apiVersion": about.get("apiVersion", "v1"),
            "kind": about.get("kind", "Pod"),
            "name": metadata["name"],
            "namespace": namespace,
            "uid": metadata.get("uid", ""),
        },
        "reason": reason,
        "message": message[:1024],
        "type": type,
        "source": {"component": component},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        client.create(kinds.EVENTS, event, namespace or "default")
    except errors.KubeError as problem:
        log.warning("cannot write an Event", reason=reason, problem=str(problem))
