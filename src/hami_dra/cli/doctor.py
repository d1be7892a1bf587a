"""`hami doctor`: is everything in place, and if not, what to do."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hami_dra.ops.checks import Finding

MARKS = {"ok": "✓", "warning": "!", "error": "✗", "unknown": "?"}


@click.command()
@click.option("--kubeconfig", type=click.Path(exists=True, dir_okay=False), help="Cluster to look at.")
@click.option("--context", help="Context in the kubeconfig.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def doctor(kubeconfig: str | None, context: str | None, output: str) -> None:
    """Check the cluster and say how to mend what is wrong.

    Exit code 0: all is well; 1: something is wrong; 2: could not look.

    \b
    Example:
      hami doctor -o json | jq '.[] | select(.severity != "ok")'
    """
    from hami_dra.kube import Client
    from hami_dra.ops import checks, facts

    findings = checks.run_all(facts.gather(Client.from_environment(kubeconfig, context)))
    if output == "json":
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(_line(finding))
    severities = {finding.severity for finding in findings}
    sys.exit(1 if "error" in severities else 2 if "unknown" in severities else 0)


def _line(finding: Finding) -> str:
    text = f"{MARKS[finding.severity]} {finding.id:<20} {finding.found}"
    if finding.severity == "ok":
        return text
    wanted = f"\n    expected: {finding.expected}" if finding.expected else ""
    return f"{text}{wanted}\n    remedy:   {finding.remedy}"
