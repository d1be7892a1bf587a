"""To the cluster that a command was given, imported only by commands that ask one."""

from __future__ import annotations

import stamina

from hami_dra.kube import Client


def connect(kubeconfig: str | None, context: str | None) -> Client:
    """A client that says once, at the end, what did not work. Raises errors.Unavailable."""
    stamina.instrumentation.set_on_retry_hooks([])
    return Client.from_environment(kubeconfig, context)
