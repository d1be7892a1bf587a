"""`hami top`: what each share uses now, live."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from hami_dra.cli import look, options
from hami_dra.model import errors

if TYPE_CHECKING:
    from hami_dra.ops.usage import Sample, Source, Usage

WIDE = 110
ORDERS = {
    "pod": lambda use: (use.namespace, use.pod, use.container, use.node, use.card),
    "node": lambda use: (use.node, use.card, use.namespace, use.pod),
    "memory": lambda use: -(use.memory or 0),
    "compute": lambda use: -(use.utilization or 0.0),
}


def _number(context: click.Context, option: click.Parameter, value: float) -> float:
    """VALUE, if it is one: nan is in every range."""
    if math.isnan(value):
        raise click.BadParameter("nan is not a number of seconds.")
    return value


@click.command()
@options.cluster
@click.option("--here", is_flag=True, help="This host's shares, of its plugin and of `hami run`; no cluster.")
@click.option("--once", is_flag=True, help="Print it once and end, as is done without a terminal.")
@click.option("-n", "--namespace", metavar="NAME", help="Only the shares of this namespace.")
@click.option(
    "--sort", type=click.Choice(list(ORDERS)), default="pod", show_default=True, help="Order of the rows."
)
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 60),
    callback=_number,
    default=2.0,
    show_default=True,
    help="Seconds between looks.",
)
@options.output("table", "json", "yaml")
@click.option(
    "--state-dir",
    envvar="HAMI_STATE_DIR",
    type=click.Path(path_type=Path),
    default="/var/lib/hami",
    show_default=True,
    help="Where: state of this host's plugin.",
)
def top(
    kubeconfig: str | None,
    context: str | None,
    here: bool,
    once: bool,
    namespace: str | None,
    sort: str,
    interval: float,
    output: str,
    state_dir: Path,
) -> None:
    """Show memory and compute of each share; Ctrl-C ends it.

    The numbers come from the plugins' metrics, through the API server; with --here from the ledgers of this
    host. Compute is that of the time between two looks.

    Exit code 0: fine; 1: a node did not tell; 2: could not look.

    \b
    Examples:
      hami top
      hami top -n team-a --sort memory
      hami top --here --once
      hami top --once -o json
    """
    from hami_dra.ops import usage

    source = _source(kubeconfig, context, here, state_dir)

    def asked(sample: Sample) -> Sample:
        kept = [use for use in sample.shares if namespace in (None, use.namespace)]
        return dataclasses.replace(sample, shares=sorted(kept, key=ORDERS[sort]))

    def look_again(before: Sample) -> Sample:
        return asked(usage.between(before, source()))

    sample = asked(source())
    if once or output != "table" or not sys.stdout.isatty():
        time.sleep(min(interval, 1.0))
        sample = look_again(sample)
        if output == "table":
            look.show(_page(sample))
        else:
            look.machine(dataclasses.asdict(sample), output)
        sys.exit(1 if sample.silent else 0)
    with contextlib.suppress(KeyboardInterrupt):  # how a person ends it
        _live(sample, look_again, interval)


def _source(kubeconfig: str | None, context: str | None, here: bool, state: Path) -> Source:
    from hami_dra.cli.connect import connect
    from hami_dra.ops import usage

    if here:
        return usage.of_host(state)
    return usage.of_cluster(connect(kubeconfig, context))


def _live(sample: Sample, look_again: Callable[[Sample], Sample], interval: float) -> None:
    """Draw anew until Ctrl-C; a look that fails is told below the last one that did not."""
    with Live(_page(sample), console=look.console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(
                Group(Text(f"{time.strftime('%X')}, every {interval:g} s", "dim"), _page(sample)),
                refresh=True,
            )
            time.sleep(interval)
            try:
                sample = look_again(sample)
            except errors.KubeError as problem:
                sample = dataclasses.replace(sample, silent={"cluster": str(problem)})


def _page(sample: Sample) -> RenderableType:
    parts: list[RenderableType] = [_table(sample.shares)] if sample.shares else [Text("No share is in use.")]
    parts += [Text(f"{node} does not tell: {why}", "magenta") for node, why in sorted(sample.silent.items())]
    return Group(*parts)


def _table(shares: list[Usage]) -> RenderableType:
    wide = look.console().width >= WIDE
    columns = ["namespace", "pod", *(["container"] if wide else []), "node", "card", "memory", "", "compute"]
    columns += ["", "throttled", "refused", "procs"] if wide else ["procs"]
    right = ["memory", "compute", "throttled", "refused", "procs"]
    shown = look.table(*columns, right=right)
    for use in shares:
        more: list[RenderableType] = [
            look.bar((use.utilization or 0.0) / (use.core_limit or 1.0)),
            look.percent(use.throttled),
            str(use.refused),
        ]
        shown.add_row(
            look.Name(use.namespace or "-"),
            look.Name(use.pod or "(nobody)"),
            *([look.Name(use.container)] if wide else []),
            look.Name(use.node),
            look.Name(use.card),
            f"{look.size(use.memory)}/{look.size(use.memory_limit)}",
            look.bar((use.memory or 0) / use.memory_limit if use.memory_limit else 0.0, 10 if wide else 6),
            f"{look.percent(use.utilization)}/{look.percent(use.core_limit)}",
            *(more if wide else []),
            str(use.processes),
        )
    return shown
