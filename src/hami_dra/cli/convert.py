"""`hami convert`: what admission makes of manifests, without a cluster."""

from __future__ import annotations

import json
from typing import Any, TextIO

import click
import yaml

from hami_dra.admission.offline import convert_all
from hami_dra.admission.patch import Settings, Surroundings
from hami_dra.model import errors, quantity


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
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
@click.option(
    "--card-memory",
    multiple=True,
    metavar="QUANTITY",
    help="Memory of a card in the cluster, for percentages; may be repeated.",
)
def convert(files: tuple[TextIO, ...], output: str, card_memory: tuple[str, ...]) -> None:
    """Print the Pods as the webhook would change them, then the claims or templates made for them.

    \b
    Examples:
      hami convert -f pod.yaml
      helm template my-chart | hami convert -f - -o json
    """
    surroundings = Surroundings(memory_sizes=[_bytes(text) for text in card_memory])
    made = []
    for file in files:
        for index, document in enumerate(_documents(file), start=1):
            try:
                made += convert_all([document], Settings(), surroundings)
            except errors.RequestDenied as refusal:
                where = f"{file.name}, document {index}"
                raise errors.UserError(str(refusal), where=where) from refusal
    if output == "json":
        listed = {"apiVersion": "v1", "kind": "List", "items": made}
        click.echo(json.dumps(made[0] if len(made) == 1 else listed, indent=2))
    else:
        click.echo(yaml.safe_dump_all(made, sort_keys=False, width=1000), nl=False)


def _documents(file: TextIO) -> list[Any]:
    try:
        documents = list(yaml.load_all(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as problem:
        raise errors.UserError(f"not YAML: {problem}", where=file.name) from problem
    for index, document in enumerate(documents, start=1):
        if document is not None and not isinstance(document, dict):
            raise errors.UserError(
                f"document {index} is not a Kubernetes object", where=file.name, fix="give it a kind"
            )
    return documents


def _bytes(text: str) -> int:
    try:
        return quantity.parse_int(text)
    except ValueError as problem:
        raise errors.UserError(str(problem), where="--card-memory") from problem
