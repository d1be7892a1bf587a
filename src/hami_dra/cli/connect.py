"""To the cluster that a command was given, imported only by commands that ask one."""

from __future__ import annotations

import stamina
from kubernetes import config as official_config

from hami_dra.kube import Client


def connect(kubeconfig: str | None, context: str | None) -> Client:
    """A client that says once, at the end, what did not work. Raises errors.Unavailable."""
    stamina.instrumentation.set_on_retry_hooks([])
    return Client.from_environment(kubeconfig, context)


def own_namespace(kubeconfig: str | None, context: str | None) -> str:
    """The namespace of the context, as kubectl takes it; `default` where it names none."""
    try:
        contexts, active = official_config.list_kube_config_contexts(kubeconfig)
    except official_config.ConfigException:  # in a Pod there is none; what else it may be, `connect` tells
        return "default"
    chosen = next((each for each in contexts if each["name"] == context), active)
    return str(chosen["context"].get("namespace") or "default")
