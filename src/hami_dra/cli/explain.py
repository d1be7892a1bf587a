"""`hami explain POD`: why a Pod waits, in one sentence, with the next command to run."""

from __future__ import annotations

import sys

import click

from hami_dra.cli import options

KIND = ("pod", "pods", "po")
"""As kubectl takes it before a name."""


@click.command()
@click.argument("pod")
@click.option(
    "-n", "--namespace", help="Where POD is (default: the namespace of the context; in a Pod, its own)."
)
@options.cluster
def explain(pod: str, namespace: str | None, kubeconfig: str | None, context: str | None) -> None:
    """Say in one sentence why POD waits.

    POD may also be given as NAMESPACE/POD, as hami status prints it, or as pod/POD, as kubectl does.

    Exit code 0: it does not wait; 1: it waits; 2: could not look.

    \b
    Example:
      hami explain gpu-test-compatible -n default
    """
    from hami_dra.cli.connect import connect, own_namespace
    from hami_dra.model import errors
    from hami_dra.model import explain as reasons
    from hami_dra.ops import view

    written, _, name = pod.rpartition("/")
    if not name.strip(".") or "/" in written:
        raise errors.UserError(
            "this is no name of a Pod", where=repr(pod), fix="Write NAME or NAMESPACE/NAME"
        )
    if written and written not in KIND:
        namespace = written
    client = connect(kubeconfig, context)
    namespace = namespace or own_namespace(kubeconfig, context)
    try:
        seen = view.of_pod(client, namespace, name)
    except errors.NotFound as problem:
        raise errors.NotFound(f"{problem} in namespace {namespace}. Name another with -n") from problem
    found = reasons.explain(seen)
    click.echo(found.sentence)
    if found.next:
        click.echo(f"Next: {found.next}")
    sys.exit(1 if found.waiting else 0)
