"""Options that several commands have, spelled and explained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hami_dra.devices import families as devices
from hami_dra.model import names

Command = TypeVar("Command", bound=Callable[..., Any])

_FOLDER = click.Path(path_type=Path, readable=False)
"""Whoever looks into it says what is wrong: click would blame an option that nobody has given."""


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


def limiter_dir(command: Command) -> Command:
    """`--limiter-dir`; None: `lib` in the state's folder."""
    return click.option(
        "--limiter-dir",
        envvar="HAMI_LIMITER_DIR",
        type=_FOLDER,
        help="Where containers map the limiter from (default: lib in --state-dir).",
    )(command)


def places(command: Command) -> Command:
    """Where the plugin's things are on a node; the variables are those of `hami plugin`."""
    command = limiter_dir(command)
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


def port(name: str, variable: str, default: int, *, may_be_off: bool = False) -> Callable[[Command], Command]:
    """A port to listen on; with MAY_BE_OFF, 0 listens on none."""
    return click.option(
        name,
        envvar=f"HAMI_{variable}",
        type=click.IntRange(0 if may_be_off else 1, 65535),
        default=default,
        show_default=True,
        help="0: off." if may_be_off else None,
    )


def families(what: str) -> Callable[[Command], Command]:
    """`--families`, a list of names, and `--profiles-dir`; WHAT is said of the former."""

    def add(command: Command) -> Command:
        command = click.option(
            "--profiles-dir",
            envvar="HAMI_PROFILES_DIR",
            type=_FOLDER,
            help="Profiles of your own, <family>.yaml.",
        )(command)
        return click.option(
            "--families",
            envvar="HAMI_FAMILIES",
            default=devices.NVIDIA,
            show_default=True,
            callback=lambda context, option, text: listed(text),
            help=f"{what}, separated by commas.",
        )(command)

    return add


def listed(text: str) -> list[str]:
    """The words of an option that are separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def namespace(command: Command) -> Command:
    """`--namespace` of a program of the release: the one that it is in."""
    return click.option(
        "--namespace",
        envvar="HAMI_NAMESPACE",
        default=names.NAMESPACE,
        show_default=True,
        help="Where the release is.",
    )(command)


def service(command: Command) -> Command:
    """What every program of the release has: `--kubeconfig`, `--log-level`, `--log-format`."""
    for option in (
        click.option(
            "--log-format",
            envvar="HAMI_LOG_FORMAT",
            type=click.Choice(["json", "console"]),
            default="console",
            show_default=True,
        ),
        click.option(
            "--log-level",
            envvar="HAMI_LOG_LEVEL",
            type=click.Choice(["debug", "info", "warning"]),
            default="info",
            show_default=True,
        ),
        click.option("--kubeconfig", envvar="KUBECONFIG", help="Outside a cluster."),
    ):
        command = option(command)
    return command
