"""`hami explain POD`: why a Pod waits, in one sentence, with the next command to run."""

from __future__ import annotations

import sys

import click

from hami_dra.cli import options


@click.command()
@click.argument("pod")
@click.option("-n", "--namespace", default="default", show_default=True, help="Where POD is.")
@options.cluster
def explain(pod: str, namespace: str, kubeconfig: str | None, context: str | None) -> None:
    """Say in one sentence why POD waits.

    POD may also be given as NAMESPACE/POD, as hami status prints it.

    Exit code 0: it does not wait; 1: it waits; 2: could not look.

    \b
    Example:
      hami explain gpu-test-compatible -n default
    """
    from hami_dra.cli.connect import connect
    from hami_dra.model import errors
    from hami_dra.model import explain as reasons
    from hami_dra.ops import view

    written, _, pod = pod.rpartition("/")
    namespace = written or namespace
    try:
        seen = view.of_pod(connect(kubeconfig, context), namespace, pod)
    except errors.NotFound as problem:
        raise errors.NotFound(f"{problem} in namespace {namespace}. Name another with -n") from problem
    found = reasons.explain(seen)
    click.echo(found.sentence)
    if found.next:
        click.echo(f"Next: {found.next}")
    sys.exit(1 if found.waiting else 0)
