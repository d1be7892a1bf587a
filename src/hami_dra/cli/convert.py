"""`hami convert`: what admission makes of manifests, without a cluster or for a given one."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, TextIO

import click
import yaml

from hami_dra.admission import offline
from hami_dra.admission.families import NVIDIA, of_profiles
from hami_dra.admission.patch import Settings, Surroundings
from hami_dra.cli import options
from hami_dra.devices import families
from hami_dra.model import errors, names, quantity
from hami_dra.model.published import Card


@click.command()
@click.option(
    "-f",
    "--filename",
    "files",
    type=click.File(encoding="utf-8"),
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
    type=click.Path(path_type=Path),
    help="Folder with profiles of your own, <family>.yaml; without --live.",
)
@click.option("--kubeconfig", type=click.Path(exists=True, dir_okay=False), help="With --live.")
@click.option("--context", help="Context in the kubeconfig, with --live.")
def convert(
    files: tuple[TextIO, ...],
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
    if live:
        settings, surroundings, excluded = _live(kubeconfig, context)
    else:
        settings, surroundings = _shipped(profiles), _described(card_memory)
        excluded = offline.EXCLUDED_NAMESPACES
    items: list[Any] = []
    refused = False
    for file in files:
        for index, document in enumerate(_documents(file), start=1):
            outcome = offline.convert_all([document], settings, surroundings, namespace, excluded)
            items += outcome.items
            for warning in outcome.warnings:
                click.echo(f"Warning: {warning}", err=True)
            for refusal in outcome.refusals:
                click.echo(f"hami: {file.name}, document {index}, {refusal}", err=True)
            refused = refused or bool(outcome.refusals)
    _print(offline.without_repeats(items), output)
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
    from hami_dra.admission.watched import snapshot
    from hami_dra.kube import Client
    from hami_dra.ops import installed

    client = Client.from_environment(kubeconfig, context)
    found = installed.webhook(client)
    if found is None:
        click.echo("Warning: no webhook of ours is registered there; shown is what it would do", err=True)
        return _shipped(None), snapshot(client), offline.EXCLUDED_NAMESPACES
    return found.settings, snapshot(client), found.excluded


def _documents(file: TextIO) -> list[Any]:
    text = file.read()
    try:
        # YAML takes a character beyond the basic plane, as JSON escapes it, for two.
        documents = [json.loads(text)]
    except ValueError:
        documents = _yaml(text, file.name)
    for index, document in enumerate(documents, start=1):
        if document is not None and not isinstance(document, dict):
            raise errors.UserError(
                f"document {index} is not a Kubernetes object", where=file.name, fix="Give it a kind"
            )
    return documents


def _yaml(text: str, where: str) -> list[Any]:
    try:
        return list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as problem:
        raise errors.UserError(f"not YAML: {problem}", where=where) from problem


def _bytes(text: str) -> int:
    try:
        return quantity.parse_int(text)
    except ValueError as problem:
        raise errors.UserError(str(problem), where="--card-memory") from problem
