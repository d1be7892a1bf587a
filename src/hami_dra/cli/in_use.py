"""`hami in-use`: for `helm uninstall`: are shares in use that would lose their plugin?"""

from __future__ import annotations

import sys

import click

from hami_dra.cli import options


@click.command(name="in-use")
@options.cluster
def in_use(kubeconfig: str | None, context: str | None) -> None:
    """Say whether Pods hold shares: without the plugin they could not end.

    Exit code 0: nobody does; 1: the claims in use are named; 2: could not look.

    \b
    Examples:
      hami in-use && helm -n hami-system uninstall hami
    """
    from hami_dra.cli.connect import connect
    from hami_dra.kube import RESOURCE_CLAIMS
    from hami_dra.ops import in_use

    claims, _ = connect(kubeconfig, context).list(RESOURCE_CLAIMS)
    if problem := in_use.refusal(claims):
        click.echo(problem, err=True)
        sys.exit(1)
    click.echo("no share is in use")
