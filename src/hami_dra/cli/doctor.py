"""`hami doctor`: is everything in place, and if not, what to do."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hami_dra.cli import options

if TYPE_CHECKING:
    from hami_dra.ops.checks import Finding
    from hami_dra.ops.facts import Facts
    from hami_dra.ops.node_facts import Places


@click.command()
@options.cluster
@options.output("table", "json", "yaml")
@click.option("--node-only", is_flag=True, help="Check this node's files and sockets; ask no API server.")
@click.option("--list", "only_list", is_flag=True, help="List the checks and what each of them expects.")
@options.places
def doctor(
    kubeconfig: str | None,
    context: str | None,
    output: str,
    node_only: bool,
    only_list: bool,
    state_dir: Path,
    cdi_dir: Path,
    plugins_dir: Path,
    registry_dir: Path,
    limiter_dir: Path | None,
) -> None:
    """Check the cluster, and this host where it is a node, and say how to mend what is wrong.

    From a laptop a kubeconfig is enough: what is on the nodes is asked of the plugin's Pods. On a node the
    host's own files and container runtime are checked as well.

    Exit code 0: all is well; 1: something is wrong; 2: could not look.

    \b
    Examples:
      hami doctor
      hami doctor -o json | jq '.[] | select(.severity != "ok")'
      hami doctor --node-only
    """
    from hami_dra.cli import look
    from hami_dra.ops import checks
    from hami_dra.ops.node_facts import Places

    if only_list:
        rows = [
            {"id": check.id, "expected": check.expected, "page": checks.page(check.id)}
            for check in checks.CHECKS
        ]
        _list(rows) if output == "table" else look.machine(rows, output)
        return
    where = Places(state_dir, cdi_dir, plugins_dir, registry_dir, limiter_dir)
    facts = _facts(kubeconfig, context, where, node_only)
    findings = checks.run(checks.ON_THE_NODE, facts) if node_only else checks.run_all(facts)
    if output == "table":
        _print(findings)
    else:
        look.machine([dataclasses.asdict(each) | {"page": each.page} for each in findings], output)
    sys.exit(exit_code(findings))


def exit_code(findings: list[Finding]) -> int:
    """0: all is well; 1: something is wrong or will be; 2: could not look."""
    severities = {finding.severity for finding in findings}
    return 1 if severities & {"error", "warning"} else 2 if "unknown" in severities else 0


def _facts(kubeconfig: str | None, context: str | None, where: Places, node_only: bool) -> Facts:
    """The cluster's facts, with this host's own where it is a node."""
    from hami_dra.cli.connect import connect
    from hami_dra.model import errors
    from hami_dra.ops import node_facts
    from hami_dra.ops.facts import Facts
    from hami_dra.ops.gather import gather, unreachable

    if node_only:
        found = Facts()
    else:
        try:
            found = gather(connect(kubeconfig, context))
        except errors.KubeError as problem:
            found = unreachable(problem)
    if node_only or where.state.is_dir():
        node = os.environ.get("HAMI_NODE_NAME") or os.uname().nodename
        try:
            seen = node_facts.gather(node, where, host=True)
        except errors.StateError as problem:
            if node_only:
                raise
            click.echo(f"hami: this host is left out: {problem}", err=True)
            return found
        found = dataclasses.replace(found, on_nodes=found.on_nodes | {node: seen})
    return found


def _list(rows: list[dict[str, str]]) -> None:
    from hami_dra.cli import look

    shown = look.table("id", "expected")
    for row in rows:
        shown.add_row(row["id"], row["expected"])
    look.show(shown)


def _print(findings: list[Finding]) -> None:
    from rich.text import Text

    from hami_dra.cli import look

    widest = max(len(finding.id) for finding in findings)
    for finding in findings:
        lead = Text.assemble(look.mark(finding.severity), f" {finding.id:<{widest}}  ")
        look.show(look.paragraph(lead, finding.found))
        if finding.severity != "ok":
            look.show(look.paragraph(Text("    expected  ", "dim"), finding.expected))
            if finding.remedy:
                look.show(look.paragraph(Text("    remedy    ", "dim"), finding.remedy, "bold"))
            look.show(Text("    page      ", "dim") + Text(finding.page))
    look.show(Text(f"\n{summary(findings)}"))


def summary(findings: list[Finding]) -> str:
    """One sentence."""
    words = {"ok": "fine", "error": "wrong", "warning": "doubtful", "unknown": "not to be seen"}
    counts = {word: sum(each.severity == severity for each in findings) for severity, word in words.items()}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"{len(findings)} check{'s' if len(findings) > 1 else ''}: {told}."
