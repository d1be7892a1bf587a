"""`hami convert`: what admission makes of manifests, without a cluster or for a given one."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

import click
import yaml

from hami_dra.admission import preview
from hami_dra.admission.families import NVIDIA, of_profiles
from hami_dra.admission.patch import Surroundings
from hami_dra.admission.settings import Settings
from hami_dra.cli import manifests, options
from hami_dra.devices import families
from hami_dra.model import errors, names, quantity
from hami_dra.model.published import Card


@click.command()
@click.option(
    "-f",
    "--filename",
    "files",
    type=click.File("rb"),
    multiple=True,
    required=True,
    help="Manifests; several documents in a file, several files, or - for standard input.",
)
@click.option("-n", "--namespace", default="default", show_default=True, help="Of what names none.")
@options.output("yaml", "json")
@click.option(
    "--card-memory",
    multiple=True,
    metavar="QUANTITY",
    help="Memory of a card in the cluster, for percentages; may be repeated.",
)
@click.option(
    "--live",
    is_flag=True,
    help="Ask the cluster of the kubeconfig how admission is set there, for its cards and for names in use.",
)
@click.option(
    "--profiles",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with profiles of your own, <family>.yaml; without --live.",
)
@click.option("--kubeconfig", type=click.Path(exists=True, dir_okay=False), help="With --live.")
@click.option("--context", help="Context in the kubeconfig, with --live.")
def convert(
    files: tuple[BinaryIO, ...],
    namespace: str,
    output: str,
    card_memory: tuple[str, ...],
    live: bool,
    profiles: Path | None,
    kubeconfig: str | None,
    context: str | None,
) -> None:
    """Print the Pods as the webhook would change them, then the claims or templates made for them.

    Nothing is changed anywhere. Exit code 1: something would be denied; the rest is printed all the same.

    \b
    Examples:
      hami convert -f pod.yaml
      helm template my-chart | hami convert -f - -o json
      hami convert -f pod.yaml --live
    """
    if not live and (kubeconfig or context):
        raise click.UsageError("--kubeconfig and --context name a cluster to ask, which --live does")
    if live:
        settings, surroundings, excluded = _live(kubeconfig, context)
    else:
        settings, surroundings = _shipped(profiles), _described(card_memory)
        excluded = preview.EXCLUDED_NAMESPACES
    items: list[Any] = []
    refused = False
    for file in files:
        where = getattr(file, "name", "<stdin>")
        for index, document in enumerate(manifests.read(file.read(), where), start=1):
            try:
                outcome = preview.convert_all([document], settings, surroundings, namespace, excluded)
            except RecursionError as problem:
                raise manifests.endless(where) from problem
            items += outcome.items
            for warning in outcome.warnings:
                click.echo(f"Warning: {warning}", err=True)
            for refusal in outcome.refusals:
                click.echo(f"hami: {where}, document {index}, {refusal}", err=True)
            refused = refused or bool(outcome.refusals)
    _print(preview.without_repeats(items), output)
    sys.exit(1 if refused else 0)


def _print(items: list[Any], output: str) -> None:
    if output == "json":
        listed = {"apiVersion": "v1", "kind": "List", "items": items}
        click.echo(json.dumps(items[0] if len(items) == 1 else listed, indent=2))
    else:
        click.echo(yaml.safe_dump_all(items, sort_keys=False, width=1000), nl=False)


def _shipped(profiles: Path | None) -> Settings:
    """The chart's values, with every family that there is a profile for."""
    good, bad = families.profiles(families.known(profiles), profiles)
    if bad:
        raise bad[0]
    return Settings((NVIDIA, *of_profiles(good)))


def _described(card_memory: tuple[str, ...]) -> Surroundings:
    ours = {"type": {"string": names.DEVICE_TYPE}}
    cards = [
        Card(names.DRIVER, "node", f"card-{at}", memory=_bytes(text), attributes=ours)
        for at, text in enumerate(card_memory)
    ]
    return Surroundings(cards=cards)


def _live(kubeconfig: str | None, context: str | None) -> tuple[Settings, Surroundings, Collection[str]]:
    from hami_dra.admission.cluster import snapshot
    from hami_dra.cli.connect import connect
    from hami_dra.ops import installed

    client = connect(kubeconfig, context)
    found = installed.webhook(client)
    if found is None:
        click.echo("Warning: no webhook of ours is registered there; shown is what it would do", err=True)
        return _shipped(None), snapshot(client), preview.EXCLUDED_NAMESPACES
    return found.settings, snapshot(client), found.excluded


def _bytes(text: str) -> int:
    try:
        found = quantity.parse_int(text)
    except ValueError as problem:
        raise errors.UserError(str(problem), where="--card-memory") from problem
    if found < names.MIB:
        raise errors.UserError(f"{text} is less than 1Mi", where="--card-memory", fix="Write, say, 24Gi")
    return found
