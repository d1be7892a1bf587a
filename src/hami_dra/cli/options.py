"""Options that several commands have, spelled and explained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_FOLDER = click.Path(path_type=Path)


def cluster(command: Command) -> Command:
    """`--kubeconfig` and `--context`."""
    command = click.option("--context", metavar="NAME", help="Context in the kubeconfig.")(command)
    return click.option(
        "--kubeconfig",
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        help="Cluster to look at (default: $KUBECONFIG, ~/.kube/config, or the Pod's own).",
    )(command)


def output(*forms: str) -> Callable[[Command], Command]:
    """`-o`; the first of FORMS is the default."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(forms),
        default=forms[0],
        show_default=True,
        help="How to print it.",
    )


def places(command: Command) -> Command:
    """Where the plugin's things are on a node; the variables are those of `hami plugin`."""
    for name, variable, default, what in (
        ("--registry-dir", "KUBELET_REGISTRY_DIR", "/var/lib/kubelet/plugins_registry", "kubelet's registry"),
        ("--plugins-dir", "KUBELET_PLUGINS_DIR", "/var/lib/kubelet/plugins", "kubelet's plugins"),
        ("--cdi-dir", "CDI_DIR", "/var/run/cdi", "CDI files of claims"),
        ("--state-dir", "STATE_DIR", "/var/lib/hami", "state of this host's plugin"),
    ):
        option = click.option(
            name,
            envvar=f"HAMI_{variable}",
            type=_FOLDER,
            default=default,
            show_default=True,
            help=f"Where: {what}.",
        )
        command = option(command)
    return command
