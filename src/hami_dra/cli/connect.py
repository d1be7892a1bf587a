"""To the cluster that a command was given, imported only by commands that ask one."""

from __future__ import annotations

from pathlib import Path

import stamina
from kubernetes import config as official_config
from kubernetes.config import incluster_config

from hami_dra.kube import Client


def connect(kubeconfig: str | None, context: str | None) -> Client:
    """A client that says once, at the end, what did not work. Raises errors.Unavailable."""
    stamina.instrumentation.set_on_retry_hooks([])
    return Client.from_environment(kubeconfig, context)


def own_namespace(kubeconfig: str | None, context: str | None) -> str:
    """The namespace of the context or, in a Pod, of its service account, as kubectl takes it."""
    try:
        contexts, active = official_config.list_kube_config_contexts(kubeconfig)
    except official_config.ConfigException:  # there is none: else `connect` has said what is wrong with it
        beside = Path(incluster_config.SERVICE_TOKEN_FILENAME).with_name("namespace")
        return beside.read_text().strip() if beside.exists() else "default"
    chosen = next((each for each in contexts if each["name"] == context), active)
    return str(chosen["context"].get("namespace") or "default")
